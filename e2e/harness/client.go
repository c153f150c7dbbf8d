package harness

import (
	"fmt"
	"testing"
)

// Client is one row of xds-server's /api/v1/envoys.
type Client struct {
	Node   string `json:"node"`
	Client string `json:"client"` // envoy or extproc
	Type   string `json:"type"`
	Status string `json:"status"` // ack, nack or pending; waiting: there was nothing to send
	Reason string `json:"reason"`
}

// WaitClients returns when xds-server says that Envoy and extproc are connected
// and have acknowledged all they were sent. A refusal fails the test.
func (s *Stack) WaitClients(t testing.TB) {
	t.Helper()
	Eventually(t, Patience, "Envoy and extproc have acknowledged what they were sent", func() error {
		var rows []Client
		if err := JSON(s.XDSAdmin+"/api/v1/envoys", &rows); err != nil {
			return err
		}
		seen := map[string]bool{}
		for _, c := range rows {
			if c.Status == "nack" {
				t.Fatalf("%s refuses %s: %s", c.Node, c.Type, c.Reason)
			}
			if c.Status == "pending" {
				return fmt.Errorf("%s has not acknowledged %s", c.Node, c.Type)
			}
			seen[c.Client+" "+c.Type] = true
		}
		for _, want := range []string{"envoy lds", "envoy rds", "envoy cds", "envoy eds", "extproc cds", "extproc eds"} {
			if !seen[want] {
				return fmt.Errorf("no %s among %v", want, rows)
			}
		}
		return nil
	})
}
