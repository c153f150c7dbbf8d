package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stateful-route/stateful-route/stickiness/check"
)

// Table is the runs in Markdown: a short one of all gateways, and one of each.
func Table(rows []Row) string {
	var b strings.Builder
	adapters, schedules := names(rows, func(r Row) string { return r.Adapter.Name }), names(rows, func(r Row) string { return r.Schedule.Name })
	line(&b, append([]string{"schedule"}, adapters...))
	line(&b, slices.Repeat([]string{"---"}, len(adapters)+1))
	for _, s := range schedules {
		cells := []string{s}
		for _, a := range adapters {
			cells = append(cells, cell(of(rows, a, s)))
		}
		line(&b, cells)
	}
	b.WriteString("\nEach cell: answers silently given by a wrong pod or without the session's earlier visits, and how many sessions that hit, one number a seed; " +
		"`ok` is none. Unserved: refused or failed though pod and gateway could serve. ¹ one pod got nearly all sessions. n/a: what is not promised, with its reason below.\n")
	for _, a := range adapters {
		details(&b, slices.DeleteFunc(slices.Clone(rows), func(r Row) bool { return r.Adapter.Name != a }))
	}
	return b.String()
}

func names(rows []Row, of func(Row) string) []string {
	var out []string
	for _, r := range rows {
		if !slices.Contains(out, of(r)) {
			out = append(out, of(r))
		}
	}
	return out
}

func of(rows []Row, adapter, schedule string) []Row {
	return slices.DeleteFunc(slices.Clone(rows), func(r Row) bool {
		return r.Adapter.Name != adapter || r.Schedule.Name != schedule
	})
}

func line(b *strings.Builder, cells []string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// cell is what became of the runs of one schedule, one of each seed.
func cell(rows []Row) string {
	var parts []string
	for _, r := range rows {
		switch {
		case r.Absent != "":
			return "absent"
		case r.Outcome.NotFor != "":
			return "n/a"
		case r.Outcome.Err != nil:
			return "error"
		}
		parts = append(parts, wrong(r.Outcome.Result))
	}
	if len(parts) == 0 {
		return ""
	}
	text := "ok"
	if slices.ContainsFunc(parts, func(p string) bool { return p != "ok" }) {
		text = strings.Join(parts, " · ")
	}
	if slices.ContainsFunc(rows, func(r Row) bool { return r.Outcome.Result.OnePod }) {
		text += " ¹"
	}
	return text
}

func wrong(r check.Result) string {
	var parts []string
	if n := r.Counts[check.WrongPod]; n > 0 {
		parts = append(parts, fmt.Sprintf("**%d wrong** (%d sessions)", n, r.Hit[check.WrongPod]))
	}
	if n := r.Counts[check.LostVisits]; n > 0 {
		parts = append(parts, fmt.Sprintf("**%d lost** (%d sessions)", n, r.Hit[check.LostVisits]))
	}
	if len(parts) == 0 {
		parts = append(parts, "ok")
	}
	if n := r.Unexplained[check.Refused] + r.Unexplained[check.Failed]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d unserved", n))
	}
	return strings.Join(parts, ", ")
}

// Line says in one line what became of a run.
func Line(r Row) string {
	text := fmt.Sprintf("%s, %s, seed %d: ", r.Adapter.Name, r.Schedule.Name, r.Seed)
	switch {
	case r.Absent != "":
		return text + "absent: " + r.Absent
	case r.Outcome.NotFor != "":
		return text + "n/a: " + r.Outcome.NotFor
	case r.Outcome.Err != nil:
		return text + "error: " + r.Outcome.Err.Error()
	}
	return text + wrong(r.Outcome.Result) + "; " + reasons(r.Outcome.Result)
}

// details are all runs of one gateway.
func details(b *strings.Builder, rows []Row) {
	a := rows[0].Adapter
	fmt.Fprintf(b, "\n## %s\n\n%s. Key: %s `%s`.", a.Name, a.Description, a.Key.Kind, a.Key.Name)
	for _, page := range a.Documented {
		fmt.Fprintf(b, " <%s>", page)
	}
	b.WriteString("\n\n")
	if rows[0].Absent != "" {
		fmt.Fprintf(b, "Absent: %s\n", rows[0].Absent)
		return
	}
	line(b, []string{"schedule", "seed", "sessions", "answers", "right", "rebound", "refused", "wrong pod", "lost visits", "failed", "new on draining", "stalls", "why"})
	line(b, slices.Repeat([]string{"---"}, 13))
	for _, r := range rows {
		line(b, detail(r))
	}
}

func detail(r Row) []string {
	seed := strconv.FormatUint(r.Seed, 10)
	blank := slices.Repeat([]string{""}, 10)
	switch {
	case r.Outcome.NotFor != "":
		return append(append([]string{r.Schedule.Name, seed}, blank...), "n/a: "+r.Outcome.NotFor)
	case r.Outcome.Err != nil:
		return append(append([]string{r.Schedule.Name, seed}, blank...), "error: "+strings.ReplaceAll(r.Outcome.Err.Error(), "\n", "; "))
	}
	res := r.Outcome.Result
	cells := []string{r.Schedule.Name, seed, strconv.Itoa(res.Sessions), strconv.Itoa(res.Records)}
	for _, class := range check.Classes() {
		text := strconv.Itoa(res.Counts[class])
		if n := res.Unexplained[class]; n > 0 {
			text += fmt.Sprintf(" (%d unexplained)", n)
		}
		cells = append(cells, text)
	}
	return append(cells, strconv.Itoa(res.NewOnDraining), strconv.Itoa(r.stalls()), reasons(res))
}

// reasons are the most frequent ones of each class.
func reasons(r check.Result) string {
	const most = 3
	var parts []string
	for _, class := range check.Classes() {
		texts := slices.SortedFunc(maps.Keys(r.Reasons[class]), func(a, b string) int {
			return cmp.Or(cmp.Compare(r.Reasons[class][b], r.Reasons[class][a]), cmp.Compare(a, b))
		})
		for i, text := range texts {
			if i == most {
				parts = append(parts, fmt.Sprintf("%s: %d more reasons", class, len(texts)-most))
				break
			}
			parts = append(parts, fmt.Sprintf("%s: %d× %s", class, r.Reasons[class][text], strings.ReplaceAll(text, "|", "/")))
		}
	}
	return strings.Join(parts, "; ")
}
