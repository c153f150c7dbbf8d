package metrics

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxCertificates bounds the series of certificates: those that end first are served.
const maxCertificates = 200

// Certificates serves, from what is read at each scrape, when the certificates that are
// in force end, by the files that they are from, and whether the newest versions of all
// files are in force. It may be called once.
func (m *Monitor) Certificates(read func() (expiry map[string]time.Time, good bool)) error {
	for _, result := range []string{reloadAccepted, reloadRefused} {
		m.vectors.certificateReloads.WithLabelValues(result) // served as 0
	}
	return m.Register("certificates", certificates(read))
}

// CertificateReload counts a new version of a certificate, with its key, or of a file of
// authorities.
func (m *Monitor) CertificateReload(good bool) {
	result := reloadRefused
	if good {
		result = reloadAccepted
	}
	m.vectors.certificateReloads.WithLabelValues(result).Inc()
}

type certificates func() (expiry map[string]time.Time, good bool)

func expiryDesc() *prometheus.Desc {
	return prometheus.NewDesc("stateful_route_tls_certificate_expiry_timestamp_seconds",
		"When the certificate in force ends, or one of its chain does; of authorities, when the last one does.", []string{"file"}, nil)
}

func filesGoodDesc() *prometheus.Desc {
	return prometheus.NewDesc("stateful_route_tls_last_reload_successful",
		"Whether the newest versions of all files of certificates are in force: 1, or 0 while the last good one of any stands in.", nil, nil)
}

func (certificates) Describe(out chan<- *prometheus.Desc) {
	out <- expiryDesc()
	out <- filesGoodDesc()
}

func (c certificates) Collect(out chan<- prometheus.Metric) {
	expiry, good := c()
	files := slices.SortedFunc(maps.Keys(expiry), func(a, b string) int {
		return cmp.Or(expiry[a].Compare(expiry[b]), cmp.Compare(a, b))
	})
	for _, file := range files[:min(len(files), maxCertificates)] {
		out <- prometheus.MustNewConstMetric(expiryDesc(), prometheus.GaugeValue, float64(expiry[file].Unix()), file)
	}
	value := 0.0
	if good {
		value = 1
	}
	out <- prometheus.MustNewConstMetric(filesGoodDesc(), prometheus.GaugeValue, value)
}
