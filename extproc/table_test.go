package extproc

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// answeringTable answers calls as it is told; a nil function is the Table's own answer.
type answeringTable struct {
	Table
	lookup, find, claim, rebind func() (statefulroute.Binding, error)
	remembered                  []string // pods
}

func (a *answeringTable) Find(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	if a.find != nil {
		return a.find()
	}
	return a.Table.Find(ctx, service, key, now)
}

func (a *answeringTable) Remember(_, _, pod string, _ time.Time) {
	a.remembered = append(a.remembered, pod)
}

func (a *answeringTable) Lookup(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	if a.lookup != nil {
		return a.lookup()
	}
	return a.Table.Lookup(ctx, service, key, now)
}

func (a *answeringTable) Claim(ctx context.Context, service, key, pod string, most uint32, now time.Time) (statefulroute.Binding, error) {
	if a.claim != nil {
		return a.claim()
	}
	return a.Table.Claim(ctx, service, key, pod, most, now)
}

func (a *answeringTable) Rebind(ctx context.Context, old statefulroute.Binding, to string, most uint32, now time.Time) (statefulroute.Binding, error) {
	if a.rebind != nil {
		return a.rebind()
	}
	return a.Table.Rebind(ctx, old, to, most, now)
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
		want  outcome // where on_store_loss says allow
		pod   string
		deny  outcome // where it says deny; 0: the same
	}{
		"look-up gone":        {answeringTable{lookup: answers("", statefulroute.ErrGone)}, claimed, "", 0},
		"look-up unavailable": {answeringTable{lookup: answers("", away)}, atHome, "", undecidable},
		"look-up too late":    {answeringTable{lookup: answers("", context.DeadlineExceeded)}, atHome, "", undecidable},
		"known, and no lease": {answeringTable{lookup: answers("chat-2", away)}, known, "chat-2", undecidable},
		"lost, and no lease":  {answeringTable{lookup: answers("gone", away)}, atHome, "", undecidable},
		"claim conflict":      {answeringTable{claim: answers("chat-1", statefulroute.ErrConflict)}, joined, "chat-1", 0},
		"claim full":          {answeringTable{claim: answers("", statefulroute.ErrFull)}, atHome, "", 0},
		"claim unavailable":   {answeringTable{claim: answers("", away)}, atHome, "", undecidable},
		"claim while moving":  {answeringTable{claim: answers("", statefulroute.ErrChanging)}, moving, "", 0},
		"lost to another":     {answeringTable{claim: answers("chat-1", statefulroute.ErrPodLost), rebind: answers("chat-2", nil)}, rebound, "", 0},
		"refused by another":  {answeringTable{claim: answers("", statefulroute.ErrPodRefused)}, noPods, "", 0},
		"rebind gone":         {answeringTable{lookup: lost, rebind: answers("", statefulroute.ErrGone)}, claimed, "", 0},
		"rebind conflict":     {answeringTable{lookup: lost, rebind: answers("chat-2", statefulroute.ErrConflict)}, known, "chat-2", 0},
		"rebind unavailable":  {answeringTable{lookup: lost, rebind: answers("", away)}, atHome, "", undecidable},
		"rebind while moving": {answeringTable{lookup: lost, rebind: answers("", statefulroute.ErrChanging)}, moving, "", 0},
	} {
		for _, policy := range []statefulroute.StoreLossPolicy{statefulroute.AllowStoreLoss, statefulroute.DenyStoreLoss} {
			t.Run(name+", "+string(policy), func(t *testing.T) {
				want := c.want
				if policy == statefulroute.DenyStoreLoss && c.deny != 0 {
					want = c.deny
				}
				w := newWorld(t, chat(func(s *statefulroute.Service) { s.Session.OnStoreLoss = policy }), pods(3))
				table := c.table
				table.Table = w.table
				w.table = &table
				pod := c.pod
				if want == undecidable {
					pod = ""
				}
				d := w.expect("a", want, pod)
				sent := want != undecidable && want != moving && want != noPods
				if !sent && d.err == nil {
					t.Error("nothing says why")
				}
				unasked := want == atHome && !errors.Is(d.err, statefulroute.ErrFull) || want == known && name == "known, and no lease"
				if unasked != (len(table.remembered) == 1) {
					t.Errorf("remembered at %v", table.remembered)
				}
				total := int64(0)
				for _, p := range pods(3) {
					total += w.inFlight(p.Name)
				}
				if sent && total != 1 || !sent && total != 0 {
					t.Errorf("%d requests in flight", total)
				}
			})
		}
	}
}

// A pod that is lost to another replica only is passed by: its sessions begin elsewhere.
func TestAPodThatIsRefusedIsPassedBy(t *testing.T) {
	w := newWorld(t, chat(), pods(3))
	table := &refusingTable{Table: w.table, refuses: map[string]bool{"chat-0": true, "chat-1": true}}
	w.table = table
	for i := range 20 {
		w.expect(fmt.Sprint("s-", i), claimed, "chat-2")
	}
}

// refusingTable binds no session to some pods.
type refusingTable struct {
	Table
	refuses map[string]bool
}

func (r *refusingTable) Claim(ctx context.Context, service, key, pod string, most uint32, now time.Time) (statefulroute.Binding, error) {
	if r.refuses[pod] {
		return statefulroute.Binding{}, statefulroute.ErrPodRefused
	}
	return r.Table.Claim(ctx, service, key, pod, most, now)
}

// Of several keys the bound one wins though it is another replica that knows it.
func TestTheBoundKeyIsFoundElsewhere(t *testing.T) {
	w := newWorld(t, chat(), pods(3))
	w.table = &knowingTable{Table: w.table, knows: map[string]string{"live": "chat-1"}}
	s := w.directory.service("chat")
	d := s.decide(t.Context(), w.table, s.place, []string{"stale", "live"}, t0)
	if d.key != "live" || d.outcome != known || d.pod.Name != "chat-1" {
		t.Errorf("%+v, want the session that is bound", d)
	}
}

// knowingTable knows of some sessions when it asks.
type knowingTable struct {
	Table
	knows map[string]string
}

func (k *knowingTable) Find(_ context.Context, service, key string, _ time.Time) (statefulroute.Binding, error) {
	if pod, ok := k.knows[key]; ok {
		return statefulroute.Binding{Service: service, Key: key, Pod: pod}, nil
	}
	return statefulroute.Binding{}, statefulroute.ErrGone
}

func denying(s *statefulroute.Service) { s.Session.OnStoreLoss = statefulroute.DenyStoreLoss }

// Without its table, a service's requests go to their sessions' homes, or are refused with
// a reason, as on_store_loss says.
func TestRequestsWithoutTheTable(t *testing.T) {
	away := &answeringTable{Table: newMemory(t), lookup: answers("", statefulroute.ErrUnavailable)}
	counted := `stateful_route_request_errors_total{kind="table_unavailable",pod="",service="chat"}`

	p := startProcessor(t, stateOf(chat(), pods(2)))
	p.server.table = away
	c, answer := p.request("x-session-id", "a")
	if answer.GetRequestHeaders() == nil {
		t.Errorf("allow: %v, want a request that goes on", answer)
	}
	c.finish()

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
	if _, err := table.Rebind(ctx, to("chat-0"), "chat-1", 0, t0); !errors.Is(err, statefulroute.ErrGone) {
		t.Errorf("rebind of a new session: %v", err)
	}
	if b, err := table.Claim(ctx, "chat", "a", "chat-0", 0, t0); err != nil || b.Pod != "chat-0" {
		t.Errorf("first claim: %+v, %v", b, err)
	}
	if b, err := table.Claim(ctx, "chat", "a", "chat-1", 0, t0); !errors.Is(err, statefulroute.ErrConflict) || b.Pod != "chat-0" {
		t.Errorf("second claim: %+v, %v", b, err)
	}
	if b, err := table.Rebind(ctx, to("chat-1"), "chat-2", 0, t0); !errors.Is(err, statefulroute.ErrConflict) || b.Pod != "chat-0" {
		t.Errorf("rebind from elsewhere: %+v, %v", b, err)
	}
	if b, err := table.Lookup(ctx, "chat", "a", t0); err != nil || b.Pod != "chat-0" {
		t.Errorf("look-up: %+v, %v", b, err)
	}
	if _, _, err := table.List(ctx, "chat", "", 10, "elsewhere"); !errors.Is(err, statefulroute.ErrCursor) {
		t.Errorf("a page after nothing: %v", err)
	}
}
