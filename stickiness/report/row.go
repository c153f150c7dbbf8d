// Package report shows what came of runs: a table for people, JSON for programs,
// and pictures of the sessions that fared worst.
package report

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/stateful-route/stateful-route/stickiness/check"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/play"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// Row is one run.
type Row struct {
	Adapter  gateway.Adapter
	Schedule schedule.Schedule
	Seed     uint64
	Outcome  play.Outcome
	// Absent is why the gateway cannot run here.
	Absent string
}

// jsonRow is a Row as programs get it.
type jsonRow struct {
	Adapter     string        `json:"adapter"`
	Description string        `json:"description"`
	Documented  []string      `json:"documented"`
	Schedule    string        `json:"schedule"`
	Seed        uint64        `json:"seed"`
	Absent      string        `json:"absent,omitempty"`
	NotFor      string        `json:"not_applicable,omitempty"`
	Error       string        `json:"error,omitempty"`
	Kept        bool          `json:"kept"`
	Stalls      int           `json:"stalls"`
	Result      *check.Result `json:"result,omitempty"`
}

// JSON is all that is known of the runs, but for the single records.
func JSON(rows []Row) ([]byte, error) {
	out := make([]jsonRow, 0, len(rows))
	for _, r := range rows {
		j := jsonRow{
			Adapter: r.Adapter.Name, Description: r.Adapter.Description, Documented: r.Adapter.Documented,
			Schedule: r.Schedule.Name, Seed: r.Seed, Absent: r.Absent, NotFor: r.Outcome.NotFor,
		}
		switch {
		case r.Outcome.Err != nil:
			j.Error = r.Outcome.Err.Error()
		case r.played():
			j.Kept, j.Result, j.Stalls = r.Outcome.Result.Kept(), &r.Outcome.Result, r.stalls()
		}
		out = append(out, j)
	}
	b, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("results: %w", err)
	}
	return b, nil
}

func (r Row) played() bool {
	return r.Absent == "" && r.Outcome.NotFor == "" && r.Outcome.Err == nil
}

// stalls are all in which the machine did not run a process of the suite.
func (r Row) stalls() int {
	n := len(r.Outcome.History.Stalls)
	for _, p := range r.Outcome.History.Pods {
		n += len(p.Stalls)
	}
	return n
}

// Failed reports whether a run could not be played.
func Failed(rows []Row) bool {
	return slices.ContainsFunc(rows, func(r Row) bool { return r.Outcome.Err != nil })
}

// Kept reports whether no session of any run was silently served wrong.
func Kept(rows []Row) bool {
	return !slices.ContainsFunc(rows, func(r Row) bool { return r.played() && !r.Outcome.Result.Kept() })
}
