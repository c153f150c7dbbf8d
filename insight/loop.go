package insight

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

// LoopOptions configures a Loop.
type LoopOptions struct {
	// Analyzer gets the samples. Required.
	Analyzer *analysis.Analyzer
	// Collect returns what happened since it was called before. It is called by
	// the loop alone. Required.
	Collect func(now time.Time) analysis.Sample
	// Interval is the time between two samples. 0 means 5 s.
	Interval time.Duration
	// Logger is told of the issues of high and critical severity, once when one
	// opens and once when it is resolved. nil means nobody is.
	Logger *zap.Logger
	// Monitor, when set, shows the number of open issues.
	Monitor *metrics.Monitor
}

// Loop drives an Analyzer in real time.
type Loop struct{ options LoopOptions }

// NewLoop returns a loop that does nothing until Run.
func NewLoop(o LoopOptions) (*Loop, error) {
	if o.Analyzer == nil || o.Collect == nil || o.Interval < 0 {
		return nil, fmt.Errorf("insight: a loop needs an analyzer, a collect function and an interval, not %v", o.Interval)
	}
	if o.Interval == 0 {
		o.Interval = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return &Loop{options: o}, nil
}

// Run samples at every interval until ctx ends, which is not an error.
func (l *Loop) Run(ctx context.Context) error {
	ticker := time.NewTicker(l.options.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return nil
			}
			return ctx.Err()
		case now := <-ticker.C:
			l.step(now)
		}
	}
}

func (l *Loop) step(now time.Time) {
	events := l.options.Analyzer.Observe(now, l.options.Collect(now))
	for _, e := range events {
		if e.Severity >= analysis.High {
			l.log(e)
		}
	}
	if l.options.Monitor != nil {
		l.options.Monitor.AnalysisIssues(l.options.Analyzer.Open())
	}
}

func (l *Loop) log(e analysis.Event) {
	fields := []zap.Field{
		zap.String("rule", e.Rule), zap.Stringer("severity", e.Severity), zap.String("service", e.Service),
		zap.String("pod", e.Pod), zap.String("process", e.Process), zap.Float64("value", e.Value),
		zap.Float64("threshold", e.Threshold), zap.Time("since", e.Since), zap.String("message", e.Message),
	}
	if e.Resolved {
		l.options.Logger.Info("issue resolved", append(fields, zap.Duration("lasted", e.At.Sub(e.Since)))...)
		return
	}
	l.options.Logger.Warn("issue opened", fields...)
}
