package secret

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/internal/testtls"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// force is what a manager has put into force.
type force struct {
	mu      sync.Mutex
	secrets map[string]*Secret
	sets    int
	refuse  error
	good    int
	bad     int
}

func (f *force) set(_ context.Context, secrets map[string]*Secret) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		return f.refuse
	}
	f.secrets = secrets
	f.sets++
	return nil
}

func (f *force) reloaded(good bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if good {
		f.good++
	} else {
		f.bad++
	}
}

func (f *force) get(r Ref) *Secret {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.secrets[r.Name()]
}

// managed is a manager that follows a certificate; its loop is the test.
func managed(t *testing.T, refs ...Ref) (*Manager, *force) {
	t.Helper()
	f := &force{}
	m := &Manager{Logger: zap.NewNop(), Set: f.set, Reloaded: f.reloaded}
	if err := m.Change(t.Context(), refs, func(s map[string]*Secret) error { return f.set(t.Context(), s) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	f.sets = 0
	return m, f
}

func TestARenewedCertificateIsPutIntoForce(t *testing.T) {
	dir, ca := t.TempDir(), testtls.NewAuthority(t)
	certFile, keyFile := ca.Write(dir, "x", testtls.Leaf{})
	r := Ref{Cert: certFile, Key: keyFile}
	m, f := managed(t, r)
	before, now := f.get(r), time.Now()
	m.reload(t.Context(), now)
	if f.sets != 0 || f.get(r) != before {
		t.Error("what did not change was put into force anew")
	}
	ca.Write(dir, "x", testtls.Leaf{})
	f.refuse = errors.New("not now")
	if again := m.reload(t.Context(), now); again != replaceTime || m.Status(now)[0].Error != "" {
		t.Errorf("what could not be put into force is tried again in %v", again)
	}
	f.refuse = nil
	if again := m.reload(t.Context(), now); again != lookAgain || f.sets != 1 || f.get(r) == before || f.good != 1 || f.bad != 0 {
		t.Errorf("put into force %d times, told %d/%d, again in %v", f.sets, f.good, f.bad, again)
	}
}

// A certificate and its key are two files: between them they do not fit, and that is no
// news, unless it lasts.
func TestABadFileKeepsTheLastGoodSecret(t *testing.T) {
	dir, ca := t.TempDir(), testtls.NewAuthority(t)
	certFile, keyFile := ca.Write(dir, "x", testtls.Leaf{Hosts: []string{"a.example.com"}})
	r := Ref{Cert: certFile, Key: keyFile, Hosts: []string{"a.example.com"}}
	m, f := managed(t, r)
	before, start := f.get(r), time.Now()
	next, nextKey := ca.Issue(testtls.Leaf{Hosts: []string{"a.example.com"}})
	write(t, certFile, next)
	if again := m.reload(t.Context(), start); again != replaceTime || len(m.Degraded(start)) > 0 || f.bad != 0 {
		t.Errorf("between two files: again in %v, %v", again, m.Degraded(start))
	}
	late := start.Add(replaceTime)
	m.reload(t.Context(), late)
	m.reload(t.Context(), late.Add(time.Hour)) // is told once
	if d := m.Degraded(late); len(d) != 1 || !strings.Contains(d[0], "does not fit") || f.bad != 1 || f.get(r) != before {
		t.Errorf("%v, told %d times", d, f.bad)
	}
	write(t, keyFile, nextKey)
	m.reload(t.Context(), late)
	if d := m.Degraded(late); len(d) > 0 || f.get(r) == before || f.good != 1 {
		t.Errorf("mended: %v", d)
	}
	ca.Write(dir, "x", testtls.Leaf{Hosts: []string{"b.example.com"}})
	good := f.get(r)
	m.reload(t.Context(), late)
	m.reload(t.Context(), late.Add(replaceTime))
	if d := m.Degraded(late.Add(replaceTime)); len(d) != 1 || !strings.Contains(d[0], "is not for a.example.com") || f.get(r) != good {
		t.Errorf("another host's: %v", d)
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	m.reload(t.Context(), late.Add(replaceTime))
	if d := m.Degraded(late.Add(replaceTime)); len(d) != 1 || !strings.Contains(d[0], "no such file") || f.get(r) != good {
		t.Errorf("removed: %v", d)
	}
}

// Time alone refuses nothing; but what is valid is not given up for what is not.
func TestAnExpiredCertificate(t *testing.T) {
	dir, ca := t.TempDir(), testtls.NewAuthority(t)
	now := time.Now()
	old := testtls.Leaf{From: now.Add(-2 * time.Hour), To: now.Add(-time.Hour)}
	certFile, keyFile := ca.Write(dir, "x", old)
	r := Ref{Cert: certFile, Key: keyFile}
	m, f := managed(t, r)
	if d := m.Degraded(now); len(d) != 1 || !strings.Contains(d[0], "expired at") {
		t.Errorf("at the start: %v", d)
	}
	ca.Write(dir, "x", testtls.Leaf{})
	m.reload(t.Context(), now)
	good := f.get(r)
	if d := m.Degraded(now); len(d) > 0 || f.good != 1 {
		t.Errorf("renewed: %v", d)
	}
	ca.Write(dir, "x", old)
	m.reload(t.Context(), now)
	m.reload(t.Context(), now.Add(replaceTime))
	if d := m.Degraded(now.Add(replaceTime)); len(d) != 1 || !strings.Contains(d[0], "the one in force is valid") || f.get(r) != good {
		t.Errorf("an old one again: %v", d)
	}
	err := m.Change(t.Context(), []Ref{r}, func(s map[string]*Secret) error { return f.set(t.Context(), s) })
	if err != nil || f.get(r) != good {
		t.Errorf("a new configuration gave it up: %v", err)
	}
}

// A new configuration is not refused for a file that went bad before, but for one that
// was never good.
func TestChangeOfTheConfiguration(t *testing.T) {
	dir, ca := t.TempDir(), testtls.NewAuthority(t)
	certFile, keyFile := ca.Write(dir, "x", testtls.Leaf{Hosts: []string{"a", "b"}})
	file := ca.WriteCA(dir, "ca")
	x, trusted := Ref{Cert: certFile, Key: keyFile, Hosts: []string{"a"}}, Ref{Authorities: true, CA: file}
	m, f := managed(t, x)
	good := f.get(x)
	write(t, certFile, []byte("nothing"))
	change := func(refs ...Ref) error {
		return m.Change(t.Context(), refs, func(s map[string]*Secret) error { return f.set(t.Context(), s) })
	}
	if err := change(x, trusted); err != nil || f.get(x) != good || f.get(trusted) == nil || !m.Keeps(x) {
		t.Errorf("%v", err)
	}
	wider := x
	if wider.Hosts = []string{"a", "b"}; !m.Keeps(wider) {
		t.Error("the last good one is for both hosts")
	}
	wider.Hosts = []string{"a", "c"}
	var bad *Errors
	if err := change(wider); !errors.As(err, &bad) || len(bad.Files) != 2 || bad.Files[0] != certFile || m.Keeps(wider) {
		t.Errorf("a host that the last good one is not for: %v", err)
	}
	if err := change(trusted); err != nil || f.get(x) != nil || m.Keeps(x) || len(m.followers) != 1 {
		t.Errorf("%v: files that nobody names are followed: %v", err, m.followers)
	}
	failed := errors.New("no")
	if err := m.Change(t.Context(), nil, func(map[string]*Secret) error { return failed }); !errors.Is(err, failed) || len(m.Status(time.Now())) != 1 {
		t.Errorf("%v: a change that failed left %v", err, m.Status(time.Now()))
	}
}

func TestFilesAreFollowed(t *testing.T) {
	dir, ca := t.TempDir(), testtls.NewAuthority(t)
	certFile, keyFile := ca.Write(dir, "x", testtls.Leaf{})
	r := Ref{Cert: certFile, Key: keyFile}
	m, f := managed(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	for range 2 {
		ca.Write(dir, "x", testtls.Leaf{})
		want, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(20 * time.Second); string(f.get(r).Pair().Certificate[0]) != string(want.Certificate[0]); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a new certificate was not seen")
			}
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := Read([]Ref{{Authorities: true, CA: filepath.Join(dir, "none")}}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("read once: %v", err)
	}
}
