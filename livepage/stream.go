package livepage

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/adminhttp"
)

// stream sends events until the client goes away or the server ends. Event
// "chart" holds the last minutes, event "state" the moment; both are JSON and
// whole, so that one that was missed is no loss.
func (p *Page) stream(w http.ResponseWriter, r *http.Request) {
	if !sameOrigin(r) {
		adminhttp.WriteError(w, http.StatusForbidden, errors.New("this stream is for the page of the same origin"))
		return
	}
	if p.streams.Add(1) > p.maxStreams {
		p.streams.Add(-1)
		w.Header().Set("Retry-After", "10")
		adminhttp.WriteError(w, http.StatusServiceUnavailable, fmt.Errorf("%d pages are open already", p.maxStreams))
		return
	}
	defer p.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	protect(w.Header())
	p.follow(r, w)
}

// follow writes what is new until the request ends.
func (p *Page) follow(r *http.Request, w http.ResponseWriter) {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	var seen snapshot
	for now := time.Now(); ; {
		newest, err := p.feed.at(now)
		if err != nil {
			p.logger.Error("live page not updated", zap.Error(err))
			return
		}
		if err := p.writeNew(w, seen, newest); err != nil {
			p.logger.Debug("live page dropped", zap.String("client", r.RemoteAddr), zap.Error(err))
			return
		}
		seen = newest
		select {
		case <-r.Context().Done():
			return
		case now = <-ticker.C:
		}
	}
}

// writeNew writes what the client has not seen. What it missed in between is
// passed over: there is never more than one event of a kind to write.
func (p *Page) writeNew(w http.ResponseWriter, seen, newest snapshot) error {
	var out []byte
	if newest.chartVersion != seen.chartVersion || seen.chart == nil {
		out = appendEvent(out, "chart", newest.chart)
	}
	if newest.stateVersion != seen.stateVersion {
		out = appendEvent(out, "state", newest.state)
	}
	if out == nil {
		return nil
	}
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(time.Now().Add(p.writeTimeout)); err != nil {
		return err
	}
	if _, err := w.Write(out); err != nil {
		return err
	}
	return control.Flush()
}

// appendEvent adds one event; data is JSON without line breaks.
func appendEvent(out []byte, name string, data []byte) []byte {
	return fmt.Appendf(out, "event: %s\nretry: 1000\ndata: %s\n\n", name, data)
}

// sameOrigin refuses what a page of another site asks for in an operator's
// browser: it could not read the answer, but it could hold streams open.
// Clients that are no browsers send neither header.
func sameOrigin(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host == r.Host
}
