package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

func (c *ctl) json() bool { return c.output == "json" }

// show prints v as JSON, or what table writes.
func (c *ctl) show(v any, table func(w io.Writer)) error {
	if c.json() {
		return writeJSON(c.Stdout, v)
	}
	return writeTable(c.Stdout, table)
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// writeTable aligns what table writes with tabs between cells.
func writeTable(w io.Writer, table func(w io.Writer)) error {
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(out)
	return out.Flush()
}

// row writes one line of a table.
func row(w io.Writer, cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = printable(fmt.Sprint(c))
		if texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(w, strings.Join(texts, "\t"))
}

// printable quotes a text that holds what a terminal would obey, or a table
// take for the end of a cell.
func printable(s string) string {
	for _, r := range s {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// responseTime shows seconds to a tenth of a millisecond; 0 means not known.
func responseTime(seconds float64) string {
	if seconds == 0 {
		return "-"
	}
	return time.Duration(math.Round(seconds*1e4) * 1e5).String()
}

func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 1, 64) + "%" }

// age shows seconds as a person would say them.
func age(seconds float64) string {
	return time.Duration(math.Round(seconds) * 1e9).String()
}

// since shows how long ago t was.
func since(now, t time.Time) string { return age(max(0, now.Sub(t).Seconds())) }

// count says "1 pod", "2 pods".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
