package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// server is one process with an admin API.
type server struct {
	kind string // xds-server or extproc
	url  string // without a path
	http *http.Client
}

func (c *ctl) xds() server { return server{"xds-server", c.xdsURL, c.HTTP} }

func (c *ctl) extprocs() []server {
	all := make([]server, len(c.extprocURLs))
	for i, u := range c.extprocURLs {
		all[i] = server{"extproc", u, c.HTTP}
	}
	return all
}

func (s server) String() string { return s.kind + " at " + s.url }

// apiError is an answer that says no.
type apiError struct {
	status int
	text   string
}

func (e *apiError) Error() string { return e.text }

// hasStatus reports whether err is an answer with the status.
func hasStatus(err error, status int) bool {
	var e *apiError
	return errors.As(err, &e) && e.status == status
}

// get reads the JSON answer of a GET into v.
func (s server) get(ctx context.Context, path string, v any) error {
	return s.call(ctx, http.MethodGet, path, nil, v)
}

// call sends body as JSON, unless it is nil, and reads a JSON answer into v,
// unless that is nil.
func (s server) call(ctx context.Context, method, path string, body, v any) error {
	raw, err := s.ask(ctx, method, path, body)
	if err != nil || v == nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("%s: its answer to %s is not what was expected: is it that server? %w", s, path, err)
	}
	return nil
}

// ask returns the body of a good answer.
func (s server) ask(ctx context.Context, method, path string, body any) ([]byte, error) {
	var payload io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, payload)
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, s.unreachable(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, s.unreachable(err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, s.refusal(resp, raw)
	}
	return raw, nil
}

// refusal is the API's own text, or the status of whatever else answered.
func (s server) refusal(resp *http.Response, raw []byte) error {
	var said struct{ Error string }
	if json.Unmarshal(raw, &said) != nil || said.Error == "" {
		said.Error = fmt.Sprintf("%s answered %s to %s", s, resp.Status, resp.Request.URL.Path)
	}
	return &apiError{resp.StatusCode, printable(said.Error)}
}

// unreachable says in one line why there was no answer.
func (s server) unreachable(err error) error {
	var op *net.OpError
	var call *url.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("interrupted: %w", context.Canceled)
	case errors.As(err, &call) && call.Timeout():
		return fmt.Errorf("%s does not answer in time", s)
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%s cannot be reached: %w", s, op.Err)
	case errors.As(err, &call):
		err = call.Err
	}
	return fmt.Errorf("%s cannot be reached: %w", s, err)
}

// baseURL is a server's URL without a slash at its end; without a scheme it is
// taken for HTTP.
func baseURL(text string) (string, error) {
	full := strings.TrimRight(text, "/")
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%q is not a URL such as http://127.0.0.1:18001", text)
	}
	return full, nil
}

// segment escapes one segment of a path, dots that mean "this" and "up" as well.
func segment(s string) string {
	if s == "." || s == ".." {
		return strings.ReplaceAll(s, ".", "%2E")
	}
	return url.PathEscape(s)
}
