package proof_test

import (
	"net"
	"sync"
	"testing"
	"time"
)

// link is the way between a replica and the store: a TCP proxy that may fail.
type link struct {
	listener net.Listener
	all      sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	target  string // empty: nobody is there
	conns   map[net.Conn]bool
	ways    [2]way
	closed  bool
}

// The directions of a link.
const (
	toStore = iota
	toReplica
)

// way is one direction as it is.
type way struct {
	held  bool          // nothing comes through; later all of it does
	lost  bool          // what is sent is lost, and with it the connection, as soon as the way is free again
	delay time.Duration // of each piece
}

func newLink(t *testing.T) *link {
	t.Helper()
	l := &link{conns: map[net.Conn]bool{}}
	l.changed = sync.NewCond(&l.mu)
	var err error
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil { //nolint:noctx // of a test
		t.Fatal(err)
	}
	l.all.Go(l.accept)
	return l
}

func (l *link) addr() string { return l.listener.Addr().String() }

func (l *link) accept() {
	for {
		c, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		target := l.target
		l.mu.Unlock()
		if target == "" {
			reset(c)
			continue
		}
		s, err := net.DialTimeout("unix", target, time.Second)
		if err != nil {
			reset(c)
			continue
		}
		l.mu.Lock()
		if l.closed || l.target != target {
			l.mu.Unlock()
			reset(c)
			reset(s)
			continue
		}
		l.conns[c], l.conns[s] = true, true
		l.mu.Unlock()
		l.all.Go(func() { l.carry(toStore, c, s) })
		l.all.Go(func() { l.carry(toReplica, s, c) })
	}
}

// reset closes a connection without a farewell.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // closing is all that matters
	}
	_ = c.Close()
}

// piece is what was read at once, and when it may go on.
type piece struct {
	bytes []byte
	due   time.Time
}

// carry takes bytes one way until a connection ends. It reads at once what comes, so that
// pieces which are delayed do not add up.
func (l *link) carry(direction int, from, to net.Conn) {
	pieces := make(chan piece, 1024)
	l.all.Go(func() {
		defer close(pieces)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if n > 0 {
				l.mu.Lock()
				d := l.ways[direction].delay
				l.mu.Unlock()
				pieces <- piece{b[:n], time.Now().Add(d)}
			}
			if err != nil {
				return
			}
		}
	})
	dropped := false
	for p := range pieces {
		if d := time.Until(p.due); d > 0 {
			time.Sleep(d)
		}
		l.mu.Lock()
		for l.ways[direction].held && !l.closed && l.conns[from] {
			l.changed.Wait()
		}
		if l.ways[direction].lost {
			dropped = true
		}
		present := l.conns[from]
		l.mu.Unlock()
		if !present {
			continue
		}
		if dropped {
			if l.free(direction) {
				break
			}
			continue
		}
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	l.end(from)
	l.end(to)
	for range pieces { // the reader must not hang
	}
}

func (l *link) free(direction int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ways[direction].lost
}

func (l *link) end(c net.Conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.changed.Broadcast()
	l.mu.Unlock()
	reset(c)
}

// set has a direction be another way.
func (l *link) set(direction int, w way) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ways[direction] = w
	l.changed.Broadcast()
}

// heal has both directions be free.
func (l *link) heal() {
	l.set(toStore, way{})
	l.set(toReplica, way{})
}

// cut ends all connections; what is under way is lost.
func (l *link) cut() {
	l.mu.Lock()
	all := l.conns
	l.conns = map[net.Conn]bool{}
	l.changed.Broadcast()
	l.mu.Unlock()
	for c := range all {
		reset(c)
	}
}

// point has the link lead to a server's socket, or nowhere.
func (l *link) point(target string) {
	l.mu.Lock()
	l.target = target
	l.mu.Unlock()
	l.cut()
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	_ = l.listener.Close() // closing is all that matters
	l.cut()
	l.all.Wait()
}
