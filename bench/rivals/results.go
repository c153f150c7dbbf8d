package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stateful-route/stateful-route/stickiness/adapters"
)

// row is one run, as far as it is shown.
type row struct {
	Adapter     string `json:"adapter"`
	Description string `json:"description"`
	Schedule    string `json:"schedule"`
	Seed        uint64 `json:"seed"`
	Absent      string `json:"absent,omitempty"`
	NotFor      string `json:"not_applicable,omitempty"`
	Error       string `json:"error,omitempty"`
	Result      *struct {
		Records  int            `json:"records"`
		Sessions int            `json:"sessions"`
		Counts   map[string]int `json:"counts"`
		Hit      map[string]int `json:"hit"`
		OnePod   bool           `json:"one_pod"`
	} `json:"result,omitempty"`
}

func readJSON(file string, into any) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func writeJSON(file string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// The suite's classes that are shown.
const (
	wrongPod   = "wrong pod"
	lostVisits = "lost visits"
	refused    = "refused"
	failed     = "failed"
)

// gateway is all that is known of one.
type gateway struct {
	name, description string
	about             about
	absent            string
	rows              []row
}

// read reads what was played, in the order of the suite's list.
func read(out string) ([]gateway, error) {
	var all []gateway
	for _, a := range adapters.All() {
		g := gateway{name: a.Name, description: a.Description}
		err := readJSON(filepath.Join(out, a.Name, aboutFile), &g.about)
		if errors.Is(err, fs.ErrNotExist) { // it is written last
			continue
		}
		if err := errors.Join(err, readJSON(filepath.Join(out, a.Name, resultsFile), &g.rows)); err != nil {
			return nil, err
		}
		if len(g.rows) > 0 {
			g.absent = g.rows[0].Absent
		}
		all = append(all, g)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: nothing was played yet", out)
	}
	return all, nil
}

// verdict is what became of a schedule with one seed.
type verdict string

const (
	kept      verdict = "kept"  // no session was silently served wrong
	wrong     verdict = "wrong" // by another pod, or without its visits
	notFor    verdict = "–"     // it does not promise that
	broken    verdict = "error" // it could not be played
	absentNow verdict = "absent"
	varies    verdict = "varies" // with the seed
)

func (r row) verdict() verdict {
	switch {
	case r.Absent != "":
		return absentNow
	case r.NotFor != "":
		return notFor
	case r.Error != "" || r.Result == nil:
		return broken
	case r.Result.Counts[wrongPod]+r.Result.Counts[lostVisits] > 0:
		return wrong
	}
	return kept
}

// hit is the share of the sessions that were silently served wrong, in percent.
func (r row) hit() float64 {
	if r.Result == nil || r.Result.Sessions == 0 {
		return 0
	}
	// A session may have met both.
	return 100 * float64(max(r.Result.Hit[wrongPod], r.Result.Hit[lostVisits])) / float64(r.Result.Sessions)
}

// unserved is the share of the answers that were refused or failed, in percent.
func (r row) unserved() float64 {
	if r.Result == nil || r.Result.Records == 0 {
		return 0
	}
	return 100 * float64(r.Result.Counts[refused]+r.Result.Counts[failed]) / float64(r.Result.Records)
}

// of are the runs of a schedule, one a seed.
func (g gateway) of(schedule string) []row {
	return slices.DeleteFunc(slices.Clone(g.rows), func(r row) bool { return r.Schedule != schedule })
}

// verdict is that of all seeds.
func (g gateway) verdict(schedule string) verdict {
	rows := g.of(schedule)
	if len(rows) == 0 {
		return absentNow
	}
	v := rows[0].verdict()
	for _, r := range rows[1:] {
		if r.verdict() != v {
			return varies
		}
	}
	return v
}

// cell is a verdict with what it is about: the share of the sessions, one figure a seed.
func (g gateway) cell(schedule string) string {
	v := g.verdict(schedule)
	if v != wrong && v != varies {
		return string(v)
	}
	var parts []string
	onePod := false
	for _, r := range g.of(schedule) {
		switch r.verdict() {
		case wrong:
			parts = append(parts, percent(r.hit())+" %")
		default:
			parts = append(parts, string(r.verdict()))
		}
		onePod = onePod || r.Result != nil && r.Result.OnePod
	}
	text := fmt.Sprintf("**%s** %s", v, strings.Join(parts, " · "))
	if onePod {
		text += " ¹"
	}
	return text
}

// loss is the share of the answers that were refused or failed, of the worst seed.
func (g gateway) loss(schedule string) string {
	switch v := g.verdict(schedule); v {
	case notFor, absentNow, broken:
		return string(v)
	}
	worst := 0.0
	for _, r := range g.of(schedule) {
		worst = max(worst, r.unserved())
	}
	return percent(worst)
}

func percent(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 1:
		return "< 1"
	}
	return fmt.Sprint(math.Round(v))
}

// schedules are those that were played, in the suite's order.
func schedules(all []gateway) []string {
	var names []string
	for _, g := range all {
		for _, r := range g.rows {
			if !slices.Contains(names, r.Schedule) {
				names = append(names, r.Schedule)
			}
		}
	}
	return names
}
