package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
)

// maxPods is how many pods there may be.
const maxPods = 10_000

const podPrefix = "pod-"

// podOf reads which pod an answer's body names.
func podOf(body []byte) (int, bool) {
	digits, ok := bytes.CutPrefix(body, []byte(podPrefix))
	if !ok || len(digits) == 0 {
		return 0, false
	}
	n := 0
	for _, c := range digits {
		if c < '0' || c > '9' || n >= maxPods {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, n < maxPods
}

// podAddresses are where n pods listen: few at ports of their own; many at one port, each at another
// address of this machine's, of which Linux has all that begin with 127.
func podAddresses(n int) ([]string, error) {
	if n <= 16 {
		return freeAddresses(n)
	}
	first, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(first)
	if err != nil {
		return nil, err
	}
	all := make([]string, n)
	for i := range all {
		all[i] = net.JoinHostPort(fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250), port)
	}
	return all, nil
}

// runPods listens at each address and answers every request with the pod's name; below
// /learn with a new session's, too. It understands what a proxy sends to a pod that it GETs from.
func runPods(ctx context.Context, addresses []string) error {
	listeners := make([]net.Listener, 0, len(addresses))
	for _, a := range addresses {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a)
		if err != nil {
			return err
		}
		listeners = append(listeners, l)
	}
	var wg sync.WaitGroup
	defer context.AfterFunc(ctx, func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	})()
	for i, l := range listeners {
		wg.Go(func() { acceptAll(ctx, l, podPrefix+strconv.Itoa(i)) })
	}
	wg.Wait()
	return nil
}

func acceptAll(ctx context.Context, l net.Listener, name string) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var learned atomic.Int64
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		wg.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			defer func() { _ = c.Close() }()
			answerAll(c, name, &learned)
		})
	}
}

// answerAll serves one connection.
func answerAll(c net.Conn, name string, learned *atomic.Int64) {
	plain := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s", len(name), name)
	buffer, used := make([]byte, 32<<10), 0
	for {
		n, err := c.Read(buffer[used:])
		if err != nil {
			return
		}
		used += n
		end := bytes.Index(buffer[:used], []byte("\r\n\r\n"))
		if end < 0 {
			if used == len(buffer) {
				return
			}
			continue
		}
		answer := plain
		if bytes.HasPrefix(buffer, []byte("GET /learn")) {
			answer = fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nmcp-session-id: %s-%d\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%s",
				name, learned.Add(1), len(name), name)
		}
		used = copy(buffer, buffer[end+4:used])
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}
