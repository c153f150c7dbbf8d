package check

import (
	"fmt"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/pod"
)

const (
	second = time.Second
	always = time.Hour
)

// book makes a history by hand: pods p and q, a gateway, one session.
type book struct {
	history.History
	at    time.Duration
	n     int
	state map[place]int
}

func newBook() *book {
	b := &book{state: map[place]int{}}
	b.Settle = second
	b.Gateways = [][]history.Span{{{From: -always, Until: always}}}
	b.Pods = map[string]history.Pod{}
	for _, name := range []string{"p", "q"} {
		b.Pods[name] = history.Pod{Secret: []byte(name + "'s secret"), Able: []history.Span{{From: -always, Until: always}}}
	}
	return b
}

// blank is the next request, sent and received a tenth of a second apart.
func (b *book) blank() history.Record {
	b.at += second
	b.n++
	return history.Record{
		Session: "s", Kind: history.Request, Nonce: fmt.Sprint(b.n), Key: pod.HashKey("id"),
		Sent: b.at, Received: b.at + second/10, Status: 200,
	}
}

// answer has a pod answer the next request in one of its lives.
func (b *book) answer(name string, life int64) *book {
	r := b.blank()
	at := place{name, life}
	b.state[at]++
	a := pod.Answer{Pod: name, Incarnation: life, Session: "s", Key: r.Key, Visits: b.state[at], Since: life, Nonce: r.Nonce}.Sign(b.Pods[name].Secret)
	r.Answer = &a
	b.Records = append(b.Records, r)
	return b
}

func (b *book) refuse(status int, reason string) *book {
	r := b.blank()
	r.Status, r.Reason = status, reason
	b.Records = append(b.Records, r)
	return b
}

func (b *book) fail(err string) *book {
	r := b.blank()
	r.Status, r.Err = 0, err
	b.Records = append(b.Records, r)
	return b
}

// change changes the last answer and, where it is to be believed, signs it anew.
func (b *book) change(sign bool, do func(*pod.Answer)) *book {
	a := *b.Records[len(b.Records)-1].Answer
	do(&a)
	if sign {
		a = a.Sign(b.Pods[a.Pod].Secret)
	}
	b.Records[len(b.Records)-1].Answer = &a
	return b
}

// down makes p unable for a time.
func (b *book) down(from, until time.Duration) *book {
	p := b.Pods["p"]
	p.Able = []history.Span{{From: -always, Until: from}, {From: until, Until: always}}
	b.Pods["p"] = p
	return b
}

func (b *book) ended(at time.Duration) *book {
	p := b.Pods["p"]
	p.Ends = append(p.Ends, at)
	b.Pods["p"] = p
	return b
}

func TestJudge(t *testing.T) {
	tenth := second / 10
	for _, c := range []struct {
		name string
		book *book
		want []Verdict
	}{
		{"its own pod", newBook().answer("p", 1).answer("p", 1),
			[]Verdict{{Class: Right}, {Class: Right}}},
		{"another pod, again and again, and its own again", newBook().answer("p", 1).answer("q", 1).answer("q", 1).answer("p", 1),
			[]Verdict{{Class: Right}, {Class: WrongPod, Reason: "another pod"}, {Class: WrongPod, Reason: "another pod"}, {Class: Right}}},
		{"rebound while its own was down, and back though the new one serves", newBook().down(2*second, 3*second).answer("p", 1).answer("q", 1).answer("p", 1),
			[]Verdict{{Class: Right}, {Class: Rebound, Reason: "its pod could not serve"}, {Class: WrongPod, Reason: "another pod"}}},
		{"down only while the request was under way", newBook().down(2*second+tenth/2, 2*second+tenth/2+1).answer("p", 1).answer("q", 1),
			[]Verdict{{Class: Right}, {Class: Rebound, Reason: "its pod could not serve"}}},
		{"down until a moment ago", newBook().down(second+2*tenth, second+3*tenth).answer("p", 1).answer("q", 1),
			[]Verdict{{Class: Right}, {Class: Rebound, Reason: "its pod could not serve"}}},
		{"down until longer ago than settling takes", newBook().down(second+2*tenth, 2*second).answer("p", 1).fail("timeout").answer("q", 1).answer("q", 1),
			[]Verdict{{Class: Right}, {Class: Failed, Reason: "timeout"}, {Class: WrongPod, Reason: "another pod"}, {Class: WrongPod, Reason: "another pod"}}},
		{"down after the answer", newBook().down(2*second+2*tenth, 3*second).answer("p", 1).answer("q", 1),
			[]Verdict{{Class: Right}, {Class: WrongPod, Reason: "another pod"}}},
		{"its memory ended and it was long back", newBook().ended(second+2*tenth).answer("p", 1).refuse(503, "").refuse(503, "").answer("q", 1).answer("p", 2),
			[]Verdict{{Class: Right}, {Class: Refused, Reason: "503 without a reason", Unexplained: true}, {Class: Refused, Reason: "503 without a reason", Unexplained: true},
				{Class: Rebound, Reason: "the pod's memory ended"}, {Class: WrongPod, Reason: "another pod"}}},
		{"the pod was restarted", newBook().ended(second+2*tenth).answer("p", 1).answer("p", 2).answer("p", 2),
			[]Verdict{{Class: Right}, {Class: Right, Reason: "its pod was restarted"}, {Class: Right}}},
		{"the pod was restarted before the session came", newBook().ended(second/2).answer("p", 2).answer("q", 1),
			[]Verdict{{Class: Right}, {Class: WrongPod, Reason: "another pod"}}},
		{"the pod was restarted by nobody", newBook().answer("p", 1).answer("p", 2),
			[]Verdict{{Class: Right}, {Class: LostVisits, Reason: "the pod was restarted by nobody"}}},
		{"fewer visits", newBook().answer("p", 1).answer("p", 1).answer("p", 1).change(true, func(a *pod.Answer) { a.Visits = 2 }),
			[]Verdict{{Class: Right}, {Class: Right}, {Class: LostVisits, Reason: "fewer visits than before"}}},
		{"since later", newBook().answer("p", 1).answer("p", 1).change(true, func(a *pod.Answer) { a.Since = 9 }).answer("p", 1),
			[]Verdict{{Class: Right}, {Class: LostVisits, Reason: "fewer visits than before"}, {Class: Right}}},
		{"another id", newBook().answer("p", 1).answer("p", 1).change(true, func(a *pod.Answer) { a.Key = "cut" }),
			[]Verdict{{Class: Right}, {Class: LostVisits, Reason: "the pod saw another id"}}},
		{"no pod's signature", newBook().answer("p", 1).answer("p", 1).change(false, func(a *pod.Answer) { a.Visits = 7 }),
			[]Verdict{{Class: Right}, {Class: WrongPod, Reason: "signed by no pod"}}},
		{"a pod that never was", newBook().answer("p", 1).answer("p", 1).change(false, func(a *pod.Answer) { *a = pod.Answer{Pod: "x", Nonce: a.Nonce, Session: "s"}.Sign([]byte("x")) }),
			[]Verdict{{Class: Right}, {Class: WrongPod, Reason: "signed by no pod"}}},
		{"a replay", newBook().answer("p", 1).answer("p", 1).change(true, func(a *pod.Answer) { a.Nonce = "1" }),
			[]Verdict{{Class: Right}, {Class: WrongPod, Reason: "an answer to another request"}}},
		{"another session's", newBook().answer("p", 1).answer("p", 1).change(true, func(a *pod.Answer) { a.Session = "t" }),
			[]Verdict{{Class: Right}, {Class: WrongPod, Reason: "another session's answer"}}},
		{"refusals and failures", newBook().down(3*second, 4*second).answer("p", 1).refuse(503, "pod-lost").refuse(302, "").fail("timeout"),
			[]Verdict{{Class: Right}, {Class: Refused, Reason: "503 pod-lost", Unexplained: true}, {Class: Refused, Reason: "302 without a reason"}, {Class: Failed, Reason: "timeout"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Judge(c.book.History)
			for i, want := range c.want {
				if got.Verdicts[i] != want {
					t.Errorf("record %d: %+v, want %+v", i+1, got.Verdicts[i], want)
				}
			}
			if len(got.Verdicts) != len(c.want) {
				t.Errorf("%d verdicts", len(got.Verdicts))
			}
		})
	}
}

// A stall excuses, and says so.
func TestStallsExcuse(t *testing.T) {
	stall := []history.Span{{From: second + second/2, Until: 2 * second}}
	ofPod := newBook().answer("p", 1).answer("q", 1)
	p := ofPod.Pods["p"]
	p.Stalls = stall
	ofPod.Pods["p"] = p
	ofSuite := newBook().answer("p", 1).answer("q", 1)
	ofSuite.Stalls = stall
	for want, b := range map[string]*book{"its pod did not get the processor": ofPod, "the suite did not get the processor": ofSuite} {
		if got := Judge(b.History).Verdicts[1]; got.Class != Rebound || got.Reason != want {
			t.Errorf("%+v, want %s", got, want)
		}
	}
}

// A stall does not excuse what was wrong before it.
func TestAStallExcusesNoStray(t *testing.T) {
	b := newBook().answer("p", 1).answer("q", 1).answer("q", 1)
	b.Stalls = []history.Span{{From: 2*second + second/2, Until: 3 * second}}
	if r := Judge(b.History); r.Counts[WrongPod] != 2 {
		t.Errorf("%+v", r.Verdicts)
	}
}

// What two requests at once are answered with may come in any order.
func TestARaceLosesNothing(t *testing.T) {
	b := newBook().answer("p", 1).answer("p", 1)
	first, other := &b.Records[0], &b.Records[1]
	first.Sent, first.Received = 0, 3*second
	other.Sent, other.Received = 0, 2*second // and yet it is the pod's second visit
	if r := Judge(b.History); r.Counts[Right] != 2 {
		t.Errorf("%+v", r.Verdicts)
	}
}

func TestARaceThatFindsTwoPodsIsWrong(t *testing.T) {
	b := newBook().answer("p", 1).answer("q", 1)
	b.Records[1].Sent = b.Records[0].Sent
	if r := Judge(b.History); r.Counts[WrongPod] != 1 {
		t.Errorf("%+v", r.Verdicts)
	}
}

// What was sent before the session was rebound may still be answered by the pod that it had.
func TestALateAnswerIsRight(t *testing.T) {
	b := newBook().down(2*second-1, 2*second).answer("p", 1).answer("q", 1).answer("p", 1)
	b.Records[2].Sent = second + second/2
	if r := Judge(b.History); r.Verdicts[2].Class != Right {
		t.Errorf("%+v", r.Verdicts)
	}
}

// A stream may go on where it began; a new one must begin where the session is.
func TestStreams(t *testing.T) {
	b := newBook().down(2*second, always).answer("p", 1).answer("p", 1).answer("q", 1).answer("p", 1).answer("q", 1).answer("p", 1)
	for i, stream := range []int{0, 1, 0, 1, 2, 3} {
		b.Records[i].Stream = stream
	}
	want := []Class{Right, Right, Rebound, Right, Right, WrongPod}
	for i, v := range Judge(b.History).Verdicts {
		if v.Class != want[i] {
			t.Errorf("record %d: %+v, want %s", i+1, v, want[i])
		}
	}
}

// A stream is cut by the end of its own pod, though the session is on another by then.
func TestACutStreamIsExplainedByItsOwnPod(t *testing.T) {
	b := newBook().down(2*second, always).answer("p", 1).answer("q", 1).fail("the stream was cut")
	b.Records[0].Stream, b.Records[2].Stream = 1, 1
	b.Records[2].Sent = b.Records[0].Received
	if v := Judge(b.History).Verdicts[2]; v.Class != Failed || v.Unexplained {
		t.Errorf("%+v", v)
	}
}

func TestSpread(t *testing.T) {
	b := newBook()
	p := b.Pods["p"]
	p.Draining = []history.Span{{From: -always, Until: always}}
	b.Pods["p"] = p
	r := Judge(b.answer("p", 1).History)
	if r.Spread["p"] != 1 || r.NewOnDraining != 1 || r.OnePod {
		t.Errorf("%+v", r)
	}
	for i, c := range []struct {
		spread map[string]int
		pods   int
		want   bool
	}{
		{map[string]int{"p": 18, "q": 2}, 2, true},
		{map[string]int{"p": 17, "q": 3}, 2, false},
		{map[string]int{"p": 19}, 2, false},
		{map[string]int{"p": 100}, 1, false},
	} {
		if got := onePod(c.spread, c.pods); got != c.want {
			t.Errorf("%d: %t", i, got)
		}
	}
}
