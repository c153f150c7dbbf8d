package wire

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
)

func TestServiceSurvivesTheTrip(t *testing.T) {
	want := statefulroute.Service{
		Name: "chat",
		Session: statefulroute.SessionPolicy{
			Key: []statefulroute.SessionSource{
				{Kind: statefulroute.FromHeader, Name: "x-session-id"},
				{Kind: statefulroute.FromPath, Name: `^/rooms/([^/]+)`},
				{Kind: "jwt", Params: map[string]string{"header": "authorization", "claim": "sub"}},
			},
			Learn:         []statefulroute.SessionSource{{Kind: statefulroute.FromCookie, Name: "JSESSIONID"}},
			Issue:         &statefulroute.IssuedCookie{Name: "stateful-route", TTL: 24 * time.Hour, SameSite: statefulroute.None, Domain: "example.com", Path: "/app", Partitioned: true, Renew: true},
			End:           []statefulroute.SessionEnd{{Method: "DELETE"}, {Method: "POST", Path: "/end$"}},
			IdleTimeout:   90 * time.Second,
			OnPodLoss:     statefulroute.Reject,
			OnExtprocLoss: statefulroute.Deny,
			EpochHeader:   true,
			OnStoreLoss:   statefulroute.DenyStoreLoss,
		},
		Balancing: statefulroute.BalancingPolicy{
			Strategy: "home_hcl", MaxConnections: 7, MaxSessions: 9,
			ResponseTimeWindow: 30 * time.Second, SlowStart: 1500 * time.Millisecond,
		},
	}
	for _, want.Session.FastPath = range []bool{false, true} {
		meta, err := EncodeService(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeService("chat", meta)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if _, sent := meta.Fields["fast_path"]; sent == want.Session.FastPath {
			t.Errorf("fast_path %v: sent %v: clusters that do not set it are to stay as they are", want.Session.FastPath, sent)
		}
	}
}

func TestPodSurvivesTheTrip(t *testing.T) {
	addr := netip.MustParseAddrPort("[::1]:9101")
	for state := statefulroute.Ready; state <= statefulroute.Unhealthy; state++ {
		want := statefulroute.Pod{Name: "chat-0", Address: addr, Weight: 4_000_000_000, Zone: "a", State: state, Avoid: state == statefulroute.Ready}
		meta, err := EncodePod(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodePod(meta, addr, "a")
		if err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestDecodeRefusesBadMetadata(t *testing.T) {
	bad := map[string]struct {
		meta *structpb.Struct
		want string
	}{
		"none":      {nil, "no stateful-route metadata"},
		"no name":   {mustStruct(t, map[string]any{"state": "ready"}), "has no name"},
		"bad state": {mustStruct(t, map[string]any{"pod": "a", "state": "odd"}), `unknown pod state "odd"`},
		"bad type":  {mustStruct(t, map[string]any{"pod": 3.0}), "decode metadata"},
	}
	for name, c := range bad {
		_, err := DecodePod(c.meta, netip.MustParseAddrPort("127.0.0.1:1"), "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := DecodeService("chat", mustStruct(t, map[string]any{"idle_timeout": "soon"})); err == nil || !strings.Contains(err.Error(), `"chat"`) {
		t.Errorf("bad duration: got %v", err)
	}
}

func mustStruct(t *testing.T, m map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
