//go:build cgo && linux

package ctest

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/mem"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/extproc/codec"
	"github.com/stateful-route/stateful-route/fastpath/module"
	"github.com/stateful-route/stateful-route/sessionkey"
)

// messagesOf takes the body of a call of gRPC apart.
func messagesOf(t *testing.T, body []byte) (all []codec.Message) {
	t.Helper()
	for len(body) > 0 {
		if len(body) < 5 || body[0] != 0 || uint32(len(body)-5) < binary.BigEndian.Uint32(body[1:]) {
			t.Fatalf("no message of gRPC: %q", body)
		}
		n := binary.BigEndian.Uint32(body[1:])
		m := codec.Message{}
		if err := codec.New().Unmarshal(mem.BufferSlice{mem.SliceBuffer(body[5 : 5+n])}, &m); err != nil {
			t.Fatal(err)
		}
		all, body = append(all, m), body[5+n:]
	}
	return all
}

// headersOf are the same for Go and for C.
func headersOf(pairs []string) (h sessionkey.Headers, packed module.Headers) {
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, sessionkey.Header{Key: pairs[i], Value: pairs[i+1]})
		packed.Add(pairs[i], pairs[i+1])
	}
	return h, packed
}

// learner has what Go learns of an exchange, and what C has extproc asked.
type learner struct {
	tables       *tables
	keys, learn  *sessionkey.Reader
	named        *sessionkey.Reader
	due, learned int
}

// newLearner is of a service; nil where its policy is refused.
func newLearner(t *testing.T, s *tables, p statefulroute.SessionPolicy) *learner {
	t.Helper()
	l := &learner{tables: s}
	for into, sources := range map[**sessionkey.Reader][]statefulroute.SessionSource{
		&l.keys: p.Key, &l.learn: p.Learn, &l.named: append(p.Key[:len(p.Key):len(p.Key)], p.Learn...),
	} {
		var err error
		if *into, err = sessionkey.NewReader(sources); err != nil {
			return nil
		}
	}
	s.policy(t, p)
	return l
}

// check compares one exchange of a session that has one key.
func (l *learner) check(t *testing.T, request, response []string) {
	t.Helper()
	asked, packedAsked := headersOf(request)
	answered, packedAnswered := headersOf(response)
	message, due := l.tables.core.Learned("chat", packedAsked, packedAnswered, "127.0.0.1:9101")
	if due {
		l.due++
	}
	keys, _ := l.keys.Keys(asked)
	carried := l.named.Carried(asked)
	ids, tooLong := l.learn.Learned(answered, time.Now())
	for _, id := range ids {
		key := sessionkey.TableKey(id)
		if len(keys) == 0 || key == keys[0] || carried.Names(id) {
			continue
		}
		if l.learned++; !due {
			t.Errorf("%q, answered by %q: %q is not learned", request, response, id)
		}
	}
	if tooLong > 0 && !due {
		t.Errorf("%q, answered by %q: an id is too long, and nobody hears of it", request, response)
	}
	// extproc reads of the message what it reads of all headers.
	messages := messagesOf(t, message)
	if len(messages) != 2 {
		t.Fatalf("%d messages", len(messages))
	}
	told := messages[0].Headers
	if again, _ := l.keys.Keys(told); !slices.Equal(again, keys) || !slices.Equal(l.named.Carried(told), carried) {
		t.Errorf("%q: of what is told the keys are %q, of all %q", request, again, keys)
	}
	told = messages[1].Headers
	if again, long := l.learn.Learned(told, time.Now()); !slices.Equal(again, ids) || long != tooLong {
		t.Errorf("%q: of what is told %q are learned, of all %q", response, again, ids)
	}
	if from := messages[1].Upstream; from != "127.0.0.1:9101" {
		t.Errorf("from %q", from)
	}
}

// Every response from which Go would learn a session is one that C has extproc asked about,
// and extproc is told all that it reads.
func TestWhatGoLearnsIsAskedAbout(t *testing.T) {
	t.Parallel()
	r, s := random{rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}, newTables(t)
	var due, learned, all int
	for all < *differential/5 {
		p := r.policy()
		p.Issue, p.Learn = nil, r.learned()
		l := newLearner(t, s, p)
		if l == nil {
			continue
		}
		for range 50 {
			l.check(t, r.named(), r.response())
			all++
		}
		due, learned = due+l.due, learned+l.learned
	}
	t.Logf("%d exchanges: %d asked about, %d ids learned", all, due, learned)
	if learned == 0 || due == all {
		t.Error("they are all alike")
	}
}

func (r random) learned() (sources []statefulroute.SessionSource) {
	for range 1 + r.IntN(3) {
		sources = append(sources, statefulroute.SessionSource{
			Kind: []statefulroute.SourceKind{statefulroute.FromHeader, statefulroute.FromCookie}[r.IntN(2)], Name: r.of("x-a", "x-made", "a", "sid"),
		})
	}
	return sources
}

// named is a request that may have one of few keys.
func (r random) named() []string {
	if r.IntN(2) == 0 {
		return r.request(0)
	}
	id := r.of("s1", "s2", "a", "%41")
	return []string{"x-a", id, "cookie", "a=" + r.of(id, "s1") + "; sid=" + id, ":path", "/rooms/" + id + "?a=" + id}
}

func (r random) response() (pairs []string) {
	id := func() string { return r.text(3, "s1", "s2", "a", "%41", "%", "A", "-", " ", "\xff", "\"") }
	for range r.IntN(4) {
		switch r.IntN(3) {
		case 0:
			pairs = append(pairs, r.of("x-a", "x-made", "a", "x-else"), id())
		case 1:
			pairs = append(pairs, "set-cookie", r.of("a", " a ", "sid", "A", "")+r.of("=", " = ", "")+id()+r.of("", "; Path=/", ";", "; Max-Age=0"))
		default:
			pairs = append(pairs, r.of("x-a", "sid"), "s1")
		}
	}
	return pairs
}
