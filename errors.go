package statefulroute

import "errors"

// What a session table answers instead of a binding, wherever it is kept. Whoever
// asks tells them apart with errors.Is; any other error says, as ErrUnavailable does,
// that nobody knows.
var (
	// ErrGone: the session has no binding.
	ErrGone = errors.New("the session has no binding")
	// ErrConflict: another writer was first. The binding that comes with it is the
	// one in force.
	ErrConflict = errors.New("the session has another binding")
	// ErrPodLost: the session's pod, which comes with it, is lost to another replica that
	// shares the table, whatever is known of it here.
	ErrPodLost = errors.New("the session's pod is lost to another replica")
	// ErrPodRefused: the pod that was chosen is lost to another replica; another has to be chosen.
	ErrPodRefused = errors.New("the chosen pod is lost to another replica")
	// ErrChanging: the session is being given another pod, and not everybody has forgotten
	// the old one yet.
	ErrChanging = errors.New("the session is being moved")
	// ErrFull: the table keeps what it has, and has no room for a new binding.
	ErrFull = errors.New("the session table has no room")
	// ErrUnavailable: the table cannot be asked, or did not answer.
	ErrUnavailable = errors.New("the session table is unavailable")
	// ErrCursor: the page asked for does not follow from an earlier page.
	ErrCursor = errors.New("not what an earlier page gave as next")
)
