package pod

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// childVariable tells a started pod what it is, and a program that it is one.
const childVariable = "STICKINESS_POD"

type childConfig struct {
	Name       string
	Address    string
	Secret     []byte
	Key        gateway.Key
	HealthPath string
}

// RunIfChild does not return in a process that was started as a pod.
func RunIfChild() {
	text, found := os.LookupEnv(childVariable)
	if !found {
		return
	}
	if err := runChild(text); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func runChild(text string) error {
	var c childConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("%s: %w", childVariable, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return serve(ctx, listener, c)
}

// serve is a pod until ctx ends. What is in flight then gets a moment.
func serve(ctx context.Context, listener net.Listener, c childConfig) error {
	now := time.Now()
	s := &server{memory: newMemory(c.Name, c.Secret, now), key: c.Key, healthPath: c.HealthPath, stalls: NewWatch(now)}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	const headers = 64 << 10 // ids are long
	h := &http.Server{Handler: s.handler(), Protocols: protocols, MaxHeaderBytes: headers, ReadHeaderTimeout: time.Minute}
	var owned sync.WaitGroup
	watching, stopWatching := context.WithCancel(ctx)
	owned.Go(func() { s.stalls.Run(watching) })
	owned.Go(func() {
		<-watching.Done()
		moment, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if h.Shutdown(moment) != nil {
			_ = h.Close() // streams have no end of their own
		}
	})
	err := h.Serve(listener)
	stopWatching()
	owned.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}
