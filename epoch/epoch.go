package epoch

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// Header is the request header that has the epoch.
const Header = "X-Stateful-Route-Epoch"

// errMalformed: what came is nothing that Stateful Route sends.
var errMalformed = errors.New("epoch: " + Header + " is not one positive number")

// Of returns the epoch of a request; 0 if it has none, for it is not bound to this pod. It
// is an error if what came cannot be from Stateful Route: then somebody reaches the pod
// past Envoy.
func Of(r *http.Request) (uint64, error) {
	values := r.Header.Values(Header)
	if len(values) == 0 {
		return 0, nil
	}
	epoch, err := strconv.ParseUint(values[0], 10, 64)
	if err != nil || epoch == 0 || len(values) > 1 {
		return 0, errMalformed
	}
	return epoch, nil
}

// Options configure a Handler. Key is needed.
type Options struct {
	// Key names the session of a request; "" for one that has none. It need not be the key
	// that Stateful Route reads, as long as no two sessions have the same.
	Key func(r *http.Request) string
	// Sessions is of how many sessions the epoch is kept; 0 means DefaultSessions. See
	// Guard.
	Sessions int
	// Required refuses requests that name a session and have no epoch as well: those that
	// Envoy sent anywhere, as with `on_extproc_loss: allow`.
	Required bool
	// Refused is told of each request that is refused with 421, the session's highest epoch
	// and the request's own, for a log or a count; nil means that nobody listens. It may be
	// called concurrently.
	Refused func(r *http.Request, highest, got uint64)
}

// Handler returns a handler that serves by next, but for requests with an epoch that is
// lower than one which their session had before: those get 421 (Misdirected Request) and
// next does not see them. 400 answers what no Stateful Route has sent. It is an error if
// an option is wrong.
//
// A request that next serves already is not interrupted when a higher epoch comes.
func Handler(next http.Handler, o Options) (http.Handler, error) {
	if o.Key == nil {
		return nil, errors.New("epoch: no Key")
	}
	guard, err := NewGuard(o.Sessions)
	if err != nil {
		return nil, err
	}
	return &handler{next: next, options: o, guard: guard}, nil
}

type handler struct {
	next    http.Handler
	options Options
	guard   *Guard
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	epoch, err := Of(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if highest, ok := h.admit(h.options.Key(r), epoch); !ok {
		if h.options.Refused != nil {
			h.options.Refused(r, highest, epoch)
		}
		http.Error(w, fmt.Sprintf("this session's epoch is %d", highest), http.StatusMisdirectedRequest)
		return
	}
	h.next.ServeHTTP(w, r)
}

func (h *handler) admit(session string, epoch uint64) (highest uint64, ok bool) {
	switch {
	case session == "":
		return 0, true
	case epoch == 0:
		return 0, !h.options.Required
	}
	return h.guard.Admit(session, epoch)
}
