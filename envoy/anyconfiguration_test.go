package envoy

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/internal/testtls"
)

// group is a group of settings of a configuration.
type group = map[string]any

// set gives the group a value for the field in one of n cases.
func set[V any](t *rapid.T, g group, n int, field string, values *rapid.Generator[V]) {
	if rapid.IntRange(1, n).Draw(t, field+"?") == 1 {
		g[field] = values.Draw(t, field)
	}
}

// mostly draws what is good, and now and then what is at a border, or wrong.
func mostly[V any](good []V, odd ...V) *rapid.Generator[V] {
	return rapid.SampledFrom(append(slices.Repeat(good, 25), odd...))
}

func durations() *rapid.Generator[string] {
	return mostly([]string{"0s", "1ms", "50ms", "1.5s", "30s", "59m59.999999999s", "1h", "24h", "87600h"},
		"-1s", "1ns", "999us", "1.0001ms", "1h0m0.001s", "2h", "87600h0m1s", "2562047h", "2562047h47m16.854775807s", "-2562047h", "30")
}

// texts for names of headers, cookies, parameters, pods and zones.
func texts() *rapid.Generator[string] {
	return mostly([]string{"x-session-id", "sid", "a", "A_b.c-9", "__Host-id"},
		"", " ", "a b", "ü", "<script>", "a:b", ":authority", "host", "a\nb", "a\x00b", "%REQ(x)%", "{a}", `"`, "x-stateful-route-pod", "connection", "x-envoy-retry-on")
}

func flags() *rapid.Generator[bool] { return rapid.Bool() }

// anyConfiguration draws files that are mostly good: with values at the borders of
// what is allowed, and beyond them.
func anyConfiguration() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		cfg := group{"envoy": anyEnvoy(t)}
		var services []group
		for i := range rapid.IntRange(1, 3).Draw(t, "services") {
			services = append(services, anyService(t, i))
		}
		cfg["services"] = services
		text, err := yaml.Marshal(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	})
}

func anyEnvoy(t *rapid.T) group {
	g, extproc := group{}, group{}
	addresses := mostly([]string{"0.0.0.0:10000", "[::]:10000", "127.0.0.1:0", "[::1]:65535"},
		"localhost:1", ":1", "1.2.3.4", "[fe80::1%eth0]:80", "[::ffff:1.2.3.4]:80", "255.255.255.255:1", "01.2.3.4:5", "224.0.0.1:1")
	set(t, g, 3, "listener", rapid.SliceOfN(rapid.Custom(func(t *rapid.T) any {
		address := addresses.Draw(t, "listener")
		if rapid.IntRange(1, 3).Draw(t, "more of it?") > 1 {
			return address
		}
		l := group{"address": address}
		set(t, l, 2, "tls", flags())
		return l
	}), 1, 2))
	set(t, g, 3, "tls", rapid.SliceOfN(rapid.Custom(anyCertificate), 1, 3))
	set(t, g, 5, "http10", flags())
	set(t, g, 5, "debug_headers", flags())
	set(t, g, 4, "trusted_hops", mostly([]int{0, 1, 16}, 17, -1, 1<<31, 1<<32))
	set(t, extproc, 3, "message_timeout", durations())
	set(t, extproc, 3, "address", rapid.SliceOfN(mostly([]string{"127.0.0.1:1", "[::1]:2", "unix:/run/x", "unix:@x", "unix:x"}, "unix:", "unix:a\x00b", "unix: ", "127.0.0.1:0", "0.0.0.0:1", "[::]:1", "[fe80::1%eth0]:80"), 1, 3))
	set(t, extproc, 2, "session_affinity", flags())
	g["extproc"] = extproc
	if rapid.IntRange(1, 4).Draw(t, "tracing?") == 1 {
		tracing := group{"otlp": addresses.Draw(t, "otlp")}
		set(t, tracing, 2, "sample", mostly([]float64{0, 0.00001, 12.5, 100}, -0.1, 100.0001))
		g["tracing"] = tracing
	}
	return g
}

// writeCertificates writes the files that anyCertificate and anyPodTLS name.
func writeCertificates(t *testing.T, dir string) {
	t.Helper()
	ca := testtls.NewAuthority(t)
	ca.WriteCA(dir, "ca")
	hosts := []string{"chat.example.com", "*.example.com", "a_b"}
	ca.Write(dir, "good", testtls.Leaf{Hosts: hosts})
	ca.Write(dir, "other", testtls.Leaf{Hosts: hosts})
	ca.Write(dir, "old", testtls.Leaf{Hosts: hosts, From: time.Unix(0, 0), To: time.Unix(1, 0)})
	for name, bits := range map[string]int{"rsa": 2048, "weak": 1024} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		ca.Write(dir, name, testtls.Leaf{Hosts: hosts, Key: key})
	}
	for name, curve := range map[string]elliptic.Curve{"p224": elliptic.P224(), "p384": elliptic.P384(), "p521": elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		ca.Write(dir, name, testtls.Leaf{Hosts: hosts, Key: key})
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca.Write(dir, "ed", testtls.Leaf{Hosts: hosts, Key: key})
}

// pair draws a certificate and, as a rule, its key.
func pair(t *rapid.T, g group) {
	name := mostly([]string{"good", "rsa", "p384", "p521", "ed", "old", "other"}, "weak", "p224", "none").Draw(t, "certificate")
	g["cert"] = name + ".pem"
	g["key"] = mostly([]string{name}, "good", "ca").Draw(t, "key") + ".key"
}

func anyCertificate(t *rapid.T) group {
	g := group{}
	pair(t, g)
	set(t, g, 2, "hosts", rapid.SliceOfN(mostly([]string{"chat.example.com", "*.example.com", "A_b.", "x.example.com"}, "*", "", "example.com", "*.b.example.com", "a:1", "127.0.0.1"), 1, 2))
	return g
}

func anyPodTLS(t *rapid.T) group {
	g := group{}
	set(t, g, 1, "sni", mostly([]string{"chat.example.com", "Chat", "a_b"}, "", "*.example.com", "127.0.0.1", "::1", "a b", strings.Repeat("a.", 127)+"a"))
	set(t, g, 2, "ca", mostly([]string{"ca.pem", "good.pem", "old.pem"}, "good.key", "none.pem"))
	if rapid.IntRange(1, 2).Draw(t, "pair?") == 1 {
		pair(t, g)
	}
	return g
}

func anyService(t *rapid.T, i int) group {
	g := group{"name": fmt.Sprintf("%s%d", mostly([]string{"chat", "A", "a.b_c-"}, "", "-", "a/b", "ü", "stateful-route-x").Draw(t, "name"), i)}
	g["match"] = anyMatch(t, i)
	g["session"] = anySession(t)
	g["balancing"] = anyBalancing(t)
	set(t, g, 2, "protocol", mostly([]string{"http1", "http2", "grpc", "auto"}, "h2c"))
	set(t, g, 3, "tls", rapid.Custom(anyPodTLS))
	set(t, g, 3, "health_check", rapid.Custom(anyHealthCheck))
	set(t, g, 3, "connection_idle_timeout", durations())
	set(t, g, 3, "stream_idle_timeout", durations())
	set(t, g, 3, "request_timeout", durations())
	var pods []group
	for p := range rapid.IntRange(0, 4).Draw(t, "pods") {
		pod := group{
			"name":    fmt.Sprintf("%s-%d", mostly([]string{"pod", "<script>", "ü"}, "a\nb", "%a").Draw(t, "pod"), p),
			"address": fmt.Sprintf("%s:%d", mostly([]string{"127.0.0.1", "[::1]", "255.255.255.255", "[::ffff:1.2.3.4]", "224.0.0.1"}, "[fe80::1%eth0]", "0.0.0.0").Draw(t, "address"), 9000+p),
		}
		set(t, pod, 3, "weight", mostly([]int{1, 2, 1_000_000}, 0, -1, 1_000_001))
		set(t, pod, 3, "zone", texts())
		pods = append(pods, pod)
	}
	g["pods"] = group{"static": append([]group{}, pods...)}
	return g
}

func anyMatch(t *rapid.T, i int) group {
	g := group{"prefix": fmt.Sprintf("/%d%s", i, mostly([]string{"", "/", "/a", "//", "/%20", "/ü", "/a;b=c,d", "/{x}", "/*", "/a b", "/a\\b"}, "?", "#", "/..", "/.", "/a\nb", "/a\x00b", "/a\x7fb").Draw(t, "prefix"))}
	set(t, g, 6, "prefix", mostly([]string{"/"}, "", "x"))
	set(t, g, 3, "hosts", rapid.SliceOfN(mostly([]string{"*", "*.example.com", "chat.example.com", "Chat.Example.com.", "127.0.0.1", "a_b", "*.a"}, "", "*a", "a.*", "a:1", "[::1]", "*.*", ".", "a..b"), 1, 3))
	return g
}

func anySession(t *rapid.T) group {
	g := group{}
	sources := rapid.Custom(func(t *rapid.T) group {
		kind := mostly([]string{"header", "cookie", "query", "path", "jwt"}, "body").Draw(t, "kind")
		switch kind {
		case "path":
			return group{kind: mostly([]string{"^/rooms/([^/]+)", "(.*)"}, "(", "a").Draw(t, "pattern")}
		case "jwt":
			return group{kind: group{"header": texts().Draw(t, "header"), "claim": texts().Draw(t, "claim")}}
		}
		return group{kind: texts().Draw(t, "of")}
	})
	set(t, g, 2, "key", rapid.SliceOfN(sources, 1, 3))
	set(t, g, 5, "learn", rapid.SliceOfN(rapid.Custom(func(t *rapid.T) group {
		return group{rapid.SampledFrom([]string{"header", "cookie"}).Draw(t, "kind"): texts().Draw(t, "of")}
	}), 1, 2))
	if rapid.IntRange(1, 4).Draw(t, "issue?") == 1 {
		issue := group{"cookie": texts().Draw(t, "cookie")}
		set(t, issue, 2, "ttl", durations())
		set(t, issue, 4, "same_site", mostly([]string{"lax", "strict", "none"}, "Lax"))
		set(t, issue, 4, "partitioned", flags())
		set(t, issue, 4, "path", mostly([]string{"/"}, "", "/a", "/ü", "/a;b"))
		set(t, issue, 6, "domain", mostly([]string{"example.com"}, ".", "com", "a b"))
		g["issue"] = issue
	}
	set(t, g, 6, "end", rapid.SliceOfN(rapid.Custom(func(t *rapid.T) group {
		end := group{"method": mostly([]string{"DELETE", "POST"}, "delete", "").Draw(t, "method")}
		set(t, end, 2, "path", mostly([]string{"/end$", "é"}, "(", ""))
		return end
	}), 1, 2))
	set(t, g, 3, "idle_timeout", durations())
	set(t, g, 3, "on_pod_loss", mostly([]string{"rebind", "reject"}, "keep"))
	set(t, g, 3, "on_extproc_loss", mostly([]string{"allow", "deny"}, ""))
	set(t, g, 3, "epoch_header", flags())
	set(t, g, 3, "fast_path", flags())
	return g
}

func anyHealthCheck(t *rapid.T) group {
	g := group{}
	kind := mostly([]string{"http", "grpc"}, "tcp", "none").Draw(t, "kind")
	g[kind] = map[string]any{"http": "/healthz", "grpc": "", "tcp": true, "none": true}[kind]
	set(t, g, 3, "host", mostly([]string{"a.example", "a:1", "[::1]:1"}, "", "a b"))
	set(t, g, 3, "headers", rapid.Just(map[string]string{texts().Draw(t, "name"): texts().Draw(t, "value")}))
	return g
}

func anyBalancing(t *rapid.T) group {
	g := group{}
	set(t, g, 2, "strategy", mostly([]string{"home_hcl", "round_robin", "weighted_round_robin", "peak_ewma"}, "x"))
	set(t, g, 4, "max_connections", mostly([]int{0, 1, 1<<32 - 1}, -1, 1<<32))
	set(t, g, 4, "max_sessions", mostly([]int{0, 1, 1<<32 - 1}, -1))
	set(t, g, 2, "slow_start", durations())
	set(t, g, 4, "response_time_window", durations())
	return g
}
