package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// conn1 is a connection of HTTP/1.1 that reads what pods and admin interfaces answer: a status,
// a content-length, a body.
type conn1 struct {
	net.Conn
	r    *bufio.Reader
	body []byte
}

func dial1(address string) (*conn1, error) {
	c, err := dial(address)
	if err != nil {
		return nil, err
	}
	return &conn1{Conn: c, r: bufio.NewReaderSize(c, 16<<10)}, nil
}

// ask sends a request and returns the answer's status and body, which is valid until the next call.
func (c *conn1) ask(request []byte) (status int, body []byte, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, nil, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("no status line: %q", line)
	}
	status, err = strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, nil, err
	}
	length, err := c.header()
	if err != nil {
		return 0, nil, err
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err = io.ReadFull(c.r, c.body)
	return status, c.body, err
}

const contentLength = "content-length:"

func (c *conn1) header() (length int, err error) {
	length = -1
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(line) <= 2 {
			break
		}
		if n := len(contentLength); len(line) > n && bytes.EqualFold(line[:n], []byte(contentLength)) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[n:]))); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, errors.New("an answer without content-length")
	}
	return length, nil
}

// http1 is one request after the other on a connection that is kept.
func (w *worker) http1() {
	var c *conn1
	defer func() {
		if c != nil {
			_ = c.Close()
		}
	}()
	for n := 0; ; n++ {
		session, ok := w.open()
		if !ok {
			return
		}
		if c == nil {
			var err error
			if c, err = dial1(w.address); err != nil {
				w.fail(err)
				continue
			}
		}
		if n%1000 == 0 {
			_ = c.SetDeadline(time.Now().Add(w.time + hung)) // one that is gone fails at once anyway
		}
		s, request := w.begin(session)
		status, body, err := c.ask(request)
		switch {
		case err != nil:
			w.fail(err)
			_ = c.Close()
			c = nil
		case status != 200:
			w.fail(fmt.Errorf("status %d: %.80q", status, body))
		default:
			w.end(s, body)
		}
	}
}
