package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// How many sessions there are, and how many requests each makes, one after the other.
const (
	sessions    = 100
	requests    = 30
	concurrency = 16
)

// visit is a demo pod's answer. Visits are counted in the pod's memory, so a session
// that went elsewhere in between would be seen by its count too.
type visit struct {
	Pod    string
	Visits int
}

// errRefused is an answer other than 200: unlike a wrong pod, allowed while extproc is away.
var errRefused = errors.New("refused")

func (at target) visit(ctx context.Context, session string) (visit, error) {
	var v visit
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.envoy+"/", http.NoBody)
	if err != nil {
		return v, err
	}
	req.Header.Set("X-Session-Id", session)
	err = at.call(req, &v)
	return v, err
}

// served is a visit that is asked for again while it is refused, as on a machine so busy
// that Envoy does not wait for extproc. A request that was refused has reached no pod.
func (at target) served(ctx context.Context, session string) (v visit, err error) {
	var failed error
	refused := eventually(ctx, func() error {
		if v, failed = at.visit(ctx, session); errors.Is(failed, errRefused) {
			return failed
		}
		return nil
	})
	if refused != nil {
		return v, refused
	}
	return v, failed
}

// call decodes the answer into v.
func (at target) call(req *http.Request, v any) error {
	resp, err := at.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", errRefused, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s %s: %s: %.200s", errRefused, req.Method, req.URL, resp.Status, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%s %s: %w", req.Method, req.URL, err)
	}
	return nil
}

func (at target) get(ctx context.Context, url string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	return at.call(req, v)
}

// sessionsHold sends every session's requests and returns the pod of each.
func (at target) sessionsHold(ctx context.Context) (map[string]string, error) {
	pods := map[string]string{}
	perPod := map[string]int{}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for i := range sessions {
		session := fmt.Sprintf("compose-%d", i)
		group.Go(func() error {
			pod, err := at.oneSession(ctx, session)
			mu.Lock()
			defer mu.Unlock()
			pods[session] = pod
			perPod[pod]++
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(perPod) != 3 {
		return nil, fmt.Errorf("sessions are on %v: not on three pods", perPod)
	}
	report("%d sessions, %d requests each: every one on its pod; sessions per pod: %v", sessions, requests, perPod)
	return pods, nil
}

func (at target) oneSession(ctx context.Context, session string) (string, error) {
	first, err := at.served(ctx, session)
	if err != nil {
		return "", err
	}
	for i := 1; i < requests; i++ {
		v, err := at.served(ctx, session)
		if err != nil {
			return "", err
		}
		if v.Pod != first.Pod || v.Visits != first.Visits+i {
			return "", fmt.Errorf("session %s: request %d was visit %d on %s, its pod is %s", session, i+1, v.Visits, v.Pod, first.Pod)
		}
	}
	return first.Pod, nil
}

// moveOne moves a session to a pod that nobody would compute for it: only a binding
// that was kept brings it there again.
func (at target) moveOne(ctx context.Context, pods map[string]string) error {
	const session = "compose-0"
	to := "chat-0"
	if pods[session] == to {
		to = "chat-1"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, at.extprocs[1]+"/api/v1/sessions/chat/"+session, strings.NewReader(`{"pod":"`+to+`"}`))
	if err != nil {
		return err
	}
	if err := at.call(req, &struct{}{}); err != nil {
		return err
	}
	v, err := at.served(ctx, session)
	if err != nil {
		return err
	}
	if v.Pod != to {
		return fmt.Errorf("ordered from %s to %s, served by %s", pods[session], to, v.Pod)
	}
	report("session %s moved by order from %s to %s", session, pods[session], to)
	pods[session] = to
	return nil
}

// holdOver restarts a container under requests. Meanwhile a request may be refused; none
// may be served by another pod, and afterwards every binding must be there as it was.
func (at target) holdOver(ctx context.Context, pods map[string]string, container string, restart func(context.Context, string) error) error {
	before, err := at.bindings(ctx)
	if err != nil {
		return err
	}
	if len(before) < sessions {
		return fmt.Errorf("%d bindings listed for %d sessions", len(before), sessions)
	}
	served, refused, err := at.during(ctx, pods, func(ctx context.Context) error { return restart(ctx, container) })
	if err != nil {
		return err
	}
	var after map[string]string
	err = eventually(ctx, func() (err error) { after, err = at.bindings(ctx); return err })
	if err != nil {
		return err
	}
	for session, pod := range before {
		if after[session] != pod {
			return fmt.Errorf("session %s was bound to %q, after it to %q", session, pod, after[session])
		}
	}
	for session, pod := range pods {
		err := eventually(ctx, func() error {
			v, err := at.visit(ctx, session)
			if err == nil && v.Pod != pod {
				return fmt.Errorf("session %s of %s was served by %s", session, pod, v.Pod)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	report("%s restarted under requests: %d served, each by its session's pod, %d refused meanwhile; %d of %d bindings are as they were",
		container, served, refused, len(before), len(before))
	return nil
}

// during sends requests of all sessions while f runs, and counts how they ended.
func (at target) during(ctx context.Context, pods map[string]string, f func(context.Context) error) (served, refused int64, err error) {
	var ok, no atomic.Int64
	done := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(done)
		return f(ctx)
	})
	group.Go(func() error {
		for {
			for session, pod := range pods {
				select {
				case <-done:
					return nil
				default:
				}
				v, err := at.visit(ctx, session)
				switch {
				case errors.Is(err, errRefused):
					no.Add(1)
				case err != nil:
					return err
				case v.Pod != pod:
					return fmt.Errorf("session %s of %s was served by %s", session, pod, v.Pod)
				default:
					ok.Add(1)
				}
			}
		}
	})
	err = group.Wait()
	return ok.Load(), no.Load(), err
}

// bindings lists what both extprocs have bound, which must be the same.
func (at target) bindings(ctx context.Context) (map[string]string, error) {
	var found [2]map[string]string
	for i, admin := range at.extprocs {
		var err error
		if found[i], err = at.listed(ctx, admin); err != nil {
			return nil, err
		}
	}
	if !maps.Equal(found[0], found[1]) {
		return nil, fmt.Errorf("one extproc lists %d sessions, the other one %d, and not the same", len(found[0]), len(found[1]))
	}
	return found[0], nil
}

func (at target) listed(ctx context.Context, admin string) (map[string]string, error) {
	found := map[string]string{}
	after := ""
	for {
		var page struct {
			Sessions []struct{ Key, Pod string }
			Next     string
		}
		if err := at.get(ctx, admin+"/api/v1/sessions?service=chat&after="+url.QueryEscape(after), &page); err != nil {
			return nil, err
		}
		for _, s := range page.Sessions {
			found[s.Key] = s.Pod
		}
		if page.Next == "" {
			return found, nil
		}
		after = page.Next
	}
}
