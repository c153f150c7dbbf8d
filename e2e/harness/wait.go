package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Patience bounds every wait of the harness.
const Patience = 30 * time.Second

// pollInterval is the pause between two looks at something awaited.
const pollInterval = 20 * time.Millisecond

// Eventually calls check until it returns nil, and fails the test with its last
// error when it does not within the time. It returns how long that took.
func Eventually(t testing.TB, within time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := check()
		took := time.Since(start)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("not within %v: %s: %v", within, what, err)
		}
		<-tick.C
	}
}

// admin is for questions to the admin interfaces: short, and with connections
// of their own.
var admin = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// Body returns what a GET of url answers; anything but 200 is an error.
func Body(url string) (string, error) { return Call(http.MethodGet, url, "") }

// Call returns the body of the answer to a request; a status other than 2xx is
// an error that holds it.
func Call(method, url, body string) (string, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	resp, err := admin.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode/100 != 2 {
		return "", fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, strings.TrimSpace(string(b)))
	}
	return string(b), nil
}

// JSON reads the answer of a GET of url into v.
func JSON(url string, v any) error {
	body, err := Body(url)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(body), v)
}

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
