package store

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	statefulroute "github.com/stateful-route/stateful-route"
)

// plain is a scale that is Unix time.
var plain = scale{moment: moment{at: time.Unix(0, 0)}}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringOfN(rapid.Rune(), 0, 2000, 4096))
		moment := rapid.Int64Range(math.MinInt64/2, math.MaxInt64/2)
		want := statefulroute.Binding{
			Service: text.Draw(t, "service"), Key: text.Draw(t, "key"),
			Pod: text.Draw(t, "pod"), PreviousPod: text.Draw(t, "previous"),
			Created:  time.Unix(0, moment.Draw(t, "created")),
			LastSeen: time.Unix(0, moment.Draw(t, "seen")),
			Requests: rapid.Uint64().Draw(t, "requests"),
			Epoch:    rapid.Uint64().Draw(t, "epoch"),
		}
		key := recordKey(want.Service, want.Key)
		got, err := newDecoder().decode(key, recordValue(key, &want, &plain))
		if err != nil || got != want {
			t.Fatalf("got %+v, %v, want %+v", got, err, want)
		}
	})
}

func TestAChangedRecordIsRefused(t *testing.T) {
	b := binding(7)
	key := recordKey(b.Service, b.Key)
	value := recordValue(key, &b, &plain)
	for i := range value {
		bad := bytes.Clone(value)
		bad[i] ^= 0x10
		if _, err := newDecoder().decode(key, bad); err == nil {
			t.Fatalf("byte %d changed unnoticed", i)
		}
		if _, err := newDecoder().decode(key, value[:i]); err == nil {
			t.Fatalf("cut to %d bytes unnoticed", i)
		}
	}
	other := recordKey(b.Service, b.Key+"x")
	if _, err := newDecoder().decode(other, value); err == nil {
		t.Fatal("the record of another key was read")
	}
}

// FuzzDecode feeds what a file may hold. Whatever is accepted must be what
// encoding it gives again.
func FuzzDecode(f *testing.F) {
	b := binding(7)
	b.PreviousPod = "chat-2"
	key := recordKey(b.Service, b.Key)
	value := recordValue(key, &b, &plain)
	f.Add(key, value[:len(value)-4])
	f.Add([]byte{}, []byte{recordVersion})
	f.Add(key, append([]byte{withoutEpoch}, binary.AppendUvarint(binary.AppendVarint(binary.AppendVarint(nil, 5e18), 6e18), 7)...))
	f.Add(key, append([]byte{withoutEpoch, 0, 0, 1}, "\x01a\x00"...))
	f.Add([]byte{200, 1}, []byte{2, 0, 0})
	f.Fuzz(func(t *testing.T, key, content []byte) {
		if _, err := newDecoder().decode(key, content); err == nil {
			t.Log("a right checksum by itself: not wrong, but very unlikely")
		}
		sealed := bytes.Clone(content)
		sum := checksum(key, content)
		sealed = append(sealed, byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
		got, err := newDecoder().decode(key, sealed)
		if err != nil {
			return
		}
		k := recordKey(got.Service, got.Key)
		again, err := newDecoder().decode(k, recordValue(k, &got, &plain))
		if err != nil || again != got {
			t.Fatalf("%+v became %+v, %v", got, again, err)
		}
	})
}
