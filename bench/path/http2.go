package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/net/http2"
)

// conn2 is a connection of HTTP/2. Only an answer's body is read: a pod's name means 200.
type conn2 struct {
	net.Conn
	r        *bufio.Reader
	w        *bufio.Writer
	f        *http2.Framer
	received uint32 // since the peer was last told that it may send more
	stream   uint32
}

// window is how much the peer may send before it is told to go on.
const window = 1 << 30

func dial2(address string) (*conn2, error) {
	c, err := dial(address)
	if err != nil {
		return nil, err
	}
	out := &conn2{Conn: c, r: bufio.NewReaderSize(c, 64<<10), w: bufio.NewWriterSize(c, 64<<10), stream: 1}
	out.f = http2.NewFramer(out.w, out.r)
	out.f.SetReuseFrames()
	_, err = out.w.WriteString(http2.ClientPreface)
	err = errors.Join(err,
		out.f.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 0}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}),
		out.f.WriteWindowUpdate(0, window))
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return out, nil
}

// slot is one of the streams that are open at a time.
type slot struct {
	stream uint32 // 0: free
	sent
	body []byte
}

// http2 keeps so many streams of one connection open.
func (w *worker) http2(open int) {
	slots := make([]slot, open)
	for {
		c, err := dial2(w.address)
		if err == nil {
			err = w.serve2(c, slots)
			_ = c.Close()
		}
		if err == nil {
			return
		}
		w.fail(err) // and what was under way with it
		for i := range slots {
			if slots[i].stream != 0 && w.failed < giveUp {
				w.fail(err)
			}
			slots[i].stream = 0
		}
		if w.stop.Load() || w.failed >= giveUp {
			return
		}
	}
}

// serve2 returns nil when there is nothing more to ask.
func (w *worker) serve2(c *conn2, slots []slot) error {
	under := 0
	for i := range slots {
		n, err := w.send2(c, &slots[i])
		if err != nil {
			return err
		}
		under += n
	}
	for n := 0; under > 0; n++ {
		if n%1000 == 0 {
			if err := c.SetDeadline(time.Now().Add(w.time + hung)); err != nil {
				return err
			}
		}
		if c.r.Buffered() == 0 {
			if err := c.w.Flush(); err != nil {
				return err
			}
		}
		f, err := c.f.ReadFrame()
		if err != nil {
			return err
		}
		s, err := w.frame(c, f, slots)
		if err != nil {
			return err
		}
		if s != nil { // it is free again
			n, err := w.send2(c, s)
			if err != nil {
				return err
			}
			under += n - 1
		}
	}
	return nil
}

// send2 opens a stream, if there is something to ask.
func (w *worker) send2(c *conn2, s *slot) (n int, err error) {
	session, ok := w.open()
	if !ok {
		return 0, nil
	}
	var block []byte
	s.sent, block = w.begin(session)
	s.stream, s.body = c.stream, s.body[:0]
	c.stream += 2
	return 1, c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: s.stream, BlockFragment: block, EndStream: true, EndHeaders: true})
}

// frame takes what the peer sent, and returns the slot that was answered with it.
func (w *worker) frame(c *conn2, f http2.Frame, slots []slot) (*slot, error) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return nil, c.f.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return nil, c.f.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		return nil, fmt.Errorf("the peer goes away: %s", f.ErrCode)
	case *http2.RSTStreamFrame:
		if s := find(slots, f.StreamID); s != nil {
			s.stream = 0
			w.fail(fmt.Errorf("stream reset: %s", f.ErrCode))
			return s, nil
		}
	case *http2.HeadersFrame:
		if s := find(slots, f.StreamID); s != nil && f.StreamEnded() {
			return w.answered(s), nil
		}
	case *http2.DataFrame:
		return w.data(c, f, slots)
	}
	return nil, nil
}

func (w *worker) data(c *conn2, f *http2.DataFrame, slots []slot) (*slot, error) {
	if c.received += f.Length; c.received > window/2 {
		if err := c.f.WriteWindowUpdate(0, c.received); err != nil {
			return nil, err
		}
		c.received = 0
	}
	s := find(slots, f.StreamID)
	if s == nil {
		return nil, nil
	}
	s.body = append(s.body, f.Data()...)
	if !f.StreamEnded() {
		return nil, nil
	}
	return w.answered(s), nil
}

func (w *worker) answered(s *slot) *slot {
	w.end(s.sent, s.body)
	s.stream = 0
	return s
}

func find(slots []slot, stream uint32) *slot {
	for i := range slots {
		if slots[i].stream == stream {
			return &slots[i]
		}
	}
	return nil
}
