package adminhttp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/stateful-route/stateful-route/internal/connlimit"
)

// bounds are what clients of an admin server may cost, beside the patience with
// which answers are written.
type bounds struct {
	connections int           // more are closed at once
	header      int           // bytes of a request's line and headers
	body        int64         // bytes of a request's body: an order or a query
	headerTime  time.Duration // for a request's headers to come
	bodyTime    time.Duration // for its body
	idleTime    time.Duration // between two requests
}

func standardBounds() bounds {
	return bounds{
		connections: 256, header: 64 << 10, body: 1 << 20,
		headerTime: 5 * time.Second, bodyTime: 10 * time.Second, idleTime: 2 * time.Minute,
	}
}

func (b bounds) listener(l net.Listener) net.Listener {
	return connlimit.New(b.connections).Listener(l, func(connlimit.Refused) {})
}

// withBody reads a request's body before its handler runs, so that the time it
// takes has a bound of its own: a read deadline over the whole of a request would
// cut the live page.
func (b bounds) withBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		// Where a deadline cannot be set, there is no network that could be slow.
		_ = control.SetReadDeadline(time.Now().Add(b.bodyTime))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, b.body))
		if err != nil {
			// The deadline stays: the server itself would wait for the rest.
			w.Header().Set("Connection", "close")
			WriteError(w, bodyStatus(err), fmt.Errorf("the request's body: %w", err))
			return
		}
		_ = control.SetReadDeadline(time.Time{})
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		next.ServeHTTP(w, r)
	})
}

func bodyStatus(err error) int {
	var timeout net.Error
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return http.StatusRequestEntityTooLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return http.StatusRequestTimeout
	}
	return http.StatusBadRequest
}
