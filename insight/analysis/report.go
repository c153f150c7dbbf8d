package analysis

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Report is what the analyzer has to say at one moment.
type Report struct {
	Time time.Time `json:"time"`
	// Issues are the open ones, the most severe first.
	Issues []Issue `json:"issues"`
	// Suggestions say what to do about them, the highest priority first.
	Suggestions []Suggestion `json:"suggestions"`
	// Changes are trends and shifts over the history, which need not be issues.
	Changes    []Change   `json:"changes"`
	Statistics Statistics `json:"statistics"`
	// Summary is one sentence.
	Summary string `json:"summary"`
}

// Suggestion is what to do about an issue.
type Suggestion struct {
	Rule string `json:"rule"`
	Scope
	Suggestion string `json:"suggestion"`
	Impact     string `json:"impact"`
	Effort     string `json:"effort"`
	Priority   int    `json:"priority"`
}

// Report sums up what is known of a service, or of everything for "". Without
// any request observed its lists are empty and its summary says so. Reports
// share what is in them with each other: do not change it.
func (a *Analyzer) Report(now time.Time, service string) Report {
	r := a.Overview(now, service)
	history := a.historyReport(service)
	r.Statistics, r.Changes = history.statistics, history.changes
	return r
}

// Overview is a Report without Changes and Statistics, which take a while to
// work out.
func (a *Analyzer) Overview(now time.Time, service string) Report {
	v := a.published.Load()
	r := Report{Time: now, Issues: []Issue{}, Suggestions: []Suggestion{}, Changes: []Change{}}
	for i := range v.issues {
		if service == "" || v.issues[i].Service == service {
			r.Issues = append(r.Issues, v.issues[i])
			r.Suggestions = append(r.Suggestions, v.suggestions[i])
		}
	}
	slices.SortStableFunc(r.Suggestions, func(x, y Suggestion) int { return cmp.Compare(y.Priority, x.Priority) })
	r.Summary = r.summarise(service, v.observed[service])
	return r
}

func (r *Report) summarise(service string, o observed) string {
	about := "all services"
	if service != "" {
		about = "service " + service
	}
	period := o.length.Round(time.Second)
	switch {
	case len(r.Issues) == 0 && !o.requests:
		return fmt.Sprintf("No metrics yet: no request of %s has been observed.", about)
	case len(r.Issues) == 0:
		return fmt.Sprintf("No issues in %s over the last %v.", about, period)
	}
	return fmt.Sprintf("%s in %s (%s), %s, over the last %v.",
		count(len(r.Issues), "issue"), about, r.severities(), count(len(r.Suggestions), "suggestion"), period)
}

// severities counts the issues: "1 high, 2 medium".
func (r *Report) severities() string {
	var counts [Critical + 1]int
	for _, issue := range r.Issues {
		counts[issue.Severity]++
	}
	var parts []string
	for s := int(Critical); s >= 0; s-- {
		if counts[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %v", counts[s], Severity(s)))
		}
	}
	return strings.Join(parts, ", ")
}
