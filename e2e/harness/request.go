package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Answer is what a client saw of one request.
type Answer struct {
	// Status is the HTTP status; the other fields are set where a demo pod answered.
	Status  int
	Header  http.Header
	Pod     string `json:"pod"`
	Session string `json:"session"`
	Visits  int    `json:"visits"`
	Text    string // the whole body
}

// Edit prepares a request to the stack's service.
type Edit func(*http.Request)

// InHeader puts the session key where the first source of the sample looks.
func InHeader(key string) Edit {
	return func(r *http.Request) { r.Header.Set("x-session-id", key) }
}

// InCookie puts it into the cookie sid.
func InCookie(key string) Edit {
	return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "sid", Value: key}) }
}

// InQuery puts it into the query parameter session.
func InQuery(key string) Edit {
	return func(r *http.Request) { r.URL.RawQuery = url.Values{"session": {key}}.Encode() }
}

// InPath puts it into /rooms/KEY/….
func InPath(key string) Edit {
	return func(r *http.Request) { r.URL.Path = "/rooms/" + key + "/messages" }
}

// Path sends the request elsewhere than to /.
func Path(path string) Edit { return func(r *http.Request) { r.URL.Path = path } }

// RawHeader adds a header line with its name spelled exactly so, which
// http.Header.Add would not.
func RawHeader(name string, values ...string) Edit {
	return func(r *http.Request) { r.Header[name] = append(r.Header[name], values...) }
}

// Get sends one request through Envoy. A status other than 200 is no error.
func (s *Stack) Get(edits ...Edit) (Answer, error) { return s.GetOver(s.client.Transport, edits...) }

// GetOver is Get over a client's connections of its own.
func (s *Stack) GetOver(by http.RoundTripper, edits ...Edit) (Answer, error) {
	req, err := http.NewRequest(http.MethodGet, s.URL, nil)
	if err != nil {
		return Answer{}, err
	}
	for _, edit := range edits {
		edit(req)
	}
	client := *s.client
	client.Transport = by
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Status: resp.StatusCode, Header: resp.Header, Text: string(body)}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &a); err != nil {
			return a, fmt.Errorf("%w in %q", err, body)
		}
	}
	return a, nil
}

// OK is Get that takes every status but 200 for an error.
func (s *Stack) OK(edits ...Edit) (Answer, error) {
	a, err := s.Get(edits...)
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("status %d: %s", a.Status, a.Text)
	}
	return a, err
}
