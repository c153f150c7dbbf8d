package main

import (
	"bytes"
	"fmt"
)

// keyHole stands in a request for the session's key. All keys are as long as it is, so that a
// request is made ready by writing ten digits into its bytes.
const keyHole = "s0000000000"

// firstNew is the number of the first session that is not known before it is asked for.
const firstNew = 5_000_000_000

// request is one kind of request.
type request struct {
	path    string
	headers [][2]string // lower case
}

// pattern is a request's bytes, the whole of it for HTTP/1.1 and the header block for HTTP/2.
type pattern struct {
	bytes []byte
	hole  int // where the digits are, -1: the request names no session
}

func newPattern(b []byte) pattern {
	hole := bytes.Index(b, []byte(keyHole))
	if hole >= 0 {
		hole++ // the digits follow the letter
	}
	return pattern{b, hole}
}

// clone is for one goroutine, which changes it.
func (t pattern) clone() pattern { return pattern{bytes.Clone(t.bytes), t.hole} }

// of makes it the session's request.
func (t pattern) of(session int64) []byte {
	if t.hole >= 0 {
		putDigits(t.bytes[t.hole:t.hole+len(keyHole)-1], session)
	}
	return t.bytes
}

func putDigits(b []byte, n int64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}

// key is the key of a session.
func key(session int64) string { return fmt.Sprintf("s%010d", session) }

// common are the headers that any client sends.
func (r request) common() [][2]string {
	return append([][2]string{{"user-agent", "bench-path"}, {"accept", "*/*"}}, r.headers...)
}

func (r request) http1() pattern {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nhost: bench\r\n", r.path)
	for _, h := range r.common() {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	b.WriteString("\r\n")
	return newPattern(b.Bytes())
}

// http2 is the header block. Nothing in it refers to an earlier one, so that it is the same in
// any place of a connection, and no text is compressed, so that its digits can be written.
func (r request) http2() pattern {
	block := []byte{0x82, 0x86} // :method GET, :scheme http
	text := func(s string) {
		block = append(block, byte(len(s))) // all are shorter than 127 bytes
		block = append(block, s...)
	}
	block = append(block, 0x01)
	text("bench") // :authority
	block = append(block, 0x04)
	text(r.path)
	for _, h := range r.common() {
		block = append(block, 0x00)
		text(h[0])
		text(h[1])
	}
	return newPattern(block)
}

// compile makes requests ready for a version of HTTP.
func compile(requests []request, protocol int) []pattern {
	var out []pattern
	for _, r := range requests {
		if protocol == 2 {
			out = append(out, r.http2())
		} else {
			out = append(out, r.http1())
		}
	}
	return out
}
