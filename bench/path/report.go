package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// report writes rounds.csv, table.md and plot.svg, and prints the table.
func (b *bench) report(rows []row, samples []sample) error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	table := b.table(rows, samples)
	for name, text := range map[string]string{
		"table.md": table, "plot.svg": plot(rows, samples, b.concurrency, b.protocols),
	} {
		if err := os.WriteFile(filepath.Join(b.out, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	f, err := os.Create(filepath.Join(b.out, "rounds.csv"))
	if err != nil {
		return err
	}
	if err := writeCSV(f, samples); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	_, err = fmt.Print(table)
	return err
}

// table is one of each version of HTTP and concurrency.
func (b *bench) table(rows []row, samples []sample) string {
	var t strings.Builder
	fmt.Fprintf(&t, "Medians of %d rounds of %s (least–most); one worker for each proxy; CPU is µs a request.\n", b.rounds, b.time)
	if b.module == "" {
		t.WriteString("**Without the module**: all of ours goes by extproc.\n")
	}
	for _, protocol := range b.protocols {
		for _, c := range b.concurrency {
			fmt.Fprintf(&t, "\n### %s, %d at a time\n\n", version(protocol), c)
			t.WriteString("| | req/s | × Envoy | p50 µs | p99 µs | p99.9 µs | × Envoy | CPU proxy | callout | control | pods | load | proxy's own MB | wrong pod | failed |\n")
			t.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
			for _, r := range rows {
				if cell := pick(samples, r.name, protocol, c); len(cell) > 0 {
					title := r.title
					if r.changes {
						title += fmt.Sprintf(" (%.0f made)", spreadOf(cell, func(s sample) float64 { return s.changes }).median)
					}
					t.WriteString(line(title, cell, spreadOf(pick(samples, r.peer, protocol, c), tail).median))
				}
			}
		}
	}
	for _, s := range b.notes {
		fmt.Fprintf(&t, "\n%s\n", s)
	}
	return t.String()
}

// version is the protocol's name.
func version(protocol int) string {
	if protocol == 1 {
		return "HTTP/1.1"
	}
	return "HTTP/2"
}

func tail(s sample) float64 { return us(s.p999) }

func line(title string, cell []sample, base float64) string {
	rate := spreadOf(cell, func(s sample) float64 { return s.rate })
	ratio := spreadOf(cell, func(s sample) float64 { return s.ratio })
	median := func(of func(sample) float64) float64 { return spreadOf(cell, of).median }
	p999 := spreadOf(cell, tail)
	var l strings.Builder
	fmt.Fprintf(&l, "| %s | %.0f (%.0f–%.0f) | %.2f (%.2f–%.2f) | %.0f | %.0f | %.0f (%.0f–%.0f) | %.2f |",
		title, rate.median, rate.least, rate.most, ratio.median, ratio.least, ratio.most,
		median(func(s sample) float64 { return us(s.p50) }), median(func(s sample) float64 { return us(s.p99) }),
		p999.median, p999.least, p999.most, p999.median/base)
	for r := range roles {
		fmt.Fprintf(&l, " %.1f |", median(func(s sample) float64 { return us(s.cpu[r]) }))
	}
	wrong, failed := 0, 0
	for _, s := range cell {
		wrong, failed = wrong+s.wrong, failed+s.failed
	}
	fmt.Fprintf(&l, " %.0f | %d | %d |\n", median(func(s sample) float64 { return float64(s.private) / 1e6 }), wrong, failed)
	return l.String()
}

func writeCSV(to io.Writer, samples []sample) error {
	w := csv.NewWriter(to)
	head := []string{"round", "http", "concurrency", "row", "requests", "failed", "wrong", "req_s", "ratio", "p50_us", "p99_us", "p999_us"}
	for r := range roles {
		head = append(head, "cpu_"+r.String()+"_us")
	}
	if err := w.Write(append(head, "proxy_private_bytes", "changes_s")); err != nil {
		return err
	}
	decimals := func(v float64, n int) string { return strconv.FormatFloat(v, 'f', n, 64) }
	for _, s := range samples {
		record := []string{
			strconv.Itoa(s.round + 1), strconv.Itoa(s.protocol), strconv.Itoa(s.concurrency), s.row,
			strconv.Itoa(s.requests), strconv.Itoa(s.failed), strconv.Itoa(s.wrong),
			decimals(s.rate, 1), decimals(s.ratio, 4), decimals(us(s.p50), 1), decimals(us(s.p99), 1), decimals(us(s.p999), 1),
		}
		for r := range roles {
			record = append(record, decimals(us(s.cpu[r]), 2))
		}
		if err := w.Write(append(record, strconv.FormatUint(s.private, 10), decimals(s.changes, 0))); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
