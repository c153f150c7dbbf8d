package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// behaviour is what a pod was told to do wrong; the zero value is a good pod.
type behaviour struct {
	delay     time.Duration // before each answer
	fail      float64       // share of answers that are a 500
	unhealthy bool          // /healthz answers 503
}

// control is a change of behaviour; a field that is absent stays as it was.
type control struct {
	Delay   *string  `json:"delay"`
	Fail    *float64 `json:"fail"`
	Healthz *string  `json:"healthz"` // "ok" or "fail"
}

// controlState is the answer of /control.
type controlState struct {
	Pod      string  `json:"pod"`
	Delay    string  `json:"delay"`
	Fail     float64 `json:"fail"`
	Healthz  string  `json:"healthz"`
	Requests int     `json:"requests"`
	Sessions int     `json:"sessions"`
}

type errorBody struct {
	Error string `json:"error"`
}

func (p *pod) healthz(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	bad := p.behave.unhealthy
	p.mu.Unlock()
	if bad {
		writeJSON(w, p.name, http.StatusServiceUnavailable, errorBody{"told to fail"})
		return
	}
	writeJSON(w, p.name, http.StatusOK, map[string]string{"status": "ok"})
}

func (p *pod) showControl(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	s := controlState{p.name, p.behave.delay.String(), p.behave.fail, "ok", p.requests, len(p.visits)}
	if p.behave.unhealthy {
		s.Healthz = "fail"
	}
	p.mu.Unlock()
	writeJSON(w, p.name, http.StatusOK, s)
}

func (p *pod) setControl(w http.ResponseWriter, r *http.Request) {
	c, err := readControl(w, r)
	if err == nil {
		err = p.apply(c)
	}
	if err != nil {
		writeJSON(w, p.name, http.StatusBadRequest, errorBody{err.Error()})
		return
	}
	p.showControl(w, r)
}

// readControl takes the query when there is one, and else a JSON body.
func readControl(w http.ResponseWriter, r *http.Request) (control, error) {
	if r.URL.RawQuery != "" {
		return controlFromQuery(r.URL.Query())
	}
	var c control
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096))
	body.DisallowUnknownFields()
	if err := body.Decode(&c); err != nil {
		return c, fmt.Errorf("control: %w", err)
	}
	return c, nil
}

func controlFromQuery(q url.Values) (control, error) {
	var c control
	for name := range q {
		value := q.Get(name)
		switch name {
		case "delay":
			c.Delay = &value
		case "healthz":
			c.Healthz = &value
		case "fail":
			share, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return c, fmt.Errorf("fail: %w", err)
			}
			c.Fail = &share
		default:
			return c, fmt.Errorf("unknown field %q", name)
		}
	}
	return c, nil
}

// apply changes everything that c names, or nothing when one of it is wrong.
func (p *pod) apply(c control) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.behave
	if c.Delay != nil {
		d, err := time.ParseDuration(*c.Delay)
		if err != nil || d < 0 {
			return fmt.Errorf("delay %q is no duration such as 200ms", *c.Delay)
		}
		next.delay = d
	}
	if c.Fail != nil {
		if !(*c.Fail >= 0 && *c.Fail <= 1) {
			return fmt.Errorf("fail %v is not between 0 and 1", *c.Fail)
		}
		next.fail = *c.Fail
	}
	if c.Healthz != nil {
		if *c.Healthz != "ok" && *c.Healthz != "fail" {
			return fmt.Errorf("healthz %q is neither ok nor fail", *c.Healthz)
		}
		next.unhealthy = *c.Healthz == "fail"
	}
	p.behave = next
	return nil
}

// misbehave delays or fails a request as the pod was told to.
func (p *pod) misbehave(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		b := p.behave
		p.mu.Unlock()
		if b.delay > 0 {
			timer := time.NewTimer(b.delay)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-r.Context().Done():
				return
			}
		}
		if b.fail > 0 && rand.Float64() < b.fail {
			writeJSON(w, p.name, http.StatusInternalServerError, errorBody{"told to fail"})
			return
		}
		next(w, r)
	}
}
