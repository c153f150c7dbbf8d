package discovery

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
)

// HTTP is the source `http: {url, interval}`: the list of a pods file, as YAML or
// JSON, fetched in every interval.
type HTTP struct {
	URL      string               `yaml:"url"`
	Interval *strictyaml.Duration `yaml:"interval"`
}

const (
	defaultHTTPInterval  = 10 * time.Second
	shortestHTTPInterval = time.Second
	longestHTTPAnswer    = 5 * time.Second
	largestHTTPList      = 4 << 20
)

// String implements statefulroute.PodDiscovery; it does not tell a password.
func (h *HTTP) String() string { return "http " + redacted(h.URL) }

func redacted(text string) string {
	if u, err := url.Parse(text); err == nil {
		return u.Redacted()
	}
	return "of a bad URL"
}

// Written implements statefulroute.PodDiscovery.
func (*HTTP) Written() bool { return false }

// Check implements Config.
func (h *HTTP) Check(doc *strictyaml.Document, at strictyaml.Path) {
	u, err := url.Parse(h.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		doc.Refuse(at.With("url"), "%q is not a URL such as http://127.0.0.1:8500/pods", h.URL)
	}
	if h.Interval != nil && time.Duration(*h.Interval) < shortestHTTPInterval {
		doc.Refuse(at.With("interval"), "must be at least %v", shortestHTTPInterval)
	}
}

func (h *HTTP) interval() time.Duration {
	if h.Interval == nil {
		return defaultHTTPInterval
	}
	return time.Duration(*h.Interval)
}

// NewDiscoverer implements Config.
func (h *HTTP) NewDiscoverer(Options) Discoverer {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true} // nothing is left open when Run ends
	client := &http.Client{Timeout: min(h.interval(), longestHTTPAnswer), Transport: transport}
	return Poll(h.interval(), func(ctx context.Context) ([]statefulroute.Pod, error) { return h.fetch(ctx, client) })
}

// fetch takes nothing for a list but a whole answer with status 200: what a proxy or
// a server that starts says instead is a failure.
func (h *HTTP) fetch(ctx context.Context, client *http.Client) ([]statefulroute.Pod, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/yaml, application/json")
	req.Header.Set("User-Agent", "stateful-route")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err // it names the URL, without its password
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: status %d", redacted(h.URL), resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, largestHTTPList+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", redacted(h.URL), err)
	}
	if len(raw) > largestHTTPList {
		return nil, fmt.Errorf("%s: the list is longer than %d bytes", redacted(h.URL), largestHTTPList)
	}
	return ParseList(redacted(h.URL), raw)
}
