package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// front is a set-up that requests go through.
type front struct {
	name      string
	addresses [3]string // by version of HTTP
	processes []*process
	admin     string // of extproc, where there is one
	pods      []string
	module    bool // Envoy is told of the module

	owners *owners      // of the sessions that are known, as of bind
	fresh  atomic.Int64 // sessions that were new
}

// errAbsent is why a set-up is skipped.
var errAbsent = errors.New("is not installed")

// starter starts a set-up. It returns errAbsent when this machine does not have it.
type starter func(ctx context.Context, b *bench, f *front) error

// front returns a row's set-up, starting it first if need be.
func (b *bench) front(ctx context.Context, r *row) (*front, error) {
	name := r.front
	if f := b.fronts[name]; f != nil {
		return f, nil
	}
	f := &front{name: name, pods: b.podAddresses[:r.pods]}
	if err := r.start(ctx, b, f); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.processes = append(f.processes, b.pods)
	if err := f.serves(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	b.fronts[name] = f
	return f, nil
}

// serves waits until a request of either version is answered by a pod.
func (f *front) serves(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for protocol := 1; protocol <= 2; protocol++ {
		for {
			j := job{address: f.addresses[protocol], protocol: protocol, concurrency: 1, requests: []request{{path: "/"}}, next: each(1)}
			_, err := j.run(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("HTTP/%d is not served: %w\n%s", protocol, err, f.tails())
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	return nil
}

func (f *front) tails() string {
	var b strings.Builder
	for _, p := range f.processes {
		fmt.Fprintf(&b, "%s: %s\n", p.name, p.tail())
	}
	return b.String()
}

// bind has each session ask once, so that it is known and its pod, too.
func (f *front) bind(ctx context.Context, sessions int, requests []request) error {
	if f.owners != nil {
		return nil
	}
	o := newOwners(sessions)
	j := job{address: f.addresses[2], protocol: 2, concurrency: min(64, sessions), requests: requests, next: each(sessions), owners: o}
	out, err := j.run(ctx)
	if err == nil && out.failed > 0 {
		err = fmt.Errorf("%d failed: %w", out.failed, out.problem)
	}
	if err != nil {
		return fmt.Errorf("%s: bind %d sessions: %w", f.name, sessions, err)
	}
	f.owners = o
	return nil
}

// cookies asks for Envoy's session cookies, one of each pod.
func cookies(ctx context.Context, f *front) ([]request, error) {
	byPod := map[string]request{}
	for range 100 {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.addresses[1]+"/", http.NoBody)
		if err != nil {
			return nil, err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		_ = answer.Body.Close()
		for _, c := range answer.Cookies() {
			byPod[c.Value] = request{path: "/", headers: [][2]string{{"x-session-id", keyHole}, {"cookie", c.Name + "=" + c.Value}}}
		}
		if len(byPod) == len(f.pods) {
			break
		}
	}
	if len(byPod) != len(f.pods) {
		return nil, fmt.Errorf("%s gave %d cookies", f.name, len(byPod))
	}
	var all []request
	for _, r := range byPod {
		all = append(all, r)
	}
	return all, nil
}

// write puts a file into the set-up's folder.
func (b *bench) write(f *front, name, text string) (path string, err error) {
	path = filepath.Join(b.dir, f.name+"-"+name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", err
	}
	return path, nil
}
