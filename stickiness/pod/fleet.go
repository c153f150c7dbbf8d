package pod

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/process"
)

// Fleet are the pods of a run, each a process.
type Fleet struct {
	Dir        string // for logs
	Key        gateway.Key
	HealthPath string

	mu      sync.Mutex
	pods    map[string]*process.Process // that were started and not killed since
	places  map[string]string           // name → address
	secrets map[string][]byte           // of all that ever were
}

// patience bounds the start of a pod on a busy machine.
const patience = time.Minute

// Start starts the pod name at a free address and waits until it is healthy.
func (f *Fleet) Start(ctx context.Context, name string) (string, error) {
	address, err := gateway.FreeAddress()
	if err != nil {
		return "", err
	}
	return address, f.StartAt(ctx, name, address)
}

// StartAt is Start at a certain address.
func (f *Fleet) StartAt(ctx context.Context, name, address string) error {
	config, err := json.Marshal(childConfig{Name: name, Address: address, Secret: f.secret(name), Key: f.Key, HealthPath: f.HealthPath})
	if err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	p, err := process.Start(process.Spec{
		Path: self, Env: []string{childVariable + "=" + string(config)}, Log: filepath.Join(f.Dir, name+".log"),
	})
	if err != nil {
		return fmt.Errorf("pod %s: %w", name, err)
	}
	f.mu.Lock()
	f.pods[name], f.places[name] = p, address
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// An order is obeyed by this pod only, and not by one that has its address.
	return gateway.Poll(ctx, func(ctx context.Context) error {
		if ended := p.Err(); ended != nil {
			cancel()
			return fmt.Errorf("pod %s: %w", name, ended)
		}
		_, err := f.order(ctx, http.MethodGet, name, stallsOrder)
		return err
	})
}

// secret is the pod's over all its lives.
func (f *Fleet) secret(name string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.secrets == nil {
		f.pods, f.places, f.secrets = map[string]*process.Process{}, map[string]string{}, map[string][]byte{}
	}
	if f.secrets[name] == nil {
		f.secrets[name] = []byte(rand.Text())
	}
	return f.secrets[name]
}

// Secrets are those of all pods that ever were.
func (f *Fleet) Secrets() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string][]byte{}
	for name, secret := range f.secrets {
		out[name] = secret
	}
	return out
}

// Kill ends the pod by SIGKILL; Pause and Resume stop it and let it go on.
func (f *Fleet) Kill(name string) error {
	p, _, err := f.find(name)
	if err != nil {
		return err
	}
	p.Kill()
	f.mu.Lock()
	delete(f.pods, name)
	f.mu.Unlock()
	return nil
}

// Stop ends the pod as an operator does, and waits.
func (f *Fleet) Stop(ctx context.Context, name string) error {
	p, _, err := f.find(name)
	if err != nil {
		return err
	}
	p.Stop(ctx, patience)
	return f.Kill(name)
}

// Pause stops the pod where it stands; connections to it stay open.
func (f *Fleet) Pause(name string) error {
	p, _, err := f.find(name)
	if err == nil {
		p.Pause()
	}
	return err
}

// Resume lets a paused pod go on.
func (f *Fleet) Resume(name string) error {
	p, _, err := f.find(name)
	if err == nil {
		p.Resume()
	}
	return err
}

// SetHealthy has the pod's health check say good or not.
func (f *Fleet) SetHealthy(ctx context.Context, name string, good bool) error {
	_, err := f.order(ctx, http.MethodPost, name, fmt.Sprintf("%s?good=%t", healthOrder, good))
	return err
}

// Stalls are the times at which the pod did not run, as far as it still lives to tell.
func (f *Fleet) Stalls(ctx context.Context, name string) ([]Stall, error) {
	b, err := f.order(ctx, http.MethodGet, name, stallsOrder)
	if err != nil {
		return nil, err
	}
	var out []Stall
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("stalls of %s: %w", name, err)
	}
	return out, nil
}

// Running are the names of the pods that were started and not ended since.
func (f *Fleet) Running() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for name := range f.pods {
		out = append(out, name)
	}
	return out
}

// Close ends all.
func (f *Fleet) Close() {
	for _, name := range f.Running() {
		_ = f.Kill(name) // it was there a moment ago, and nobody else ends it
	}
}

func (f *Fleet) find(name string) (*process.Process, string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.pods[name]
	if p == nil {
		return nil, "", fmt.Errorf("pod %s does not run", name)
	}
	return p, f.places[name], nil
}

func (f *Fleet) order(ctx context.Context, method, name, path string) ([]byte, error) {
	_, address, err := f.find(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("order to %s: %w", name, err)
	}
	req.Header.Set(secretHeader, string(f.secret(name)))
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("order to %s: %w", name, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, b)
	}
	if err != nil {
		return nil, fmt.Errorf("order to %s: %w", name, err)
	}
	return b, nil
}
