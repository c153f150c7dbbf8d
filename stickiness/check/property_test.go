package check

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/pod"
)

// world is a made-up run of a right gateway: a session leaves its pod only while
// that cannot serve. Requests of all sessions come one after the other, so that
// what is right is plain to see.
type world struct {
	history.History
	owner  map[string]place
	visits map[string]map[place]int
	life   map[string]int64
	downed map[string]bool
	since  map[string]time.Duration // when each pod could last begin to serve
	now    time.Duration
}

func names() []string { return []string{"p", "q", "r"} }

func draw(t *rapid.T) *world {
	w := &world{
		owner: map[string]place{}, visits: map[string]map[place]int{}, life: map[string]int64{},
		downed: map[string]bool{}, since: map[string]time.Duration{},
	}
	w.Settle = time.Second
	w.Gateways = [][]history.Span{{{From: -time.Hour, Until: time.Hour}}}
	w.Pods = map[string]history.Pod{}
	for _, name := range names() {
		w.Pods[name] = history.Pod{Secret: []byte(name)}
		w.life[name], w.since[name] = 1, -time.Hour
	}
	for range rapid.IntRange(1, 60).Draw(t, "steps") {
		w.now += 100 * time.Millisecond
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			w.fault(rapid.SampledFrom(names()).Draw(t, "pod"), rapid.Bool().Draw(t, "kill"))
		default:
			w.request(fmt.Sprintf("s%d", rapid.IntRange(0, 3).Draw(t, "session")), rapid.IntRange(0, 1<<16).Draw(t, "choice"))
		}
	}
	for _, name := range names() {
		if !w.downed[name] {
			w.close(name, time.Hour)
		}
	}
	return w
}

func (w *world) close(name string, until time.Duration) {
	p := w.Pods[name]
	p.Able = append(p.Able, history.Span{From: w.since[name], Until: until})
	w.Pods[name] = p
}

// fault takes a pod away, for as long as it takes until it is drawn again.
func (w *world) fault(name string, kill bool) {
	if w.downed[name] {
		w.downed[name], w.since[name] = false, w.now
		return
	}
	w.downed[name] = true
	w.close(name, w.now)
	if kill {
		p := w.Pods[name]
		p.Ends = append(p.Ends, w.now)
		w.Pods[name] = p
		w.life[name]++
	}
}

func (w *world) request(session string, choice int) {
	r := history.Record{
		Session: session, Kind: history.Request, Nonce: fmt.Sprint(len(w.Records)),
		Sent: w.now + time.Millisecond, Received: w.now + 50*time.Millisecond, Status: 200,
	}
	up := slices.DeleteFunc(names(), func(n string) bool { return w.downed[n] })
	owner := w.owner[session]
	switch {
	case owner.pod == "" || w.downed[owner.pod]:
		if len(up) == 0 {
			r.Status, r.Reason = 503, "no pod"
			w.Records = append(w.Records, r)
			return
		}
		owner = place{pod: up[choice%len(up)]}
	}
	owner.incarnation = w.life[owner.pod]
	w.owner[session] = owner
	if w.visits[session] == nil {
		w.visits[session] = map[place]int{}
	}
	w.visits[session][owner]++
	a := pod.Answer{Pod: owner.pod, Incarnation: owner.incarnation, Session: session, Visits: w.visits[session][owner], Since: 1, Nonce: r.Nonce}.Sign(w.Pods[owner.pod].Secret)
	r.Answer = &a
	w.Records = append(w.Records, r)
}

// A right gateway is never found wrong, and every record is sorted once.
func TestARightGatewayIsNeverFoundWrong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := draw(t)
		r := Judge(w.History)
		if !r.Kept() || r.Counts[Failed] != 0 {
			t.Fatalf("%+v", r)
		}
		sum := 0
		for _, class := range Classes() {
			sum += r.Counts[class]
		}
		if sum != len(w.Records) || len(r.Verdicts) != len(w.Records) {
			t.Fatalf("%d records, %d sorted", len(w.Records), sum)
		}
	})
}

// One answer that is spoiled is found, and nothing else.
func TestOneSpoiledAnswerIsFoundAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := draw(t)
		i, before := w.spoilable()
		if i < 0 {
			t.Skip("no session came twice to its pod")
		}
		a := *w.Records[i].Answer
		want := Verdict{}
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			other := names()[(slices.Index(names(), a.Pod)+1)%len(names())]
			a.Pod, a.Incarnation = other, w.life[other]+10
			a = a.Sign(w.Pods[other].Secret)
			want = Verdict{Class: WrongPod, Reason: "another pod"}
		case 1:
			a.Visits = before
			a = a.Sign(w.Pods[a.Pod].Secret)
			want = Verdict{Class: LostVisits, Reason: "fewer visits than before"}
		case 2:
			a.Visits++ // what was signed is not what is said
			want = Verdict{Class: WrongPod, Reason: "signed by no pod"}
		case 3:
			a.Nonce = "another"
			a = a.Sign(w.Pods[a.Pod].Secret)
			want = Verdict{Class: WrongPod, Reason: "an answer to another request"}
		}
		w.Records[i].Answer = &a
		r := Judge(w.History)
		if r.Verdicts[i] != want || r.Counts[WrongPod]+r.Counts[LostVisits] != 1 {
			t.Fatalf("record %d: %+v, want %+v; %+v", i, r.Verdicts[i], want, r.Counts)
		}
	})
}

// spoilable is a record whose session had been on the same pod, in the same life,
// the time before, with no fault near, and the visits it had then.
func (w *world) spoilable() (index, before int) {
	last := map[string]history.Record{}
	for i, r := range w.Records {
		q, again := last[r.Session]
		if again && r.Answer != nil && q.Answer != nil && q.Answer.Pod == r.Answer.Pod && q.Answer.Incarnation == r.Answer.Incarnation &&
			history.Covers(w.Pods[r.Answer.Pod].Able, q.Sent-w.Settle, r.Received) {
			return i, q.Answer.Visits
		}
		last[r.Session] = r
	}
	return -1, 0
}
