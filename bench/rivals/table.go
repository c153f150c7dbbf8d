package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stateful-route/stateful-route/stickiness/adapters"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// columns is how many schedules a table has: more are not read.
const columns = 9

// table is what came of all, in Markdown.
func table(all []gateway) string {
	var b strings.Builder
	names := schedules(all)
	var here []gateway
	for _, g := range all {
		if g.absent == "" {
			here = append(here, g)
		}
	}
	for part := range slices.Chunk(names, columns) {
		grid(&b, here, part, gateway.cell)
	}
	b.WriteString("¹ nearly all sessions were at one pod, as if they were one.\n\n" +
		"Answers that were refused or failed, in percent of all, of the seed with more:\n\n")
	for part := range slices.Chunk(names, columns) {
		grid(&b, here, part, gateway.loss)
	}
	for _, g := range all {
		if g.absent != "" {
			fmt.Fprintf(&b, "Skipped: `%s` (%s): %s.\n\n", g.name, g.description, g.absent)
		}
	}
	b.WriteString("How it was played:\n\n")
	for _, line := range played(all) {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	return b.String()
}

func grid(b *strings.Builder, all []gateway, names []string, cell func(gateway, string) string) {
	line(b, append([]string{""}, names...))
	line(b, slices.Repeat([]string{"---"}, len(names)+1))
	for _, g := range all {
		cells := []string{"`" + g.name + "`"}
		for _, s := range names {
			cells = append(cells, cell(g, s))
		}
		line(b, cells)
	}
	b.WriteString("\n")
}

func line(b *strings.Builder, cells []string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}

// played are the commands with all gateways that were played by them, and on what.
func played(all []gateway) []string {
	type key struct{ command, versions, date string }
	groups := map[key][]gateway{}
	for _, g := range all {
		var found []string
		for _, name := range slices.Sorted(maps.Keys(g.about.Versions)) {
			found = append(found, name+" "+g.about.Versions[name])
		}
		k := key{strings.Replace(g.about.Command, g.name, "NAME", 1), strings.Join(found, ", "), g.about.Date}
		groups[k] = append(groups[k], g)
	}
	var out []string
	for k, of := range groups {
		var names []string
		least, most := of[0].about.Load[0], 0.0
		for _, g := range of {
			names = append(names, g.name)
			least, most = min(least, g.about.Load[0], g.about.Load[1]), max(most, g.about.Load[0], g.about.Load[1])
		}
		out = append(out, fmt.Sprintf("%s: %#q on %d cores, load average %.0f to %.0f, %s; %s.",
			strings.Join(names, ", "), k.command, of[0].about.Cores, least, most, k.date, k.versions))
	}
	slices.SortFunc(out, cmp.Compare)
	return out
}

// The block of comparison.md that is made here.
const (
	blockBegin = "<!-- begin: made by `make rivals`, bench/rivals -->\n"
	blockEnd   = "<!-- end: made by `make rivals` -->\n"
)

// report writes the table and the picture of all that was played.
func (o options) report(out io.Writer) error {
	all, err := read(o.out)
	if err != nil {
		return err
	}
	text, picture := table(all), picture(all)
	fmt.Fprint(out, text)
	for name, content := range map[string]string{"table.md": text, "comparison.svg": picture} {
		if err := os.WriteFile(filepath.Join(o.out, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	if o.docs == "" {
		return nil
	}
	if missing := notPlayedYet(all); len(missing) > 0 {
		_, err := fmt.Fprintf(out, "%s is left as it is: not played yet: %s\n", o.docs, strings.Join(missing, ", "))
		return err
	}
	if err := os.WriteFile(filepath.Join(o.docs, "comparison.svg"), []byte(picture), 0o644); err != nil {
		return err
	}
	file := filepath.Join(o.docs, "comparison.md")
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	after, err := replaceBlock(string(before), text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(after), 0o644)
}

// notPlayedYet are the gateways that lack a schedule.
func notPlayedYet(all []gateway) []string {
	var missing []string
	for _, a := range adapters.All() {
		i := slices.IndexFunc(all, func(g gateway) bool { return g.name == a.Name })
		if i < 0 || slices.ContainsFunc(schedule.All(), func(s schedule.Schedule) bool { return len(all[i].of(s.Name)) == 0 }) {
			missing = append(missing, a.Name)
		}
	}
	return missing
}

// block is what stands between the marks.
func block(document string) (head, inside, tail string, err error) {
	head, rest, begun := strings.Cut(document, blockBegin)
	inside, tail, ended := strings.Cut(rest, blockEnd)
	if !begun || !ended {
		return "", "", "", fmt.Errorf("the marks %q and %q are not there", strings.TrimSpace(blockBegin), strings.TrimSpace(blockEnd))
	}
	return head, inside, tail, nil
}

func replaceBlock(document, text string) (string, error) {
	head, _, tail, err := block(document)
	if err != nil {
		return "", err
	}
	return head + blockBegin + "\n" + text + "\n" + blockEnd + tail, nil
}
