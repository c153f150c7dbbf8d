package extproc

import (
	"strconv"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

func tellingEpochs(s *statefulroute.Service) { s.Session.EpochHeader = true }

// toldEpoch is the epoch that an answer tells the pod; 0 if none.
func toldEpoch(t *testing.T, r *extprocv3.ProcessingResponse) (epoch uint64) {
	t.Helper()
	for _, set := range r.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		if set.GetHeader().GetKey() != wire.EpochHeader {
			continue
		}
		if epoch != 0 || set.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Fatalf("set twice, or a client's own would survive: %v", r)
		}
		var err error
		if epoch, err = strconv.ParseUint(string(set.GetHeader().GetRawValue()), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return epoch
}

// Every way to a binding tells its pod the epoch that the table has.
func TestPodsAreToldTheEpoch(t *testing.T) {
	p := startProcessor(t, stateOf(chat(tellingEpochs), pods(3)))
	var last uint64
	ask := func(what string, grows bool) {
		t.Helper()
		_, r := p.request("x-session-id", "s")
		told := toldEpoch(t, r)
		b, _ := p.table.Peek("chat", "s", time.Now())
		if told == 0 || told != b.Epoch || destination(t, r) == "" || grows != (told > last) {
			t.Errorf("%s: told %d after %d, bound to %+v", what, told, last, b)
		}
		last = told
	}
	ask("claimed", true)
	ask("known", false)
	p.table.Move("chat", "s", "gone", time.Now())
	ask("rebound", true)
	p.table.Move("chat", "s", "chat-0", time.Now())
	p.table.Move("chat", "s", "chat-1", time.Now())
	ask("moved", true)
	p.table.Delete("chat", "s")
	ask("claimed anew", true)
}

func TestWhoIsToldNoEpoch(t *testing.T) {
	bound := startProcessor(t, stateOf(chat(), pods(1)))
	if _, r := bound.request("x-session-id", "s"); toldEpoch(t, r) != 0 || destination(t, r) == "" {
		t.Errorf("a service that does not ask for it: %v", r)
	}
	p := startProcessor(t, stateOf(chat(tellingEpochs), pods(1)))
	if _, r := p.request(); toldEpoch(t, r) != 0 || destination(t, r) != "" {
		t.Errorf("unbound: %v", r)
	}
	p.server.table = fullTable{p.server.table}
	if _, r := p.request("x-session-id", "s"); toldEpoch(t, r) != 0 || destination(t, r) == "" {
		t.Errorf("served at its home, unbound: %v", r)
	}
}

// What is sent for a pod stays as it is, for it is shared by all its requests.
func TestAnEpochLeavesTheSharedAnswerAlone(t *testing.T) {
	shared, _ := boundAnswers(pods(1)[0], statefulroute.Allow)
	before := proto.Clone(shared.ask.Message())
	one, other := withEpoch(shared.ask, 7).Message(), withEpoch(shared.ask, 8).Message()
	if toldEpoch(t, one) != 7 || toldEpoch(t, other) != 8 || destination(t, one) != "127.0.0.1:9100" || !asksForResponse(one) {
		t.Errorf("%v\n%v", one, other)
	}
	if !proto.Equal(shared.ask.Message(), before) {
		t.Errorf("the shared answer became %v", shared.ask.Message())
	}
}

// Spans have the epoch, metrics do not.
func TestTheEpochIsTraced(t *testing.T) {
	x := newTraced(t, stateOf(chat(), pods(1)))
	for range 2 {
		x.play([]string{"x-session-id", "s"}, "", nil)
	}
	b, _ := x.table.Peek("chat", "s", time.Now())
	var got []string
	for _, span := range x.spans.Ended() {
		for _, a := range span.Attributes() {
			if a.Key == "cache.epoch" {
				got = append(got, span.Name()+" "+a.Value.String())
			}
		}
	}
	epoch := strconv.FormatUint(b.Epoch, 10)
	if len(got) != 2 || got[0] != "cache.set "+epoch || got[1] != "cache.get "+epoch {
		t.Errorf("spans say %q, want %s", got, epoch)
	}
}
