package proof_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/shared"
	"github.com/stateful-route/stateful-route/affinity/shared/valkeystore"
	"github.com/stateful-route/stateful-route/internal/monotonic/clocktest"
)

const (
	service     = "chat"
	prefix      = "proof:"
	lease       = 400 * time.Millisecond
	callTimeout = 150 * time.Millisecond
	idle        = time.Minute
)

// settings are those of a replica process, in its environment.
type settings struct {
	Name  string   `json:"name"`
	Store string   `json:"store"` // HOST:PORT
	Allow bool     `json:"allow"` // on_store_loss
	Break breakage `json:"break"`
}

// The operations of a replica.
const (
	opRequest = "request" // a session's request: Pod is where it would go were it new
	opMove    = "move"
	opDelete  = "delete"
	opEnd     = "end"   // of the binding Pod, Epoch
	opLose    = "lose"  // the replica finds Pod lost
	opServe   = "serve" // and that it serves again
	opStep    = "step"  // its wall clock is set by Step
	opState   = "state"
)

// command is one line to a replica.
type command struct {
	ID    uint64 `json:"id"`
	Op    string `json:"op"`
	Key   string `json:"key,omitempty"`
	Pod   string `json:"pod,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
	Step  int64  `json:"step,omitempty"` // seconds
}

// How an answer came about.
const (
	howKnown    = "known"    // bound already: from the table or the store
	howClaimed  = "claimed"  // by this request
	howRebound  = "rebound"  // by this request, from From
	howDone     = "done"     // of what is no request
	howGone     = "gone"     // there was no binding
	howRefused  = "refused"  // it did nothing
	howUnknown  = "unknown"  // an error that may have done something
	howUnleased = "unleased" // answered although nobody may know, on_store_loss: allow
)

// answer is one line of a replica: to a command, or, where ID is 0, of what it did by itself.
type answer struct {
	ID        uint64 `json:"id"`
	How       string `json:"how"`
	Pod       string `json:"pod,omitempty"`
	Epoch     uint64 `json:"epoch,omitempty"`
	From      string `json:"from,omitempty"`
	FromEpoch uint64 `json:"fromEpoch,omitempty"`
	// Also are bindings that the request made and found overtaken.
	Also      []answer `json:"also,omitempty"`
	Error     string   `json:"error,omitempty"`
	Began     int64    `json:"began,omitempty"` // CLOCK_MONOTONIC, as all processes have it
	Ended     int64    `json:"ended,omitempty"`
	Leased    bool     `json:"leased,omitempty"`    // of opState
	Conflicts uint64   `json:"conflicts,omitempty"` // of opState
	Event     *record  `json:"event,omitempty"`
}

// provisional is the epoch of a binding of which the store does not know yet.
const provisional = 1

// unasked reports whether a replica sent a session somewhere while nobody could be asked.
func (a *answer) unasked() bool {
	return a.How == howUnleased || a.Pod != "" && a.Epoch <= provisional && a.How == howKnown
}

// record is what a replica saw of the store.
type record struct {
	Kind        string `json:"kind"` // "up", "joined", "open", "putback", "asked", "conflict"
	Replica     string `json:"replica,omitempty"`
	Incarnation string `json:"incarnation,omitempty"`
	Open        bool   `json:"open,omitempty"`   // of "joined"
	Agreed      bool   `json:"agreed,omitempty"` // of "asked": the store has the session on just that pod
	Key         string `json:"key,omitempty"`
	Pod         string `json:"pod,omitempty"`
	Epoch       uint64 `json:"epoch,omitempty"`   // as the replica had it
	InForce     uint64 `json:"inForce,omitempty"` // as the store took it; 0 where it did not say
	At          int64  `json:"at"`
}

// monotonicNow is the same clock in all processes of the machine.
func monotonicNow() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // the kernel has it
	}
	return t.Nano()
}

// process is a replica's process.
type process struct {
	settings
	table *shared.Table
	lost  sync.Map
	step  atomic.Int64

	mu  sync.Mutex // of out
	out *json.Encoder
}

// runReplica is the main function of a replica process. It ends when its input does.
func runReplica(text string) error {
	p := &process{out: json.NewEncoder(os.Stdout)}
	if err := json.Unmarshal([]byte(text), &p.settings); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	store, err := valkeystore.New(valkeystore.Options{
		Addresses: []string{p.Store}, Prefix: prefix, Lease: lease, Replica: p.Name,
	})
	if err != nil {
		return err
	}
	defer store.Close()
	uses := &shared.Uses{}
	local, err := affinity.New(affinity.Options{Journal: uses, ForgetEvicted: true, JournalSteps: shared.JournalSteps})
	if err != nil {
		return err
	}
	core := zapcore.NewCore(zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig()), zapcore.Lock(os.Stderr), zap.InfoLevel)
	p.table, err = shared.New(shared.Options{
		Store: &watchedStore{Store: store, process: p}, Local: local, Uses: uses, Replica: p.Name,
		Lease: lease, CallTimeout: callTimeout, Monotonic: p.Break.clock(p.Name),
		Serves:     func(_, pod string) bool { _, lost := p.lost.Load(pod); return !lost },
		OnConflict: func(_, key string) { p.tell(record{Kind: "conflict", Key: key}) },
		Log:        zap.New(core).Named(p.Name),
	})
	if err != nil {
		return err
	}
	p.table.SetIdleTimeout(service, idle)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.table.Run(ctx) }()
	p.tell(record{Kind: "up"})
	p.follow(ctx, os.Stdin)
	cancel()
	return <-done
}

func (p *process) tell(r record) {
	r.At = monotonicNow()
	p.say(answer{Event: &r})
}

func (p *process) say(a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.out.Encode(a); err != nil {
		os.Exit(1) // nobody listens any more
	}
}

// follow carries out commands, all at the same time.
func (p *process) follow(ctx context.Context, in io.Reader) {
	var all sync.WaitGroup
	defer all.Wait()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		all.Go(func() {
			began := monotonicNow()
			a := p.do(ctx, c)
			a.ID, a.Began, a.Ended = c.ID, began, monotonicNow()
			p.say(a)
		})
	}
}

// now is what the process reads of its clocks, its wall clock as it is set.
func (p *process) now() time.Time {
	return clocktest.Set(time.Now(), time.Duration(p.step.Load())*time.Second)
}

func (p *process) do(ctx context.Context, c command) answer {
	ctx, cancel := context.WithTimeout(ctx, 4*lease)
	defer cancel()
	e := &effect{}
	a := p.carryOut(context.WithValue(ctx, effectKey{}, e), c)
	if a.How == howUnknown && !e.unknown.Load() {
		a.How = howRefused
	}
	if a.How == howUnleased && e.unknown.Load() {
		a.Also = append(a.Also, answer{How: howUnknown}) // the store may have claimed it elsewhere
	}
	if c.Op == opRequest {
		for _, m := range e.made {
			if m.Pod != a.Pod || m.Epoch != a.Epoch {
				a.Also = append(a.Also, m)
			}
		}
	}
	return a
}

func (p *process) carryOut(ctx context.Context, c command) answer {
	switch c.Op {
	case opRequest:
		return p.request(ctx, c.Key, c.Pod)
	case opMove:
		b, err := p.table.Move(ctx, service, c.Key, c.Pod, p.now())
		switch {
		case errors.Is(err, statefulroute.ErrPodRefused):
			return answer{How: howRefused}
		case err != nil:
			return failed(err)
		}
		return answer{How: howDone, Pod: b.Pod, Epoch: b.Epoch}
	case opDelete:
		return done(p.table.Delete(ctx, service, c.Key))
	case opEnd:
		return done(p.table.End(ctx, statefulroute.Binding{Service: service, Key: c.Key, Pod: c.Pod, Epoch: c.Epoch}, p.now()))
	case opLose:
		p.lost.Store(c.Pod, true)
	case opServe:
		p.lost.Delete(c.Pod)
	case opStep:
		p.step.Store(c.Step)
	case opState:
		return answer{How: howDone, Leased: p.table.Left() > 0, Conflicts: p.table.Conflicts()}
	}
	return answer{How: howDone}
}

func done(err error) answer {
	switch {
	case errors.Is(err, statefulroute.ErrGone):
		return answer{How: howGone}
	case err != nil:
		return failed(err)
	}
	return answer{How: howDone}
}

func failed(err error) answer { return answer{How: howUnknown, Error: err.Error()} }

// requestTries bounds how often a request tries another way.
const requestTries = 5

// request is what extproc does for a session's request.
func (p *process) request(ctx context.Context, key, pod string) answer {
	b, err := p.table.Lookup(ctx, service, key, p.now())
	how := howKnown
	if err != nil && p.Break == breakNoLease && b.Pod != "" {
		err = nil
	}
	if errors.Is(err, statefulroute.ErrUnavailable) {
		if p.Allow && b.Pod != "" {
			p.table.Remember(service, key, b.Pod, p.now())
			return answer{How: howUnleased, Pod: b.Pod, Epoch: b.Epoch}
		}
		if !p.Allow {
			return answer{How: howRefused, Error: err.Error()}
		}
	}
	for range requestTries {
		if err != nil {
			if _, lost := p.lost.Load(pod); lost {
				return answer{How: howRefused, Error: "the pod is lost"}
			}
			b, err = p.table.Claim(ctx, service, key, pod, 0, p.now())
			switch {
			case err == nil:
				how = howClaimed
			case errors.Is(err, statefulroute.ErrConflict):
				how, err = howKnown, nil
			case errors.Is(err, statefulroute.ErrPodLost):
			default:
				return p.unknown(key, pod, err)
			}
		}
		_, lost := p.lost.Load(b.Pod)
		if err == nil && !lost {
			return answer{How: how, Pod: b.Pod, Epoch: b.Epoch}
		}
		if _, lost := p.lost.Load(pod); lost || pod == b.Pod {
			return answer{How: howUnknown, Error: "the pod is lost"} // it may have been claimed by this request
		}
		old := b
		b, err = p.table.Rebind(ctx, old, pod, 0, p.now())
		switch {
		case err == nil:
			return answer{How: howRebound, Pod: b.Pod, Epoch: b.Epoch, From: old.Pod, FromEpoch: old.Epoch}
		case errors.Is(err, statefulroute.ErrConflict):
			how, err = howKnown, nil
		case errors.Is(err, statefulroute.ErrGone), errors.Is(err, statefulroute.ErrPodLost):
		default:
			return p.unknown(key, pod, err)
		}
	}
	return answer{How: howUnknown, Error: "tried too often"}
}

// unknown is what a request does of which nobody can say what it did at the store.
func (p *process) unknown(key, pod string, err error) answer {
	if p.Allow && errors.Is(err, statefulroute.ErrUnavailable) {
		p.table.Remember(service, key, pod, p.now())
		return answer{How: howUnleased, Pod: pod, Epoch: 1}
	}
	return failed(err)
}
