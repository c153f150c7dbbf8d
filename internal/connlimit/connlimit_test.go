package connlimit

import (
	"errors"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOneAddressGetsHalfOfTheConnections(t *testing.T) {
	l := New(10)
	took := map[string]int{}
	for range 20 {
		if r := l.admit("192.0.2.1"); r == nil {
			took["192.0.2.1"]++
		} else if *r != (Refused{OfAddress, 5, "192.0.2.1"}) {
			t.Fatalf("refused by %+v", r)
		}
	}
	for range 20 {
		if r := l.admit(""); r == nil { // this machine
			took[""]++
		} else if *r != (Refused{All, 10, ""}) {
			t.Fatalf("refused by %+v", r)
		}
	}
	if took["192.0.2.1"] != 5 || took[""] != 5 {
		t.Errorf("took %v", took)
	}
	for range 5 {
		l.leave("192.0.2.1")
		l.leave("")
	}
	if l.Open() != 0 || len(l.byAddress) != 0 {
		t.Errorf("%d open, by address %v", l.Open(), l.byAddress)
	}
}

func TestWhatComesBeyondIsClosedAndAPlaceIsGivenOnce(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	limit := New(2)
	l := limit.Listener(inner, func(Refused) { refused++ })
	defer l.Close()
	accept := func() net.Conn {
		dialed, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dialed.Close() })
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first, second := accept(), accept()
	defer second.Close()
	third, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	ended := make(chan error, 1)
	go func() {
		c, err := l.Accept() // closes the third, then waits
		if err == nil {
			c.Close()
		}
		ended <- err
	}()
	if _, err := third.Read(make([]byte, 1)); err == nil || errors.Is(err, io.ErrNoProgress) {
		t.Errorf("the third reads: %v", err)
	}
	first.Close()
	first.Close() // frees nothing more
	if n := limit.Open(); n != 1 {
		t.Errorf("%d open, want 1", n)
	}
	fourth, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer fourth.Close()
	if err := <-ended; err != nil || refused != 1 {
		t.Errorf("after a place was free: %v, %d refused", err, refused)
	}
}

func TestAtLeastOne(t *testing.T) {
	if l := New(0); l.Most() != 1 || l.admit("192.0.2.1") != nil {
		t.Errorf("New(0) admits %d", l.Most())
	}
}
