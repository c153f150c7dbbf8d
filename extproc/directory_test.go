package extproc

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/wire"
)

type recordedTimeouts map[string]time.Duration

func (r recordedTimeouts) SetIdleTimeout(service string, d time.Duration) { r[service] = d }

func TestDirectoryKeepsWhatItKnowsOfAServiceThatStays(t *testing.T) {
	d := newDirectory(t, stateOf(chat(), pods(2)))
	before := d.service("chat")
	picked, err := before.balancer.Start(t0, "chat-0")
	if err != nil {
		t.Fatal(err)
	}
	d.Set([]wire.ServiceState{stateOf(chat(rejecting), pods(3))}, true)
	after := d.service("chat")
	if after.balancer != before.balancer || after.pods["chat-0"].sampler != before.pods["chat-0"].sampler {
		t.Error("a change of session policy and pods forgot the load")
	}
	if picked.Pod() != "chat-0" {
		t.Error("the request in flight is lost")
	}
	capped := func(s *statefulroute.Service) { s.Balancing.Strategy, s.Balancing.MaxConnections = "home_hcl", 1 }
	d.Set([]wire.ServiceState{stateOf(chat(capped), pods(1))}, true)
	if _, err := d.service("chat").balancer.Pick(t0, "k"); !errors.Is(err, balancing.ErrNoPods) {
		t.Errorf("a cap that is new does not count the request in flight: %v", err)
	}
	picked.Done(t0, balancing.Outcome{})
	if _, err := d.service("chat").balancer.Pick(t0, "k"); err != nil {
		t.Error(err)
	}
}

func TestDirectoryFollowsIdleTimeouts(t *testing.T) {
	m := extproctest.NewMonitor(t)
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
	d.Set([]wire.ServiceState{stateOf(chat(), nil), stateOf(mail, nil)}, true)
	d.Set([]wire.ServiceState{stateOf(chat(), nil), stateOf(mail, nil)}, false)
	if want := (recordedTimeouts{"chat": 0, "mail": time.Hour}); !maps.Equal(idle, want) {
		t.Errorf("timeouts %v, want %v", idle, want)
	}
	if !d.Complete() || completed != 1 {
		t.Errorf("complete %v, told %d times", d.Complete(), completed)
	}
	d.SetDefaultIdleTimeout(time.Minute)
	if want := (recordedTimeouts{"chat": time.Minute, "mail": time.Hour}); !maps.Equal(idle, want) {
		t.Errorf("with another default: timeouts %v, want %v", idle, want)
	}
}

func TestDirectoryChecksServices(t *testing.T) {
	d := newDirectory(t)
	for want, change := range map[string]func(*statefulroute.Service){
		"unknown balancing strategy": func(s *statefulroute.Service) { s.Balancing.Strategy = "odd" },
		"is not a header name": func(s *statefulroute.Service) {
			s.Session.Learn = []statefulroute.SessionSource{from(statefulroute.FromHeader, "")}
		},
		"needs a group": func(s *statefulroute.Service) {
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

// What Check would have refused is not dropped in silence when it is set anyway.
func TestDirectoryKeepsWhatItCannotReplace(t *testing.T) {
	d := newDirectory(t, stateOf(chat(), pods(2)))
	core, logs := observer.New(zap.InfoLevel)
	d.opts.Log = zap.New(core)
	odd := chat(func(s *statefulroute.Service) { s.Balancing.Strategy = "odd" })
	mail := odd
	mail.Name = "mail"
	d.Set([]wire.ServiceState{stateOf(odd, pods(3)), stateOf(mail, pods(3))}, true)
	s := d.service("chat")
	if s == nil || len(s.pods) != 2 || s.policy.Balancing.Strategy != "round_robin" || len(s.balancer.Loads()) != 2 {
		t.Errorf("the service is now %+v", s)
	}
	if d.service("mail") != nil {
		t.Error("a service that cannot be set up is there")
	}
	if n := logs.FilterMessageSnippet("cannot be set up").Len(); n != 2 {
		t.Errorf("%d errors logged, want 2: %v", n, logs.All())
	}
}

func TestDirectoryCountsSessions(t *testing.T) {
	d, table := newDirectory(t, stateOf(chat(), pods(2))), newTable(t)
	for _, key := range []string{"a", "b", "c"} {
		table.Move("chat", key, "chat-1", t0)
	}
	d.CountSessions(table, table)
	gauge := `stateful_route_pod_sessions{pod="chat-1",service="chat"}`
	if n := metric(t, d, gauge); n != 3 {
		t.Errorf("gauge says %v sessions, want 3", n)
	}
	for pod, l := range d.service("chat").balancer.Loads() {
		if want := map[string]int64{"chat-0": 0, "chat-1": 3}[pod]; l.Sessions != want {
			t.Errorf("the balancer believes in %d sessions on %s, want %d", l.Sessions, pod, want)
		}
	}
	d.Set([]wire.ServiceState{stateOf(chat(), pods(1))}, true)
	if n := metric(t, d, gauge); n != 0 {
		t.Errorf("the gauge of a removed pod says %v", n)
	}
}

// Pods come and go for months. A request that ends after its pod has left must
// not keep the pod's name for ever: the names are bounded.
func TestMetricsOfGonePodsDoNotPileUp(t *testing.T) {
	d, table := newDirectory(t), newTable(t)
	mail := chat()
	mail.Name = "mail"
	for i := range 300 {
		one, other := pods(1), pods(1)
		one[0].Name, other[0].Name = fmt.Sprint("chat-", 100+i), fmt.Sprint("mail-", i)
		d.Set([]wire.ServiceState{stateOf(chat(), one), stateOf(mail, other)}, true)
		ofChat, ofMail := d.service("chat").metrics, d.service("mail").metrics
		ofChat.Request(one[0].Name, "GET", 200, time.Second, "")
		d.Set([]wire.ServiceState{stateOf(chat(), nil)}, true) // one loses its pod, the other is gone itself
		ofChat.Request(one[0].Name, "GET", 503, time.Second, "")
		ofMail.Request(other[0].Name, "GET", 503, time.Second, "")
		d.CountSessions(table, table)
	}
	d.Set([]wire.ServiceState{stateOf(chat(), pods(2))}, true)
	d.service("chat").metrics.Request("chat-0", "GET", 200, time.Second, "")
	d.CountSessions(table, table)
	all, err := d.opts.Monitor.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	ofPods := regexp.MustCompile(`pod="([^"]+)"`)
	for name := range all {
		m := ofPods.FindStringSubmatch(name)
		if m != nil && m[1] != "chat-0" && m[1] != "chat-1" || strings.Contains(name, `service="mail"`) {
			t.Errorf("%s is still there", name)
			break
		}
	}
	if n := metric(t, d, `stateful_route_requests_total{code="2xx",method="GET",pod="chat-0",service="chat"}`); n != 1 {
		t.Errorf("the new pod has %v requests under its own name, want 1", n)
	}
}

func TestDirectoryCapsSessions(t *testing.T) {
	capped := chat(func(s *statefulroute.Service) { s.Balancing.MaxSessions = 2 })
	p := startProcessor(t, stateOf(capped, pods(2)))
	refused := 0
	for _, key := range []string{"a", "a", "b", "b", "c", "c", "d", "d", "e"} { // those that came back stay
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
	s := newDirectory(t, stateOf(chat(), pods(2))).service("chat")
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
