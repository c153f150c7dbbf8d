package xds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ErrNotSaved means that an order is in force, but could not be saved: a restart
// would forget it.
var ErrNotSaved = errors.New("in force, but not saved")

// saveAgain is the pause before orders that could not be saved are tried again.
const saveAgain = 5 * time.Second

// orderSaver saves orders in a goroutine of its own: a disk that hangs must not
// hold up what the loop has to tell. Only the newest orders are saved, whatever
// came while the disk was busy.
type orderSaver struct {
	keeper OrderKeeper
	logger *zap.Logger
	wake   chan struct{}

	mu      sync.Mutex
	newest  []Order
	version uint64 // of newest
	tried   uint64 // the version that a save was tried of last
	failed  error  // of that
	waiting []saveWaiter
}

type saveWaiter struct {
	version uint64
	done    chan error
}

func newOrderSaver(keeper OrderKeeper, logger *zap.Logger) *orderSaver {
	return &orderSaver{keeper: keeper, logger: logger, wake: make(chan struct{}, 1)}
}

// want has orders saved, in a while.
func (s *orderSaver) want(orders []Order) {
	s.mu.Lock()
	// Before the first there is none: what an earlier run kept may not be read yet.
	if s.failed == nil && slices.Equal(orders, s.newest) {
		s.mu.Unlock()
		return
	}
	s.newest = orders
	s.version++
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// saved gets what became of the newest orders of now, once that is known.
func (s *orderSaver) saved() <-chan error {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := make(chan error, 1)
	if s.tried == s.version {
		done <- s.failed
	} else {
		s.waiting = append(s.waiting, saveWaiter{s.version, done})
	}
	return done
}

// problem is why the orders in force would not outlive the process; nil: they would.
func (s *orderSaver) problem() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// run saves until ctx ends, and what is wanted then once more.
func (s *orderSaver) run(ctx context.Context) {
	again := time.NewTimer(0)
	again.Stop()
	defer again.Stop()
	for {
		last := false
		select {
		case <-ctx.Done():
			last = true
		case <-s.wake:
		case <-again.C:
		}
		if err := s.save(); err != nil {
			again.Reset(saveAgain)
		}
		if last {
			return
		}
	}
}

func (s *orderSaver) save() error {
	s.mu.Lock()
	orders, version, old := s.newest, s.version, s.failed
	nothing := version == s.tried && old == nil
	s.mu.Unlock()
	if nothing {
		return nil
	}
	err := s.keeper.Save(orders)
	if err != nil {
		s.logger.Error("orders on pods will not outlive this process", zap.Error(err))
		err = fmt.Errorf("%w: %w", ErrNotSaved, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.failed = version, err
	s.waiting = slices.DeleteFunc(s.waiting, func(w saveWaiter) bool {
		if w.version > version {
			return false
		}
		w.done <- err
		return true
	})
	return err
}
