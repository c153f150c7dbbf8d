package harness

import (
	"fmt"
	"testing"
)

// PodRow is a pod as xds-server's admin API shows it.
type PodRow struct {
	Name         string  `json:"name"`
	State        string  `json:"state"`
	Weight       float64 `json:"weight"`
	InFlight     int     `json:"in_flight"`
	ResponseTime float64 `json:"response_time_seconds"`
	ErrorRate    float64 `json:"error_rate"`
	Sessions     int     `json:"sessions"`
}

// PodRows returns a service's pods by name.
func (s *Stack) PodRows(service string) (map[string]PodRow, error) {
	var rows []PodRow
	if err := JSON(s.XDSAdmin+"/api/v1/services/"+service+"/pods", &rows); err != nil {
		return nil, err
	}
	out := make(map[string]PodRow, len(rows))
	for _, r := range rows {
		out[r.Name] = r
	}
	return out, nil
}

// InState is a check for Eventually: the pod is in the state.
func (s *Stack) InState(service, pod, state string) func() error {
	return func() error {
		rows, err := s.PodRows(service)
		if err == nil && rows[pod].State != state {
			err = fmt.Errorf("%s is %s, not %s", pod, rows[pod].State, state)
		}
		return err
	}
}

// Order posts drain, ready or maintenance for a pod.
func (s *Stack) Order(t testing.TB, service, pod, order string) {
	t.Helper()
	if _, err := Call("POST", s.XDSAdmin+"/api/v1/services/"+service+"/pods/"+pod+"/"+order, ""); err != nil {
		t.Fatal(err)
	}
}
