package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/shared"
	"github.com/stateful-route/stateful-route/affinity/shared/valkeystore"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

// sharing is what an extproc has that shares its bindings with others.
type sharing struct {
	table   *shared.Table
	store   *valkeystore.Store
	uses    *shared.Uses
	metrics *metrics.SharedStore
}

// share has this process's table hold what a store decides, where the configuration names
// one. It changes the options of that table and completes itself by shareTable.
func (a *App) share(o *affinity.Options) {
	if a.opts.Config.Store.Valkey == nil {
		return
	}
	a.shared = &sharing{uses: &shared.Uses{}}
	o.Journal, o.ForgetEvicted, o.JournalSteps = a.shared.uses, true, shared.JournalSteps
}

func (a *App) shareTable() (err error) {
	c, s := a.opts.Config.Store.Valkey, a.shared
	if s == nil {
		return nil
	}
	if s.metrics, err = a.monitor.SharedStore(func() time.Duration { return s.table.Left() }); err != nil {
		return err
	}
	o := valkeystore.Options{
		Addresses: c.Addresses, Sentinel: c.Sentinel, Username: c.Username, Prefix: c.Prefix,
		Lease: c.Lease, Replica: a.replica, OnCall: s.metrics.Operation,
	}
	if c.PasswordFile != "" {
		o.Password = func() (string, error) {
			text, err := os.ReadFile(c.PasswordFile)
			return strings.TrimRight(string(text), "\r\n"), err
		}
	}
	if o.TLS, err = storeTLS(c.TLS); err != nil {
		return err
	}
	if s.store, err = valkeystore.New(o); err != nil {
		return err
	}
	options := shared.Options{
		Store: s.store, Local: a.table, Uses: s.uses, Replica: a.replica, Lease: c.Lease, CallTimeout: c.Timeout,
		Info: a.replicaInfo, Serves: a.serves, OnConflict: a.conflict, Log: a.log,
	}
	if a.fast != nil {
		options.Monotonic, options.OnLease = fastpath.Monotonic, a.fast.table.SetLease
	}
	s.table, err = shared.New(options)
	return err
}

// replicaName tells people the machine, and processes of one machine from each other.
func replicaName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of the replica: %w", err)
	}
	return host + "-" + strings.ToLower(rand.Text()[:8]), nil
}

// replicaInfo is what other replicas show of this one.
func (a *App) replicaInfo() shared.Info {
	return shared.Info{
		Address: a.opts.Config.Listen, Admin: a.opts.Config.Admin, Version: a.opts.Version,
		Started: a.began, Held: a.table.Stats().Size,
	}
}

// serves reports whether a pod may be sent its sessions as far as is known here.
func (a *App) serves(service, pod string) bool {
	state, ok := a.directory.PodState(service, pod)
	return ok && state.ServesBound()
}

func (a *App) conflict(service, key string) {
	a.shared.metrics.Conflict(service)
	a.log.Warn("a session had two bindings: the store's, or that with the higher epoch, is in force",
		zap.String("service", service), zap.String("session", a.directory.HashKey(service, key)))
}

// storeTLS reads its files when the process starts, and the client's own for every
// connection, so that they may be renewed.
func storeTLS(c *config.StoreTLS) (*tls.Config, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // plain text
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, fmt.Errorf("store.valkey.tls.ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("store.valkey.tls.ca: %s has no certificate", c.CA)
		}
	}
	if c.Cert == "" {
		return t, nil
	}
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("store.valkey.tls: %w", err)
		}
		return &pair, nil
	}
	t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	_, err := load() // one that is bad is a reason not to start
	return t, err
}

// run takes part in the store until stop, which must come when no request is decided any more.
// A store that cannot be told of the end is no failure: it sees the lease run out.
func (s *sharing) run(log *zap.Logger) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.table.Run(ctx) }()
	return func() error {
		cancel()
		if err := <-done; err != nil {
			log.Warn("the store was not told that this replica ends", zap.Error(err))
		}
		s.store.Close()
		return nil
	}
}

// openWithin is how many leases a replica that begins waits for its store before it
// answers as on_store_loss says.
const openWithin = 2

// awaitShared returns when the store answers, or has not for a while.
func (a *App) awaitShared(ctx context.Context) {
	wait := time.NewTimer(openWithin*a.opts.Config.Store.Valkey.Lease + time.Second)
	defer wait.Stop()
	select {
	case <-a.shared.table.Opened():
	case <-wait.C:
		a.log.Error("the store does not answer: sessions are decided by on_store_loss until it does")
	case <-ctx.Done():
	}
}

// reported counts sessions for those who add up what all replicas say: only the first on
// the register says anything.
func (s *sharing) reported() reportedSessions { return reportedSessions{s.table} }

type reportedSessions struct{ table *shared.Table }

// PodSessions implements extproc.SessionCounter.
func (r reportedSessions) PodSessions(service, pod string) int {
	if !r.table.First() {
		return 0
	}
	return r.table.PodSessions(service, pod)
}

// knownServices has the metrics know of a service as soon as its idle timeout is known.
type knownServices struct{ *sharing }

// SetIdleTimeout implements extproc.IdleTimeouts.
func (k knownServices) SetIdleTimeout(service string, d time.Duration) {
	k.metrics.Service(service)
	k.table.SetIdleTimeout(service, d)
}

var errNoLease = errors.New("the store does not answer, or does not know this replica: sessions are decided by on_store_loss")
