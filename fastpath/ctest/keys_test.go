//go:build cgo && linux

package ctest

import (
	"bytes"
	"encoding/base64"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath/module"
	"github.com/stateful-route/stateful-route/sessionkey"
)

var differential = flag.Int("ctest.inputs", 100_000, "how many requests TestKeysAreThoseOfGo makes at random")

// comparison has what Go and C make of the same requests.
type comparison struct {
	tables *tables
	reader *sessionkey.Reader
	policy statefulroute.SessionPolicy
	found  map[module.Found]int
}

// set has both read by a policy; false for one that is refused.
func (c *comparison) set(t testing.TB, p statefulroute.SessionPolicy) bool {
	sources := p.Key
	if p.Issue != nil {
		sources = append(sources[:len(sources):len(sources)], statefulroute.SessionSource{Kind: statefulroute.FromCookie, Name: p.Issue.Name})
	}
	reader, err := sessionkey.NewReader(sources)
	if err != nil {
		return false
	}
	c.reader, c.policy = reader, p
	c.tables.policy(t, p)
	return true
}

// check compares one request, given as names and values.
func (c *comparison) check(t testing.TB, now int64, pairs ...string) {
	var h sessionkey.Headers
	var packed module.Headers
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, sessionkey.Header{Key: pairs[i], Value: pairs[i+1]})
		packed.Add(pairs[i], pairs[i+1])
	}
	keys, source := c.reader.Keys(h)
	key, found := c.tables.core.Key("chat", packed, now)
	c.found[found]++
	switch found {
	case module.OneKey:
		if len(keys) != 1 || key != c.plain(keys[0], source, now) || c.reader.TooLong(h) {
			t.Errorf("%+v, %q: C reads %q, Go %q", c.policy, pairs, key, keys)
		}
	case module.Several:
		if len(keys) < 2 || key != c.plain(keys[0], source, now) || c.reader.TooLong(h) {
			t.Errorf("%+v, %q: C reads %q and others, Go %q", c.policy, pairs, key, keys)
		}
	case module.NoKey:
		if len(keys) > 0 || c.reader.TooLong(h) {
			t.Errorf("%+v, %q: C reads no key, Go %q", c.policy, pairs, keys)
		}
	case module.NoPolicy:
		t.Errorf("%+v: C has no policy", c.policy)
	}
}

// plain is a key without the time at which its cookie ends, if it was issued with one; of
// one that is to be renewed, C may not answer at all.
func (c *comparison) plain(key string, source int, now int64) string {
	if c.policy.Issue == nil || source != len(c.policy.Key) {
		return key
	}
	id, stamp, _ := strings.Cut(key, ".")
	raw, bad := base64.RawURLEncoding.DecodeString(id)
	seconds, err := strconv.ParseUint(stamp, 16, 32)
	if bad != nil || err != nil || len(raw) != 24 || base64.RawURLEncoding.EncodeToString(raw)+"."+strconv.FormatUint(seconds, 16) != key || len(stamp) != 8 {
		return key
	}
	if c.policy.Issue.Renew && time.Duration(int64(seconds)-now)*time.Second < c.policy.Issue.TTL/2 {
		return "(to be renewed)"
	}
	return id
}

// random makes policies and requests of what their parts are made of.
type random struct{ *rand.Rand }

func (r random) of(texts ...string) string { return texts[r.IntN(len(texts))] }

func (r random) text(n int, parts ...string) string {
	var b strings.Builder
	for range r.IntN(n) {
		b.WriteString(r.of(parts...))
	}
	return b.String()
}

func (r random) source() statefulroute.SessionSource {
	switch r.IntN(6) {
	case 0:
		return statefulroute.SessionSource{Kind: statefulroute.FromHeader, Name: r.of("x-a", "X-B", "cookie")}
	case 1:
		return statefulroute.SessionSource{Kind: statefulroute.FromCookie, Name: r.of("a", "b", "sid")}
	case 2:
		return statefulroute.SessionSource{Kind: statefulroute.FromQuery, Name: r.of("a", "b c", "ü", "%41", "a+")}
	case 3:
		return statefulroute.SessionSource{Kind: statefulroute.FromHeader, Name: "host"}
	case 4:
		return statefulroute.SessionSource{Kind: "jwt", Params: map[string]string{"header": "authorization", "claim": "sub"}}
	}
	return statefulroute.SessionSource{Kind: statefulroute.FromPath, Name: r.pattern()}
}

// pattern is a regular expression with a group, which may be refused.
func (r random) pattern() string {
	atoms := []string{"a", "b", "/", ".", "[^/]", "[a-c]", `\w`, `\b`, `\B`, "^", "$", "(?i:k)", "(?i:Ü)", `\pL`, "(?m:^)", "(?m:$)", "(?s:.)", "x{2,3}", "(?:a|ab)", "(a|ab)(c|bcd)", `\x{fffd}`, "%", "\n"}
	suffix := []string{"", "", "", "*", "+", "?", "*?", "+?", "??", "{0,2}"}
	part := func() string {
		var b strings.Builder
		for range 1 + r.IntN(3) {
			b.WriteString(r.of(atoms...) + r.of(suffix...))
		}
		return b.String()
	}
	group := "(" + part() + r.of("", "|"+part()) + ")" + r.of(suffix...)
	return r.of("", "^", "^/", "/rooms/") + r.of("", part()) + group + r.of("", "", part(), "$")
}

func (r random) policy() statefulroute.SessionPolicy {
	var p statefulroute.SessionPolicy
	for range 1 + r.IntN(3) {
		p.Key = append(p.Key, r.source())
	}
	if r.IntN(4) == 0 {
		p.Issue = &statefulroute.IssuedCookie{Name: "issued", TTL: time.Duration(r.IntN(5000)) * time.Millisecond * 1000, Renew: r.IntN(2) == 0}
	}
	return p
}

func (r random) value() string {
	return r.text(8, "a", "b", "B", "c", "k", "K", "\u212a", "ü", "Ü", "\xff", "\xe2\x82", "😀", "%41", "%", "%4", "%zz", "%2F", "%e2%84%aa", "+", " ", "\t", "=", "&", ";", ",", "?", "#", "/", ".", ":", "]", "[", "_", "\n", "x", "xx", strings.Repeat("y", r.IntN(400)), strings.Repeat("%41", r.IntN(300)))
}

func (r random) stamped(now int64) string {
	id := base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf("%024d", r.IntN(5))))
	return id + r.of(".", ".", ".", "", "..") + r.of(strconv.FormatInt(now+int64(r.IntN(6000))-100, 16), "0"+strconv.FormatInt(now, 16), strings.ToUpper(strconv.FormatInt(now|0xabcdef, 16)), "")
}

func (r random) request(now int64) (pairs []string) {
	for range 1 + r.IntN(4) {
		switch r.IntN(6) {
		case 0:
			pairs = append(pairs, r.of("x-a", "x-b"), r.value())
		case 1:
			pairs = append(pairs, "cookie", r.of("", " ", "z; ")+r.of("a", "b", "sid", " a ", "A")+r.of("=", " = ", "")+r.value()+r.of("", ";", "; a=")+r.value())
		case 2:
			pairs = append(pairs, ":path", r.of("/", "/rooms/", "")+r.value()+r.of("", "?", "?a=", "?b+c=", "?%41=", "?a=1&a=", "?ü=", "?%c3%bc=", "#")+r.value()+r.of("", "&a=", "#")+r.value())
		case 3:
			pairs = append(pairs, ":authority", r.of("", "Room-1.example.com", "[::1]")+r.value()+r.of("", ":80", ".", ".:1"))
		case 4:
			pairs = append(pairs, "cookie", "issued="+r.stamped(now)+r.of("", "; issued="+r.stamped(now)))
		default:
			pairs = append(pairs, r.of("authorization", "x-c"), r.value())
		}
	}
	return pairs
}

// What C reads a request's session by is what Go reads it by, or it leaves the request to Go.
func TestKeysAreThoseOfGo(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := random{rand.New(rand.NewPCG(seed, 14))}
	c := &comparison{tables: newTables(t), found: map[module.Found]int{}}
	for inputs := 0; inputs < *differential && !t.Failed(); {
		if !c.set(t, r.policy()) {
			continue
		}
		for range 50 {
			now := 0x60000000 + r.Int64N(1<<28)
			c.check(t, now, r.request(now)...)
			inputs++
		}
	}
	t.Logf("%d requests: %d without a key, %d with one, %d with several, %d left to Go", *differential, c.found[module.NoKey], c.found[module.OneKey],
		c.found[module.Several], c.found[module.Left]+c.found[module.Callout])
	if c.found[module.OneKey] < *differential/8 || c.found[module.NoKey] < *differential/10 {
		t.Error("nearly all is left to Go")
	}
}

// FuzzKeys is the same for policies and requests that the fuzzer makes.
func FuzzKeys(f *testing.F) {
	f.Add(uint8(3), `^/rooms/([^/]+)`, "v", "a=b", "/rooms/a%20b?session=1", "Host:80")
	f.Add(uint8(2), "session", "v", "a=b", "/?session=%41+b&session=1#x", "host.")
	f.Add(uint8(1), "sid", "v", `sid="q"; sid=2`, "/", "")
	kinds := []statefulroute.SourceKind{statefulroute.FromHeader, statefulroute.FromCookie, statefulroute.FromQuery, statefulroute.FromPath}
	c := &comparison{tables: newTables(f), found: map[module.Found]int{}}
	f.Fuzz(func(t *testing.T, kind uint8, name, header, cookie, path, host string) {
		source := statefulroute.SessionSource{Kind: kinds[int(kind)%len(kinds)], Name: name}
		if len(name) > 1000 || !c.set(t, statefulroute.SessionPolicy{Key: []statefulroute.SessionSource{source}}) {
			return
		}
		c.check(t, 0, strings.ToLower(name), header, "cookie", cookie, ":path", path, ":authority", host)
	})
}

func TestBase64IsThatOfGo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const alphabet = "ABcd01+/-_ =\n\xff"
	for range 200_000 {
		raw := make([]byte, 1+r.IntN(48))
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		text := []byte(base64.StdEncoding.EncodeToString(raw))
		for range r.IntN(3) {
			text[r.IntN(len(text))] = alphabet[r.IntN(len(alphabet))]
		}
		want, err := base64.StdEncoding.DecodeString(string(text))
		if got := module.Base64(string(text)); err == nil && !strings.ContainsRune(string(text), '\n') && len(want) <= 44 {
			if !bytes.Equal(got, want) {
				t.Fatalf("%q: %q, want %q", text, got, want)
			}
		} else if len(got) > 0 {
			t.Fatalf("%q: %q, want nothing", text, got)
		}
	}
	if got := module.Base64(""); len(got) > 0 {
		t.Errorf("nothing is %q", got)
	}
}
