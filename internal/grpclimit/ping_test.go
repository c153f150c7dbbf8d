package grpclimit

import (
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// pinger is a client that does nothing but ask whether its server is there.
type pinger struct {
	framer *http2.Framer
	data   [8]byte
}

func newPinger(t testing.TB, address string) *pinger {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	p := &pinger{framer: http2.NewFramer(conn, conn)}
	if err := p.framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return p
}

// ping returns whether the server has answered, and not ended the connection.
func (p *pinger) ping() bool {
	p.data[0]++
	if p.framer.WritePing(false, p.data) != nil {
		return false
	}
	for {
		switch f, err := p.framer.ReadFrame(); f := f.(type) {
		case *http2.PingFrame:
			if f.IsAck() && f.Data == p.data {
				return true
			}
		case *http2.GoAwayFrame:
			return false
		default:
			if err != nil {
				return false
			}
		}
	}
}

// Who pings more often than MinPing is cut after a few; who keeps to it never.
func TestPings(t *testing.T) {
	for name, minPing := range map[string]time.Duration{"often": 0, "allowed": time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			g := serve(t, Options{Connections: 2, Streams: 2, MinPing: minPing})
			p := newPinger(t, g.address)
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			answered := 0
			for answered < 20 && p.ping() {
				answered++
				<-tick.C
			}
			if kept := answered == 20; kept != (minPing > 0) {
				t.Errorf("after %d pings the connection is open: %v", answered, kept)
			}
		})
	}
}

// BenchmarkPing is what a ping costs, its client included.
func BenchmarkPing(b *testing.B) {
	g := serve(b, Options{Connections: 2, Streams: 2, MinPing: 1})
	p := newPinger(b, g.address)
	for b.Loop() {
		if !p.ping() {
			b.Fatal("the server has ended the connection")
		}
	}
}
