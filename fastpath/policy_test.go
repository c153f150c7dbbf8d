package fastpath

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
)

// text is a policy as it is read.
type text struct {
	left []byte
}

func (p *text) take(n int) []byte {
	part := p.left[:n]
	p.left = p.left[n:]
	return part
}

func (p *text) u8() int       { return int(p.take(1)[0]) }
func (p *text) u16() int      { return int(binary.LittleEndian.Uint16(p.take(2))) }
func (p *text) u32() uint32   { return binary.LittleEndian.Uint32(p.take(4)) }
func (p *text) text8() string { return string(p.take(p.u8())) }

func (p *text) text16() string { return string(p.take(p.u16())) }

// show writes a policy as text, one line for each part.
func show(policy []byte) string {
	p, out := &text{policy}, &strings.Builder{}
	fmt.Fprintf(out, "format %d service %d flags %04b renew %d unbound %d\n", p.u32(), p.u32(), p.u32(), p.u32(), p.u32())
	fmt.Fprintf(out, "%s retry %s, unbound %s\n", p.text16(), p.text8(), p.text8())
	for range p.u8() {
		kind, flags, name := p.u8(), p.u8(), p.text16()
		fmt.Fprintf(out, "source %d flags %d %q", kind, flags, name)
		if kind == sourcePath {
			fmt.Fprintf(out, " pattern of %d instructions", binary.LittleEndian.Uint16(p.take(int(p.u32()))))
		}
		out.WriteString("\n")
	}
	for range p.u8() {
		fmt.Fprintf(out, "end %s\n", p.text8())
	}
	for range p.u8() {
		fmt.Fprintf(out, "learn %d %q\n", p.u8(), p.text16())
	}
	for range p.u8() {
		fmt.Fprintf(out, "forward %q\n", p.text16())
	}
	fmt.Fprintf(out, "left %d", len(p.left))
	return out.String()
}

func session(change func(*statefulroute.SessionPolicy)) statefulroute.Service {
	svc := statefulroute.Service{Name: "chat", Session: statefulroute.SessionPolicy{FastPath: true}}
	change(&svc.Session)
	return svc
}

func TestPolicies(t *testing.T) {
	const names = "\nchat retry reset, unbound connect-failure,refused-stream\n"
	for want, svc := range map[string]statefulroute.Service{
		"format 2 service 7 flags 1101 renew 0 unbound 9" + names + "left 0": session(func(*statefulroute.SessionPolicy) {}),
		"format 2 service 7 flags 1100 renew 0 unbound 9" + names + "left 0": session(func(p *statefulroute.SessionPolicy) { p.FastPath = false }),
		"format 2 service 7 flags 1111 renew 0 unbound 9" + names + "left 0": session(func(p *statefulroute.SessionPolicy) { p.OnExtprocLoss = statefulroute.Deny }),
		"format 2 service 7 flags 1101 renew 0 unbound 9" + names + "end DELETE\nend POST\nleft 0": session(func(p *statefulroute.SessionPolicy) {
			p.End = []statefulroute.SessionEnd{{Method: "DELETE"}, {Method: "POST", Path: "/a"}, {Method: "POST", Path: "/b"}}
		}),
		"format 2 service 7 flags 1001 renew 1801 unbound 9" + names + "source 2 flags 1 \"sid\"\nleft 0": session(func(p *statefulroute.SessionPolicy) {
			p.Issue = &statefulroute.IssuedCookie{Name: "sid", Renew: true, TTL: time.Hour + time.Second}
		}),
		"format 2 service 7 flags 1001 renew 0 unbound 9" + names + "source 2 flags 1 \"sid\"\nsource 3 flags 0 \"q\"\nleft 0": session(func(p *statefulroute.SessionPolicy) {
			p.Issue = &statefulroute.IssuedCookie{Name: "sid", TTL: time.Hour}
			p.Key = []statefulroute.SessionSource{{Kind: statefulroute.FromCookie, Name: "sid"}, {Kind: statefulroute.FromQuery, Name: "q"}}
		}),
		"format 2 service 7 flags 1101 renew 0 unbound 9" + names + "source 1 flags 0 \"x-id\"\nsource 5 flags 0 \"\"\nsource 6 flags 0 \"authorization\"\nsource 4 flags 0 \"\" pattern of 8 instructions\nleft 0": session(func(p *statefulroute.SessionPolicy) {
			p.Key = []statefulroute.SessionSource{
				{Kind: statefulroute.FromHeader, Name: "X-ID"}, {Kind: statefulroute.FromHeader, Name: "Host"},
				{Kind: sessionkey.FromJWT, Params: map[string]string{"header": "Authorization", "claim": "sub"}}, {Kind: statefulroute.FromPath, Name: "^/([^/]+)"},
			}
		}),
		"format 2 service 7 flags 1001 renew 0 unbound 9" + names + "source 1 flags 0 \"x-id\"\n" +
			"learn 1 \"x-made\"\nlearn 2 \"SID\"\nforward \"cookie\"\nforward \"x-id\"\nforward \"x-made\"\nleft 0": session(func(p *statefulroute.SessionPolicy) {
			p.Key = []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "X-Id"}}
			p.Learn = []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "X-Made"}, {Kind: statefulroute.FromCookie, Name: "SID"}}
		}),
		"format 2 service 7 flags 1101 renew 0 unbound 9" + names + "source 6 flags 0 \"\"\nleft 0": session(func(p *statefulroute.SessionPolicy) {
			p.Key = []statefulroute.SessionSource{{Kind: statefulroute.FromPath, Name: "(a{500}b{700})"}}
		}),
	} {
		policy, err := compile(svc, 7, 9)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := show(policy); got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}

// Services whose pods are told the epoch are extproc's.
func TestServicesThatAreNotAllowed(t *testing.T) {
	for name, change := range map[string]func(*statefulroute.SessionPolicy){
		"epoch": func(p *statefulroute.SessionPolicy) { p.EpochHeader = true },
		"off":   func(p *statefulroute.SessionPolicy) { p.FastPath = false },
	} {
		if flagsOf(session(change).Session)&policyAllowed != 0 {
			t.Errorf("%s is allowed", name)
		}
	}
}

// A policy that cannot be written leaves none: an older one would no longer be right.
func TestAPolicyThatCannotBeSetLeavesNone(t *testing.T) {
	table, err := Create(Options{Path: filepath.Join(t.TempDir(), "table"), Capacity: 1, Pods: 1, Services: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close(false)
	good := session(func(*statefulroute.SessionPolicy) {})
	bad := map[string]statefulroute.Service{
		"source": session(func(p *statefulroute.SessionPolicy) {
			p.Key = []statefulroute.SessionSource{{Kind: statefulroute.FromPath, Name: "("}}
		}),
		"method": session(func(p *statefulroute.SessionPolicy) {
			p.End = []statefulroute.SessionEnd{{Method: strings.Repeat("M", 256)}}
		}),
		"many": session(func(p *statefulroute.SessionPolicy) {
			for i := range 256 {
				p.Key = append(p.Key, statefulroute.SessionSource{Kind: statefulroute.FromQuery, Name: fmt.Sprint(i)})
			}
		}),
		"long": session(func(p *statefulroute.SessionPolicy) {
			for range 20 {
				p.Key = append(p.Key, statefulroute.SessionSource{Kind: statefulroute.FromQuery, Name: strings.Repeat("q", 60_000)})
			}
		}),
	}
	for name, svc := range bad {
		if err := table.SetService(good); err != nil {
			t.Fatal(err)
		}
		if table.services["chat"].slot == 0 || len(table.arena.used) != 1 {
			t.Errorf("%s: slot %d, policies %v", name, table.services["chat"].slot, table.arena.used)
		}
		if err := table.SetService(svc); err == nil {
			t.Errorf("%s was set", name)
		}
		if table.services["chat"].slot != 0 || len(table.arena.used) != 0 {
			t.Errorf("%s: slot %d, policies %v", name, table.services["chat"].slot, table.arena.used)
		}
	}
}

// Policies come and go for ever: their bytes are used again, and their slots.
func TestServicesThatComeAndGo(t *testing.T) {
	table, err := Create(Options{Path: filepath.Join(t.TempDir(), "table"), Capacity: 1, Pods: 4, Services: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close(false)
	now := time.Hour
	table.now = func() time.Duration { return now }
	for i := range 1000 {
		svc := session(func(p *statefulroute.SessionPolicy) {
			p.Key = []statefulroute.SessionSource{{Kind: statefulroute.FromQuery, Name: strings.Repeat("q", 10_000+i)}}
		})
		svc.Name = fmt.Sprint("service-", i%100)
		if err := table.SetService(svc); err != nil {
			t.Fatal(i, err)
		}
		if i%3 == 0 {
			if err := table.SetService(svc); err != nil {
				t.Fatal(i, err)
			}
		}
		table.RemoveService(svc.Name)
		now += reuseAfter
	}
	if len(table.arena.used) != 0 || len(table.services) != 100 {
		t.Errorf("%d policies and %d services are left", len(table.arena.used), len(table.services))
	}
}
