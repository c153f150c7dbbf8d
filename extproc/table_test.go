package extproc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// answeringTable answers calls as it is told; a nil function is the Table's own answer.
type answeringTable struct {
	Table
	lookup, claim, rebind func() (statefulroute.Binding, error)
}

func (a *answeringTable) Lookup(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	if a.lookup != nil {
		return a.lookup()
	}
	return a.Table.Lookup(ctx, service, key, now)
}

func (a *answeringTable) Claim(ctx context.Context, service, key, pod string, now time.Time) (statefulroute.Binding, error) {
	if a.claim != nil {
		return a.claim()
	}
	return a.Table.Claim(ctx, service, key, pod, now)
}

func (a *answeringTable) Rebind(ctx context.Context, old statefulroute.Binding, to string, now time.Time) (statefulroute.Binding, error) {
	if a.rebind != nil {
		return a.rebind()
	}
	return a.Table.Rebind(ctx, old, to, now)
}

func answers(pod string, err error) func() (statefulroute.Binding, error) {
	return func() (statefulroute.Binding, error) {
		return statefulroute.Binding{Service: "chat", Key: "a", Pod: pod}, err
	}
}

// What a decision makes of each answer of a table, wherever that is kept.
func TestDecideByWhatTheTableSays(t *testing.T) {
	away := fmt.Errorf("connect to the table: %w", statefulroute.ErrUnavailable)
	lost := answers("gone", nil) // a look-up that finds the session on a lost pod
	for name, c := range map[string]struct {
		table answeringTable
		want  outcome
		pod   string
	}{
		"look-up gone":        {answeringTable{lookup: answers("", statefulroute.ErrGone)}, claimed, ""},
		"look-up unavailable": {answeringTable{lookup: answers("", away)}, undecidable, ""},
		"look-up too late":    {answeringTable{lookup: answers("", context.DeadlineExceeded)}, undecidable, ""},
		"claim conflict":      {answeringTable{claim: answers("chat-1", statefulroute.ErrConflict)}, joined, "chat-1"},
		"claim full":          {answeringTable{claim: answers("", statefulroute.ErrFull)}, atHome, ""},
		"claim unavailable":   {answeringTable{claim: answers("", away)}, undecidable, ""},
		"rebind gone":         {answeringTable{lookup: lost, rebind: answers("", statefulroute.ErrGone)}, claimed, ""},
		"rebind conflict":     {answeringTable{lookup: lost, rebind: answers("chat-2", statefulroute.ErrConflict)}, known, "chat-2"},
		"rebind unavailable":  {answeringTable{lookup: lost, rebind: answers("", away)}, undecidable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, chat(), pods(3))
			c.table.Table = w.table
			w.table = &c.table
			d := w.expect("a", c.want, c.pod)
			if c.want == undecidable && d.err == nil {
				t.Error("nothing says why")
			}
			total := int64(0)
			for _, p := range pods(3) {
				total += w.inFlight(p.Name)
			}
			if want := int64(1); c.want == undecidable && total != 0 || c.want != undecidable && total != want {
				t.Errorf("%d requests in flight", total)
			}
		})
	}
}

func denying(s *statefulroute.Service) { s.Session.OnExtprocLoss = statefulroute.Deny }

// Without its table, a service's requests go on unbound, or are refused with a
// reason, as on_extproc_loss says. Either is counted.
func TestRequestsWithoutTheTable(t *testing.T) {
	away := &answeringTable{lookup: answers("", statefulroute.ErrUnavailable)}
	counted := `stateful_route_request_errors_total{kind="table_unavailable",pod="",service="chat"}`

	p := startProcessor(t, stateOf(chat(), pods(2)))
	p.server.table = away
	c, answer := p.request("x-session-id", "a")
	if m := answer.GetRequestHeaders().GetResponse().GetHeaderMutation(); !slices.Equal(m.GetRemoveHeaders(), []string{wire.DestinationHeader}) {
		t.Errorf("allow: %v, want an unbound request", answer)
	}
	c.finish()
	eventually(t, counted, func() bool { return metric(t, p.directory, counted) == 1 })

	p = startProcessor(t, stateOf(chat(denying), pods(2)))
	p.server.table = away
	c, answer = p.request("x-session-id", "a")
	refused := answer.GetImmediateResponse()
	if refused.GetStatus().GetCode() != 503 || string(refused.GetHeaders().GetSetHeaders()[0].GetHeader().GetRawValue()) != wire.ReasonTableUnavailable {
		t.Errorf("deny: %v, want a refusal with its reason", answer)
	}
	c.finish()
	eventually(t, counted, func() bool { return metric(t, p.directory, counted) == 1 })
	if n := metric(t, p.directory, `stateful_route_requests_total{code="5xx",method="GET",pod="",service="chat"}`); n != 1 {
		t.Errorf("%v requests counted, want 1", n)
	}
}

// A session that a pod created, and that cannot be bound, is counted, and the
// response goes on to its client.
func TestLearnWithoutTheTable(t *testing.T) {
	p := startProcessor(t, stateOf(chat(learning), pods(2)))
	p.server.table = &answeringTable{Table: p.server.table, claim: answers("", statefulroute.ErrUnavailable)}
	c, _ := p.request()
	if r := c.response("127.0.0.1:9101", ":status", "200", "mcp-session-id", "id-1"); r.GetResponseHeaders() == nil {
		t.Errorf("the response is answered with %v", r)
	}
	c.finish()
	counted := `stateful_route_request_errors_total{kind="table_unavailable",pod="chat-1",service="chat"}`
	if n := metric(t, p.directory, counted); n != 1 {
		t.Errorf("%s is %v, want 1", counted, n)
	}
}

func TestMemoryTableSaysWhatTheCoreDid(t *testing.T) {
	ctx, table := t.Context(), newMemory(t)
	to := func(pod string) statefulroute.Binding {
		return statefulroute.Binding{Service: "chat", Key: "a", Pod: pod}
	}
	if _, err := table.Lookup(ctx, "chat", "a", t0); !errors.Is(err, statefulroute.ErrGone) {
		t.Errorf("look-up of a new session: %v", err)
	}
	if _, err := table.Rebind(ctx, to("chat-0"), "chat-1", t0); !errors.Is(err, statefulroute.ErrGone) {
		t.Errorf("rebind of a new session: %v", err)
	}
	if b, err := table.Claim(ctx, "chat", "a", "chat-0", t0); err != nil || b.Pod != "chat-0" {
		t.Errorf("first claim: %+v, %v", b, err)
	}
	if b, err := table.Claim(ctx, "chat", "a", "chat-1", t0); !errors.Is(err, statefulroute.ErrConflict) || b.Pod != "chat-0" {
		t.Errorf("second claim: %+v, %v", b, err)
	}
	if b, err := table.Rebind(ctx, to("chat-1"), "chat-2", t0); !errors.Is(err, statefulroute.ErrConflict) || b.Pod != "chat-0" {
		t.Errorf("rebind from elsewhere: %+v, %v", b, err)
	}
	if b, err := table.Lookup(ctx, "chat", "a", t0); err != nil || b.Pod != "chat-0" {
		t.Errorf("look-up: %+v, %v", b, err)
	}
	if _, _, err := table.List(ctx, "chat", "", 10, "elsewhere"); !errors.Is(err, statefulroute.ErrCursor) {
		t.Errorf("a page after nothing: %v", err)
	}
}
