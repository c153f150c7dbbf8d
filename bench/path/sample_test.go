package main

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestQuantiles(t *testing.T) {
	t.Parallel()
	sorted := make([]time.Duration, 1000)
	for i := range sorted {
		sorted[i] = time.Duration(i + 1)
	}
	for q, want := range map[float64]time.Duration{0: 1, .5: 500, .99: 990, .999: 999, 1: 1000} {
		if got := quantile(sorted, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if quantile(nil, .5) != 0 || quantile(sorted[:1], .999) != 1 {
		t.Error("of none and of one")
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	of := func(rates ...float64) spread {
		var all []sample
		for _, r := range rates {
			all = append(all, sample{rate: r})
		}
		return spreadOf(all, func(s sample) float64 { return s.rate })
	}
	if got := of(3, 1, 2); got != (spread{2, 1, 3}) {
		t.Errorf("of three: %v", got)
	}
	if got := of(4, 1, 2, 3); got != (spread{2.5, 1, 4}) {
		t.Errorf("of four: %v", got)
	}
}

// reported are two rows in two rounds.
func reported() ([]row, []sample) {
	rows := []row{{name: plain, peer: plain, title: "Envoy"}, {name: "other", peer: plain, title: "ours & <theirs>"}}
	var all []sample
	for round := range 2 {
		for i, r := range rows {
			all = append(all, sample{row: r.name, round: round, protocol: 1, concurrency: 16, requests: 10, wrong: i, rate: float64(100 * (i + 1)), ratio: float64(i + 1), p999: time.Millisecond})
		}
	}
	return rows, all
}

func TestReports(t *testing.T) {
	t.Parallel()
	rows, all := reported()
	b := &bench{plan: &plan{rounds: 2, concurrency: []int{16}, protocols: []int{1}}, notes: []string{"HAProxy: skipped"}}
	table := b.table(rows, all)
	for _, want := range []string{"### HTTP/1.1, 16 at a time", "Without the module", "| ours & <theirs> | 200 (200–200) | 2.00 (2.00–2.00) |", "| 2 | 0 |\n", "HAProxy: skipped"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table has no %q:\n%s", want, table)
		}
	}
	var file bytes.Buffer
	if err := writeCSV(&file, all); err != nil {
		t.Fatal(err)
	}
	if lines, err := csv.NewReader(&file).ReadAll(); err != nil || len(lines) != 5 {
		t.Errorf("%d lines of CSV: %v", len(lines), err)
	}
	picture := xml.NewDecoder(strings.NewReader(plot(rows, all, []int{16}, []int{1})))
	bars := 0
	for {
		token, err := picture.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "text" {
			bars++
		}
	}
	if bars != 1+1+2+2 { // its title, a series, two names, two numbers
		t.Errorf("%d texts", bars)
	}
}

func TestNoopAnswersWithAPod(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for i := range int64(100) {
		answer := noop{pods: testPods()}.answer(headersOf("x-session-id", key(i)))
		set := answer.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders()
		if len(set) != 1 || set[0].GetHeader().GetKey() != destinationHeader {
			t.Fatalf("answer %v", answer)
		}
		seen[string(set[0].GetHeader().GetRawValue())] = true
	}
	if len(seen) != len(testPods()) {
		t.Errorf("pods are %v", seen)
	}
	if a := (noop{pods: testPods()}).answer(headersOf("accept", "*/*")); a.GetRequestHeaders().GetResponse().GetHeaderMutation() != nil {
		t.Errorf("without a session: %v", a)
	}
}
