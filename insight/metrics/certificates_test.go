package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// However many certificates there are, those that end first are seen.
func TestCertificatesThatEndFirstAreServed(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{Process: "xds-server"})
	expiry, good := map[string]time.Time{}, true
	if err := m.Certificates(func() (map[string]time.Time, bool) { return expiry, good }); err != nil {
		t.Fatal(err)
	}
	for i := range maxCertificates + 50 {
		expiry[fmt.Sprintf("/%d.pem", i)] = time.Unix(int64(1000-i), 0)
	}
	good = false
	m.CertificateReload(true)
	m.CertificateReload(false)
	m.CertificateReload(false)
	const series = "stateful_route_tls_certificate_expiry_timestamp_seconds{"
	if n := strings.Count(scrape(t, m, ""), series); n != maxCertificates {
		t.Errorf("%d series", n)
	}
	expiry = map[string]time.Time{"/last.pem": expiry["/249.pem"]}
	text := scrape(t, m, "")
	for _, want := range []string{
		series + `file="/last.pem"} 751`, "stateful_route_tls_last_reload_successful 0",
		`stateful_route_tls_reloads_total{result="accepted"} 1`, `stateful_route_tls_reloads_total{result="refused"} 2`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}
