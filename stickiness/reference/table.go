package reference

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// table is which session is bound to which pod, and which pods there are.
type table struct {
	mu       sync.Mutex
	pods     []gateway.Pod
	failures map[string]int // health checks in a row, by address
	sick     map[string]bool
	bound    map[string]string // session → pod
	turn     int
}

func newTable(pods []gateway.Pod) *table {
	return &table{pods: slices.Clone(pods), failures: map[string]int{}, sick: map[string]bool{}, bound: map[string]string{}}
}

func (t *table) set(pods []gateway.Pod) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pods = slices.Clone(pods)
}

func (t *table) find(name string) (gateway.Pod, bool) {
	i := slices.IndexFunc(t.pods, func(p gateway.Pod) bool { return p.Name == name })
	if i < 0 {
		return gateway.Pod{}, false
	}
	return t.pods[i], !t.sick[t.pods[i].Address]
}

// owner is the session's pod, which the session had before or gets now; able is
// whether there is one that may serve.
func (t *table) owner(session string) (p gateway.Pod, able bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, able := t.find(t.bound[session]); able {
		return p, true
	}
	for range t.pods {
		t.turn++
		p := t.pods[t.turn%len(t.pods)]
		if p.State == gateway.Serving && !t.sick[p.Address] {
			t.bound[session] = p.Name
			return p, true
		}
	}
	return gateway.Pod{}, false
}

// was is the pod that the session had, and whether that may serve.
func (t *table) was(session string) (name string, able bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	name = t.bound[session]
	_, able = t.find(name)
	return name, able || name == ""
}

func (t *table) all() []gateway.Pod {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.pods)
}

// check asks every pod for its health until ctx ends.
func (t *table) check(ctx context.Context, h gateway.Health) {
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: transport, Timeout: h.Timeout}
	ticker := time.NewTicker(h.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		var asked sync.WaitGroup
		for _, p := range t.all() {
			asked.Go(func() { t.checked(p.Address, healthy(ctx, client, "http://"+p.Address+h.Path), h) })
		}
		asked.Wait()
	}
}

func healthy(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (t *table) checked(address string, good bool, h gateway.Health) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if good {
		delete(t.failures, address)
		delete(t.sick, address)
		return
	}
	t.failures[address]++
	if t.failures[address] >= h.UnhealthyAfter {
		t.sick[address] = true
	}
}
