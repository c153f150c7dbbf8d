package harness

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrNoMetric says that no series has the name.
var ErrNoMetric = errors.New("no such metric")

// Metric returns the sum of the series of one name whose label text contains
// all of labels, such as `service="chat"`.
func Metric(url, name string, labels ...string) (float64, error) {
	text, err := Body(url)
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' || !containsAll(rest, labels) {
			continue
		}
		// The value follows the labels, whose own text may hold blanks.
		fields := strings.Fields(rest[strings.LastIndexByte(rest, '}')+1:])
		if len(fields) == 0 {
			return 0, fmt.Errorf("metric line %q", line)
		}
		v, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("%w: %s %v", ErrNoMetric, name, labels)
	}
	return sum, nil
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
