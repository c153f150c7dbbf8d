package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// most is more than a pod ever says.
const most = 64 << 10

func (s *session) newRequest(ctx context.Context, method, address, path string, body io.Reader, v schedule.Visit, r *history.Record) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, body)
	if err != nil {
		return nil, err
	}
	s.name(req.Header, r)
	if s.Clients.Forge {
		s.forge(req.Header, v.Forge)
	}
	return req, nil
}

// exchange sends the request and notes what came. A redirect is followed by nobody.
func (s *session) exchange(t *http.Transport, req *http.Request, r *history.Record) {
	resp, err := t.RoundTrip(req)
	if err != nil {
		r.Err = failure(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	s.answered(resp, body, err, r)
}

// answered notes a response whose body was read.
func (s *session) answered(resp *http.Response, body []byte, err error, r *history.Record) {
	r.Status = resp.StatusCode
	if resp.StatusCode >= http.StatusMultipleChoices {
		r.Reason = s.reason(resp.Header, body) // also of a body that was cut
		return
	}
	if err != nil {
		r.Err = failure(err)
		return
	}
	s.keep(resp.Header)
	r.Answer = parse(body)
}

// parse is the pod's answer, or nil for what is none.
func parse(body []byte) *pod.Answer {
	a := new(pod.Answer)
	if json.Unmarshal(body, a) != nil {
		return nil
	}
	return a
}

var markup = regexp.MustCompile(`(?s)<(style|script|head).*?</(style|script|head)>|<[^>]*>`)

// reason is what a refusal says besides its status.
func (s *session) reason(h http.Header, body []byte) string {
	if s.ReasonHeader != "" && h.Get(s.ReasonHeader) != "" {
		return h.Get(s.ReasonHeader)
	}
	text := strings.Join(strings.Fields(markup.ReplaceAllString(string(body), " ")), " ")
	const longest = 60
	if len(text) > longest {
		text = text[:longest]
		for !utf8.ValidString(text) && text != "" {
			text = text[:len(text)-1]
		}
		text += "…"
	}
	return text
}

// failure is a short name of an error: without addresses, so that they can be counted.
func failure(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "the run was ended"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection reset"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection closed"
	}
	text := err.Error()
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+len(": "):]
	}
	return text
}
