package adminhttp

import (
	"fmt"
	"net/http"
	"time"
)

// patience is how long a client may take to read the next part of an answer. One
// that takes longer is cut off: it would hold a goroutine and its answer for ever.
const patience = 10 * time.Second

// patient bounds each write of an answer rather than the whole of it, for a
// profile takes half a minute and the live page's stream does not end at all. A
// handler that sets a deadline of its own is left alone.
func patient(patience time.Duration, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := &patientWriter{ResponseWriter: w, patience: patience, control: http.NewResponseController(w)}
		next.ServeHTTP(p, r)
		p.extend() // for what the server still has to send
	})
}

type patientWriter struct {
	http.ResponseWriter
	patience time.Duration
	control  *http.ResponseController
	own      bool // the handler sets the deadlines
}

func (p *patientWriter) extend() {
	if !p.own {
		// An error means that there is no connection to bound.
		_ = p.control.SetWriteDeadline(time.Now().Add(p.patience))
	}
}

func (p *patientWriter) Write(b []byte) (int, error) {
	p.extend()
	return p.ResponseWriter.Write(b)
}

// FlushError is called by http.ResponseController.
func (p *patientWriter) FlushError() error {
	p.extend()
	if err := p.control.Flush(); err != nil {
		return fmt.Errorf("flush the answer: %w", err)
	}
	return nil
}

// SetWriteDeadline is called by http.ResponseController.
func (p *patientWriter) SetWriteDeadline(t time.Time) error {
	p.own = true
	if err := p.control.SetWriteDeadline(t); err != nil {
		return fmt.Errorf("bound the answer: %w", err)
	}
	return nil
}

// Unwrap gives http.ResponseController what is left.
func (p *patientWriter) Unwrap() http.ResponseWriter { return p.ResponseWriter }
