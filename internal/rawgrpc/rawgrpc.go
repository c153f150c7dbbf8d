// Package rawgrpc is a gRPC client for tests of servers that must bear many
// streams: bare HTTP/2 frames, and next to nothing kept of a stream, so that the
// memory of the test's process is the server's. It also does what no proper
// client does, such as a message that never ends.
package rawgrpc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
)

// Conn is one connection. Its methods are for one goroutine. It does not heed the
// server's limit of concurrent streams.
type Conn struct {
	t      testing.TB
	conn   net.Conn
	framer *http2.Framer
	next   uint32
	block  bytes.Buffer
	enc    *hpack.Encoder
	wg     sync.WaitGroup
	pongs  chan struct{} // closed when the connection is

	mu     sync.Mutex // also of writes: the reader acknowledges pings
	status map[codes.Code]int
	ended  int
	data   int
	gone   bool
}

// Dial connects; the connection is closed with the test.
func Dial(t testing.TB, network, address string) *Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	r := &Conn{t: t, conn: c, framer: http2.NewFramer(c, c), next: 1, pongs: make(chan struct{}, 1), status: map[codes.Code]int{}}
	r.enc = hpack.NewEncoder(&r.block)
	r.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	// A server that refuses the connection is what some tests are about.
	_, _ = c.Write([]byte(http2.ClientPreface))
	_ = r.framer.WriteSettings()
	r.wg.Go(r.read)
	t.Cleanup(r.Close)
	return r
}

// Close cuts the connection.
func (c *Conn) Close() {
	_ = c.conn.Close()
	c.wg.Wait()
}

// read answers what keeps the connection alive and counts how streams ended.
func (c *Conn) read() {
	for {
		f, err := c.framer.ReadFrame()
		c.mu.Lock()
		if err != nil {
			c.gone = true
			c.mu.Unlock()
			close(c.pongs)
			return
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = c.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				_ = c.framer.WritePing(true, f.Data)
			} else {
				c.pongs <- struct{}{}
			}
		case *http2.DataFrame:
			if n := uint32(len(f.Data())); n > 0 {
				c.data++
				_ = c.framer.WriteWindowUpdate(0, n)
				_ = c.framer.WriteWindowUpdate(f.StreamID, n)
			}
		case *http2.RSTStreamFrame:
			c.ended++
		case *http2.MetaHeadersFrame:
			for _, h := range f.Fields {
				if h.Name == "grpc-status" {
					code, _ := strconv.Atoi(h.Value)
					c.status[codes.Code(code)]++
					c.ended++
				}
			}
		}
		c.mu.Unlock()
	}
}

// Ping asks whether the server is there, and reports whether it answered; it has not
// when it ended the connection.
func (c *Conn) Ping() bool {
	c.mu.Lock()
	err := c.framer.WritePing(false, [8]byte{1})
	c.mu.Unlock()
	if err != nil {
		return false
	}
	_, answered := <-c.pongs
	return answered
}

// Open opens a stream of the method, "/package.Service/Method", with more headers
// in pairs, and returns its id.
func (c *Conn) Open(method string, headers ...string) uint32 {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.block.Reset()
	for _, h := range [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "test"},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		_ = c.enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	for i := 0; i+1 < len(headers); i += 2 {
		_ = c.enc.WriteField(hpack.HeaderField{Name: headers[i], Value: headers[i+1]})
	}
	id := c.next
	c.next += 2
	_ = c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndHeaders: true})
	return id
}

// Send sends a message on a stream.
func (c *Conn) Send(stream uint32, m proto.Message) {
	c.t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	c.SendPart(stream, len(raw), raw)
}

// SendPart sends part of a message that is said to be length bytes long. The
// server's window must have room for it.
func (c *Conn) SendPart(stream uint32, length int, part []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	data := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(length)), part...)
	for len(data) > 0 {
		n := min(len(data), 16<<10)
		_ = c.framer.WriteData(stream, false, data[:n])
		data = data[n:]
	}
}

// Status returns how many streams ended with the code.
func (c *Conn) Status(code codes.Code) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status[code]
}

// Ended returns how many streams ended in any way.
func (c *Conn) Ended() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Messages returns how many DATA frames came: one for each small message.
func (c *Conn) Messages() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.data
}

// Gone reports whether the server closed the connection.
func (c *Conn) Gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gone
}

// Eventually waits until done, and fails the test when that takes half a minute.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30s: %s", what)
		}
	}
}

// Memory is the heap and the stacks of this process that are in use, in bytes,
// after a garbage collection.
func Memory() int64 {
	// Two: pools are emptied by the second, and stacks shrink at each.
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// Each formats what n streams cost.
func Each(bytes int64, n int) string {
	return fmt.Sprintf("%.1f KB a stream", float64(bytes)/float64(n)/1000)
}
