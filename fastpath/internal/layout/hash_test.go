package layout

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// The key of SipHash's published vectors: bytes 0 to 15.
var vectorKey = [2]uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908}

// The vectors are those of Rust's siphasher, sip128 with SipHasher13, for the bytes 0, 1, 2 …
func TestSipHashOfVectors(t *testing.T) {
	for n, want := range []string{"e77ebcb22788a5befd62db6add303001", "fc6f370460d3eda85e0573cc2b2ff063"} {
		text := string([]byte{0, 1, 2, 3}[:n])
		lo, hi := SipHash(vectorKey, 0, 0, text)
		if got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, lo), hi); hex.EncodeToString(got) != want {
			t.Errorf("%d bytes: %x, want %s", n, got, want)
		}
	}
}

// A prefix is the beginning of the text, whatever the lengths of both.
func TestSipHashOfAPrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "text"))
		n := rapid.IntRange(0, min(7, len(text))).Draw(t, "prefix")
		lo, hi := SipHash(vectorKey, 0, 0, text)
		if l, h := SipHash(vectorKey, word(text[:n]), n, text[n:]); l != lo || h != hi {
			t.Fatalf("%x %x with the prefix apart, %x %x without", l, h, lo, hi)
		}
		if l, h := SipHash(vectorKey, 0, 0, text+"\x00"); l == lo && h == hi {
			t.Fatal("a zero more changes nothing")
		}
	})
}

// Hashes spread over both buckets.
func TestBucketsAreEvenlyUsed(t *testing.T) {
	const n, each = 64, 1000
	var used [2][n]int
	for i := range n * each {
		b := SessionHash(vectorKey, 1, "session-"+strconv.Itoa(i)).Buckets(n)
		used[0][b[0]]++
		used[1][b[1]]++
	}
	for which := range used {
		for b, count := range used[which] {
			if count < each*8/10 || count > each*12/10 {
				t.Errorf("bucket %d as choice %d: %d of %d hashes", b, which, count, n*each)
			}
		}
	}
}

// Addresses that differ in little are spread over a table's slots.
func TestAddressHashSpreads(t *testing.T) {
	for name, address := range map[string]func(int) string{
		"by port":          func(i int) string { return fmt.Sprintf("127.0.0.1:%d", 10000+i) },
		"by the last byte": func(i int) string { return fmt.Sprintf("10.0.%d.%d:8080", i/250, i%250) },
		"IPv6":             func(i int) string { return fmt.Sprintf("[fd00:1:2:3::%x]:80", i) },
	} {
		for _, slots := range []uint64{1 << 12, 1 << 16} {
			taken := map[uint64]int{}
			for i := range 1000 {
				for service := range uint32(2) {
					taken[AddressHash(service, address(i))%slots]++
				}
			}
			// Of 2,000 at random 1,582 and 1,970 are the first in their slot.
			if want := map[uint64]int{1 << 12: 1500, 1 << 16: 1900}[slots]; len(taken) < want {
				t.Errorf("%s: 2000 addresses in %d of %d slots", name, len(taken), slots)
			}
		}
	}
}
