package sessionkey

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTableKeyOfLongKeys(t *testing.T) {
	long := strings.Repeat("k", keptBytes)
	hash := func(key string) string {
		sum := sha256.Sum256([]byte(key))
		return hashMark + hex.EncodeToString(sum[:])
	}
	for key, want := range map[string]string{
		"":                           "",
		"a":                          "a",
		long:                         long,
		long + "k":                   long + hash(long+"k"),
		long + "l":                   long + hash(long+"l"),
		long[2:] + "üü":              long[2:] + "ü" + hash(long[2:]+"üü"),
		long[1:] + "🔑":               long[1:] + hash(long[1:]+"🔑"),
		long + hash(long+"k"):        long + hash(long+hash(long+"k")), // a client's own text is no short cut
		strings.Repeat("\x80", 1000): strings.Repeat("\x80", keptBytes-utf8.UTFMax) + hash(strings.Repeat("\x80", 1000)),
	} {
		got := TableKey(key)
		if got != want {
			t.Errorf("%.300q: got %q, want %q", key, got, want)
		}
		if !IsTableKey(got) || IsTableKey(key) != (len(key) <= keptBytes || strings.Contains(key, hashMark)) {
			t.Errorf("%.300q: is a table key: %v; %q: %v", key, IsTableKey(key), got, IsTableKey(got))
		}
	}
}

// A long id is one key wherever it travels, and a pod that repeats one in another
// spelling has not created it.
func TestLongKeysOfRequestsAndResponses(t *testing.T) {
	r, err := NewReader(allSources)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("Key-", 10<<10)
	in := raw("x-session-id", long)
	keys, _ := r.Keys(in)
	if !slices.Equal(keys, []string{TableKey(long)}) || r.TooLong(in) {
		t.Errorf("got %d keys, the first %.300q", len(keys), keys)
	}
	if got, _ := r.Keys(raw(":path", "/rooms/"+strings.ReplaceAll(long, "-", "%2D"))); !slices.Equal(got, keys) {
		t.Error("a long id in a path is another key")
	}
	carried := r.Carried(in)
	for _, c := range carried {
		if len(c) > 2*keptBytes {
			t.Errorf("%d bytes are carried until the response", len(c))
		}
	}
	for id, want := range map[string]bool{long: true, strings.ToUpper(long): true, strings.ReplaceAll(long, "-", ""): true, long + "k": false, long[4:]: false} {
		if carried.Names(id) != want {
			t.Errorf("the request names %.10s… of %d bytes: %v, want %v", id, len(id), !want, want)
		}
	}
	if ids, tooLong := r.Learned(raw("x-session-id", long), t0); !slices.Equal(ids, []string{long}) || tooLong != 0 {
		t.Errorf("learned %d ids, %d too long", len(ids), tooLong)
	}
}

func TestKeysThatAreTooLong(t *testing.T) {
	r, err := NewReader(append(allSources[:4:4], claimSource("authorization", "sub")))
	if err != nil {
		t.Fatal(err)
	}
	most := strings.Repeat("k", MaxKey)
	for name, c := range map[string]struct {
		request Headers
		want    bool
	}{
		"header":           {raw("x-session-id", most+"k"), true},
		"longest":          {raw("x-session-id", most), false},
		"cookie":           {raw("cookie", "a=b; sid="+most+"k"), true},
		"another cookie":   {raw("cookie", "x="+most+"k; sid=a"), false},
		"path":             {raw(":path", "/rooms/"+most+"k"), true},
		"query":            {raw(":path", "/?session="+most+"k"), true},
		"longer undecoded": {raw(":path", "/?session="+strings.Repeat("%20", MaxKey)), false},
		"claim":            {raw("authorization", unverified(`{"sub":"`+most+`k"}`)), true},
	} {
		if got := r.TooLong(c.request); got != c.want {
			t.Errorf("%s: too long: %v, want %v", name, got, c.want)
		}
	}
	if ids, tooLong := r.Learned(raw("x-session-id", most+"k", "set-cookie", "sid=a"), t0); len(ids) != 1 || tooLong != 1 {
		t.Errorf("learned %d ids, %d too long", len(ids), tooLong)
	}
}
