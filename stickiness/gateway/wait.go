package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"
)

// FreeAddress is an address of this machine that nobody listens on. Its port lies
// below those that the kernel gives to connections, so that none of them takes it
// before it is used, and below those of Ports and of this project's other tests.
func FreeAddress() (string, error) {
	const lowest, highest, attempts = 10_000, firstBlock, 1000
	for range attempts {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(lowest+rand.IntN(highest-lowest)))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return "", fmt.Errorf("free address: %w", err)
		}
		return address, nil
	}
	return "", errors.New("free address: none found")
}

// attempt bounds one of WaitStatus's, so that a gateway that hangs is asked again.
const attempt = 2 * time.Second

// pollEvery is short beside what is waited for, the start of a process.
const pollEvery = 20 * time.Millisecond

// Poll calls ready until it reports no error, and returns its last error when ctx ends first.
func Poll(ctx context.Context, ready func(context.Context) error) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// WaitStatus waits until a GET of url is answered with status.
func WaitStatus(ctx context.Context, url string, status int) error {
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: attempt}
	err := Poll(ctx, func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return err
		}
		if resp.StatusCode != status {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", url, err)
	}
	return nil
}
