package extproc

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/insight"
)

type recordedTimeouts map[string]time.Duration

func (r recordedTimeouts) SetIdleTimeout(service string, d time.Duration) { r[service] = d }

func TestDirectoryKeepsWhatItKnowsOfAServiceThatStays(t *testing.T) {
	d := newDirectory(t, ServiceState{chat(), pods(2)})
	before := d.service("chat")
	ticket, err := before.balancer.Start(t0, "chat-0")
	if err != nil {
		t.Fatal(err)
	}
	d.Set([]ServiceState{{chat(rejecting), pods(3)}}, true)
	after := d.service("chat")
	if after.balancer != before.balancer || after.pods["chat-0"].sampler != before.pods["chat-0"].sampler {
		t.Error("a change of session policy and pods forgot the load")
	}
	if ticket.Pod() != "chat-0" {
		t.Error("the request in flight is lost")
	}
	capped := func(s *statefulroute.Service) { s.Balancing.Strategy, s.Balancing.MaxConnections = "home_hcl", 1 }
	d.Set([]ServiceState{{chat(capped), pods(1)}}, true)
	if _, err := d.service("chat").balancer.Pick(t0, "k"); !errors.Is(err, balancing.ErrNoPods) {
		t.Errorf("a cap that is new does not count the request in flight: %v", err)
	}
	ticket.Done(t0, balancing.Outcome{})
	if _, err := d.service("chat").balancer.Pick(t0, "k"); err != nil {
		t.Error(err)
	}
}

func TestDirectoryFollowsIdleTimeouts(t *testing.T) {
	m, err := insight.NewMonitor(insight.MonitorOptions{Process: "extproc"})
	if err != nil {
		t.Fatal(err)
	}
	idle, completed := recordedTimeouts{}, 0
	d, err := NewDirectory(DirectoryOptions{Monitor: m, IdleTimeouts: idle, OnComplete: func() { completed++ }})
	if err != nil {
		t.Fatal(err)
	}
	d.Set(nil, false)
	if d.Complete() || completed != 0 {
		t.Error("complete without being told so")
	}
	mail := chat(func(s *statefulroute.Service) { s.Name, s.Session.IdleTimeout = "mail", time.Hour })
	d.Set([]ServiceState{{chat(), nil}, {mail, nil}}, true)
	d.Set([]ServiceState{{chat(), nil}, {mail, nil}}, false)
	if want := (recordedTimeouts{"chat": 0, "mail": time.Hour}); !maps.Equal(idle, want) {
		t.Errorf("timeouts %v, want %v", idle, want)
	}
	if !d.Complete() || completed != 1 {
		t.Errorf("complete %v, told %d times", d.Complete(), completed)
	}
}

func TestDirectoryChecksServices(t *testing.T) {
	d := newDirectory(t)
	for want, change := range map[string]func(*statefulroute.Service){
		"unknown balancing strategy": func(s *statefulroute.Service) { s.Balancing.Strategy = "odd" },
		"no group": func(s *statefulroute.Service) {
			s.Session.Key = []statefulroute.SessionSource{from(statefulroute.FromPath, "^/rooms")}
		},
	} {
		if err := d.Check(chat(change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if err := d.Check(chat()); err != nil {
		t.Error(err)
	}
}

func TestDirectoryCountsSessions(t *testing.T) {
	d, table := newDirectory(t, ServiceState{chat(), pods(2)}), newTable(t)
	for _, key := range []string{"a", "b", "c"} {
		table.Move("chat", key, "chat-1", t0)
	}
	d.CountSessions(table)
	gauge := `stateful_route_pod_sessions{pod="chat-1",service="chat"}`
	if n := metric(t, d, gauge); n != 3 {
		t.Errorf("gauge says %v sessions, want 3", n)
	}
	for _, l := range d.service("chat").balancer.Loads() {
		if want := map[string]int64{"chat-0": 0, "chat-1": 3}[l.Pod]; l.Sessions != want {
			t.Errorf("the balancer believes in %d sessions on %s, want %d", l.Sessions, l.Pod, want)
		}
	}
	d.Set([]ServiceState{{chat(), pods(1)}}, true)
	if n := metric(t, d, gauge); n != 0 {
		t.Errorf("the gauge of a removed pod says %v", n)
	}
}

func TestDirectoryCapsSessions(t *testing.T) {
	capped := chat(func(s *statefulroute.Service) { s.Balancing.MaxSessions = 2 })
	p := startProcessor(t, ServiceState{capped, pods(2)})
	refused := 0
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		c, r := p.request("x-session-id", key)
		if r.GetImmediateResponse() != nil {
			refused++
			continue
		}
		c.finish()
	}
	if refused != 1 {
		t.Errorf("%d of 5 sessions refused by two pods of two, want 1", refused)
	}
}

func TestPodAt(t *testing.T) {
	s := newDirectory(t, ServiceState{chat(), pods(2)}).service("chat")
	for address, want := range map[string]string{
		"127.0.0.1:9101": "chat-1", "[::ffff:127.0.0.1]:9101": "chat-1", "127.0.0.1:1": "", "nonsense": "", "": "",
	} {
		got := ""
		if p := s.podAt(address); p != nil {
			got = p.Name
		}
		if got != want {
			t.Errorf("%q is %q, want %q", address, got, want)
		}
	}
}
