package harness

import (
	"fmt"
	"sync"
	"time"
)

// Report is xds-server's /api/v1/report, as far as the tests read it.
type Report struct {
	Issues      []Issue      `json:"issues"`
	Suggestions []Suggestion `json:"suggestions"`
	Statistics  struct {
		Samples int `json:"samples"`
	} `json:"statistics"`
	Summary string `json:"summary"`
}

// Subject is what an issue is about.
type Subject struct {
	Rule    string `json:"rule"`
	Service string `json:"service"`
	Pod     string `json:"pod"`
	Process string `json:"process"`
}

// Issue is an open issue.
type Issue struct {
	Subject
	Severity string  `json:"severity"`
	Message  string  `json:"message"`
	Value    float64 `json:"value"`
}

// Suggestion is what the report says to do about an issue.
type Suggestion struct {
	Subject
	Suggestion string `json:"suggestion"`
	Priority   int    `json:"priority"`
}

// Report returns what the analyzer says now.
func (s *Stack) Report() (Report, error) {
	var r Report
	err := JSON(s.XDSAdmin+"/api/v1/report", &r)
	return r, err
}

// IssueLog notes every issue that the report shows while it runs.
type IssueLog struct {
	quit chan struct{}
	done sync.WaitGroup
	once sync.Once
	seen map[Subject]bool // of the goroutine until Stop
}

// WatchIssues begins to note issues. A report that cannot be had is skipped.
func (s *Stack) WatchIssues() *IssueLog {
	l := &IssueLog{quit: make(chan struct{}), seen: map[Subject]bool{}}
	l.done.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-l.quit:
				return
			case <-tick.C:
			}
			r, err := s.Report()
			if err != nil {
				continue
			}
			for _, issue := range r.Issues {
				l.seen[issue.Subject] = true
			}
		}
	})
	return l
}

// Stop ends the watch and returns the subjects of all issues that were open.
func (l *IssueLog) Stop() map[Subject]bool {
	l.once.Do(func() { close(l.quit) })
	l.done.Wait()
	return l.seen
}

// Issue is a check for Eventually: exactly one issue is open, and it is of the
// rule. What it finds is stored in into, when that is not nil.
func (s *Stack) Issue(rule string, into *Report) func() error {
	return func() error {
		r, err := s.Report()
		if err != nil {
			return err
		}
		if len(r.Issues) != 1 || r.Issues[0].Rule != rule {
			return fmt.Errorf("open issues: %v", r.Issues)
		}
		if into != nil {
			*into = r
		}
		return nil
	}
}

// NoIssue is a check for Eventually: at least so many samples were taken, and
// no issue is open.
func (s *Stack) NoIssue(samples int) func() error {
	return func() error {
		r, err := s.Report()
		if err == nil && (len(r.Issues) > 0 || r.Statistics.Samples < samples) {
			err = fmt.Errorf("%d samples, open issues: %v", r.Statistics.Samples, r.Issues)
		}
		return err
	}
}
