package valkeystore

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/stateful-route/stateful-route/affinity/shared"
)

// Options configure a Store. Addresses and Lease are required.
type Options struct {
	// Addresses are one server, the seeds of a cluster, or sentinels, HOST:PORT each.
	Addresses []string
	// Sentinel is the name by which sentinels know the server; empty: they are none.
	Sentinel string
	// Username and Password authenticate, with sentinels, too. Password is called for every
	// connection, so that it may be renewed; nil means none.
	Username string
	Password func() (string, error)
	// TLS secures the connections; nil means plain text.
	TLS *tls.Config
	// Prefix precedes every key; empty means none.
	Prefix string
	// Lease is that of the replicas. All of a store's should have the same.
	Lease time.Duration
	// Replica is the one for which the store is asked. Required, and another for each process.
	Replica string
	// OnCall is told how each call ended and how long it took; nil means nobody listens. A
	// call is the name of its script.
	OnCall func(call string, took time.Duration, err error)
}

// Store is a [shared.Store].
type Store struct {
	opts   Options
	client valkey.Client
	key    string // of the hash "store"
}

// dialTimeout bounds one attempt to connect.
const dialTimeout = time.Second

// New connects to the server as soon as it is needed: one that is away is no error.
func New(o Options) (*Store, error) {
	switch {
	case len(o.Addresses) == 0:
		return nil, errors.New("valkeystore: no address")
	case o.Lease <= 0:
		return nil, errors.New("valkeystore: no lease")
	case o.Replica == "":
		return nil, errors.New("valkeystore: no replica")
	case strings.ContainsAny(o.Prefix, "{}"):
		return nil, fmt.Errorf("valkeystore: prefix %q has braces, which are for the hash tag", o.Prefix)
	}
	if o.OnCall == nil {
		o.OnCall = func(string, time.Duration, error) {}
	}
	return &Store{opts: o, key: "{" + o.Prefix + "}store"}, nil
}

func (s *Store) connect() (valkey.Client, error) {
	o := valkey.ClientOption{
		InitAddress:       s.opts.Addresses,
		TLSConfig:         s.opts.TLS,
		Dialer:            net.Dialer{Timeout: dialTimeout, KeepAlive: time.Second},
		ConnWriteTimeout:  max(s.opts.Lease, time.Second),
		AuthCredentialsFn: s.credentials,
		DisableRetry:      true, // whoever calls knows better: a claim may have been made
		DisableCache:      true,
		ClientName:        "stateful-route",
		RingScaleEachConn: 12,
	}
	if s.opts.Sentinel != "" {
		o.Sentinel = valkey.SentinelOption{MasterSet: s.opts.Sentinel, Dialer: o.Dialer, TLSConfig: s.opts.TLS}
		if s.opts.Password != nil {
			password, err := s.opts.Password()
			if err != nil {
				return nil, err
			}
			o.Sentinel.Username, o.Sentinel.Password = s.opts.Username, password
		}
	}
	client, err := valkey.NewClient(o)
	if err != nil {
		return nil, fmt.Errorf("connect to the store: %w", err)
	}
	return client, nil
}

func (s *Store) credentials(valkey.AuthCredentialsContext) (valkey.AuthCredentials, error) {
	c := valkey.AuthCredentials{Username: s.opts.Username}
	if s.opts.Password == nil {
		return c, nil
	}
	var err error
	if c.Password, err = s.opts.Password(); err != nil {
		return c, fmt.Errorf("password of the store: %w", err)
	}
	return c, nil
}

// Close implements shared.Store.
func (s *Store) Close() {
	if s.client != nil {
		s.client.Close()
	}
}

// Attach implements shared.Store. It must not be called concurrently with itself or Close.
func (s *Store) Attach(ctx context.Context, leave string) (shared.Arbiter, error) {
	if s.client == nil {
		client, err := s.connect()
		if err != nil {
			return nil, err
		}
		s.client = client
	}
	began := time.Now()
	found, err := s.client.Do(ctx, s.client.B().Eval().Script(source("attach")).Numkeys(1).Key(s.key).
		Arg(rand.Text(), leave).Build()).ToArray()
	s.opts.OnCall("attach", time.Since(began), err)
	if err != nil {
		return nil, fmt.Errorf("attach to the store: %w", err)
	}
	id, err := found[0].ToString()
	if err != nil {
		return nil, fmt.Errorf("attach to the store: %w", err)
	}
	a := &arbiter{store: s, client: s.client, id: id, scripts: scriptsOf(id, s.opts.Lease)}
	if err := s.load(ctx, a.scripts); err != nil {
		return nil, err
	}
	return a, nil
}

// load has the server keep the scripts by running each for nobody. SCRIPT LOAD has no key: in
// a cluster it would reach any node, or all, the standbys as well; and a standby must not
// know the scripts when it is promoted.
func (s *Store) load(ctx context.Context, scripts map[string]script) error {
	cmds := make(valkey.Commands, len(scriptNames))
	for i, name := range scriptNames {
		cmds[i] = s.client.B().Eval().Script(scripts[name].text).Numkeys(1).Key(s.key).Arg(nobody).Build()
	}
	for i, answer := range s.client.DoMulti(ctx, cmds...) {
		if err := answer.Error(); err != nil {
			return fmt.Errorf("attach to the store: load script %s: %w", scriptNames[i], err)
		}
	}
	return nil
}

// nobody is the replica for which a script does nothing.
const nobody = ""
