//go:build cgo && linux

// Package module lets tests ask the C core of Envoy's module what Envoy's threads ask it. No
// program of ours uses it: build.sh makes the module itself.
package module

/*
#cgo CFLAGS: -std=c11 -O2 -Wall -Wextra
#include <stdlib.h>

#include "account.h"
#include "decide.h"
#include "decode.h"
#include "learn.h"

// Headers as Go writes them: for each u32 + name, u32 + value.
static size_t packed_header(const headers *h, span name, size_t index, span *value) {
  const span *all = h->of;
  size_t count = 0;
  for (size_t at = 0; at < all->len;) {
    uint32_t n, v;
    memcpy(&n, all->ptr + at, 4);
    span key = {all->ptr + at + 4, n};
    memcpy(&v, all->ptr + at + 4 + n, 4);
    if (span_is(key, name.ptr, name.len) && count++ == index) *value = (span){all->ptr + at + 8 + n, v};
    at += 8 + n + v;
  }
  return count;
}

typedef struct {
  table *table;
  const char *why;
} core_opened;

static core_opened core_open(const char *path) {
  table *t = calloc(1, sizeof *t);
  static _Atomic uint64_t serial;
  const char *why = table_open(t, path);
  if (why) {
    free(t);
    return (core_opened){NULL, why};
  }
  t->serial = atomic_fetch_add(&serial, 1) + 1;
  reader_claim(t, monotonic_ns());
  return (core_opened){t, NULL};
}

static void core_close(table *t) {
  reader_release(t);
  table_close(t);
  free(t);
}

static int core_keys(const table *t, policy_cache *c, const char *service, size_t service_len, const char *packed, size_t len,
                     int64_t unix_seconds, char *key, size_t *key_len) {
  span all = {packed, len};
  headers h = {packed_header, &all};
  const policy *p = policy_of(c, t, (span){service, service_len});
  if (!p) return -1;
  session_key k;
  int r = keys_read(p, &h, unix_seconds, &k);
  if (r == KEY_ONE || r == KEY_SEVERAL) memcpy(key, k.text, *key_len = k.len);
  return r;
}

static uintptr_t core_policy(const table *t, policy_cache *c, const char *service, size_t service_len) {
  return (uintptr_t)policy_of(c, t, (span){service, service_len});
}

static verdict core_decide(const table *t, policy_cache *c, const char *service, size_t service_len, const char *packed, size_t len,
                           bool again) {
  span all = {packed, len};
  headers h = {packed_header, &all};
  request r = {{service, service_len}, &h, monotonic_ns(), 0, again};
  verdict v;
  decide(t, c, &r, &v);
  return v;
}

// core_served has a request without a session be answered by who is at an address, and end.
static void core_served(const table *t, verdict v, span at, int status, uint64_t response, uint64_t duration) {
  flight f = {.began = 1, .pod = v.pod.pod, .generation = v.pod.generation, .service = v.pinned ? 0 : v.policy->service, .method = v.method};
  account_begin(t, &f);
  account_served(t, &f, at);
  account_answer(t, &f, status, 1 + response);
  account_end(t, &f, 1 + duration);
}

typedef struct {
  char *message;
  size_t len;
  bool due;
} core_learned;

static core_learned core_learn(const table *t, policy_cache *c, const char *service, size_t service_len, const char *request, size_t request_len,
                               const char *response, size_t response_len, const char *upstream, size_t upstream_len) {
  span asked = {request, request_len}, answered = {response, response_len};
  headers from = {packed_header, &asked}, to = {packed_header, &answered};
  const policy *p = policy_of(c, t, (span){service, service_len});
  core_learned l = {NULL, 0, false};
  if (!p) return l;
  l.due = learn_due(p, &from, &to);
  l.message = learn_message(p, &from, &to, (span){upstream, upstream_len}, &l.len);
  return l;
}

// whole reports whether all digits of an address are the same, as they are in those of the hunt.
static bool whole(const bound_pod *pod) {
  for (uint32_t i = 1; i < pod->address_len; i++) {
    char c = pod->address[i];
    if (c != '.' && c != ':' && c != pod->address[0]) return false;
  }
  return true;
}

// core_hunt looks n sessions up, round after round, and counts the answers that no moment's table would give.
static void core_hunt(const table *t, const session_hash *hashes, size_t n, size_t rounds, uint64_t *hits, uint64_t *wrong) {
  for (size_t round = 0; round < rounds; round++) {
    uint64_t now = monotonic_ns();
    for (size_t i = 0; i < n; i++) {
      bound_pod pod;
      if (table_find(t, hashes[i], (use){now, 1}, true, &pod) != RESULT_HIT) continue;
      size_t number = (size_t)(pod.name[pod.name_len - 1] - '0');
      bool right = pod.name_len == 6 && (number == i % 3 || number == (i + 1) % 3) && whole(&pod);
      ++*(right ? hits : wrong);
    }
  }
}
*/
import "C"

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime"
	"time"
	"unsafe"
)

// Table is a table as the module has it open. It is one thread's at a time.
type Table struct {
	table    *C.table
	policies *C.policy_cache
	key      [256]byte
}

// Open maps a table, or says why the module would not.
func Open(path string) (*Table, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	opened := C.core_open(name)
	if opened.table == nil {
		return nil, errors.New(C.GoString(opened.why))
	}
	return &Table{table: opened.table, policies: C.policy_cache_new()}, nil
}

// Close unmaps it.
func (t *Table) Close() {
	C.policy_cache_free(t.policies)
	C.core_close(t.table)
}

// Found is what the core makes of the places where a request may name its session.
type Found int

// The values of Found.
const (
	NoPolicy Found = iota - 1
	NoKey
	OneKey
	Several // of which the first is told
	Left    // the callout looks at one that is long
	Callout // the policy wants it
)

// Headers are names in lower case, each followed by its value.
type Headers []byte

// Add adds a header.
func (h *Headers) Add(name, value string) {
	*h = binary.LittleEndian.AppendUint32(*h, uint32(len(name)))
	*h = append(*h, name...)
	*h = binary.LittleEndian.AppendUint32(*h, uint32(len(value)))
	*h = append(*h, value...)
}

// Key reads the key of a request that came at that second.
func (t *Table) Key(service string, h Headers, unixSeconds int64) (string, Found) {
	var n C.size_t
	found := C.core_keys(t.table, t.policies, (*C.char)(unsafe.Pointer(unsafe.StringData(service))), C.size_t(len(service)),
		(*C.char)(unsafe.Pointer(unsafe.SliceData(h))), C.size_t(len(h)), C.int64_t(unixSeconds),
		(*C.char)(unsafe.Pointer(&t.key[0])), &n)
	return string(t.key[:n]), Found(found)
}

// PolicyAt is where a service's policy is, as it was parsed; 0 for none.
func (t *Table) PolicyAt(service string) uintptr {
	return uintptr(C.core_policy(t.table, t.policies, (*C.char)(unsafe.Pointer(unsafe.StringData(service))), C.size_t(len(service))))
}

// Learned is whether extproc is to see a response from upstream, and what it is told: the
// body of a call of gRPC.
func (t *Table) Learned(service string, request, response Headers, upstream string) (message []byte, due bool) {
	text := func(b string) (*C.char, C.size_t) {
		return (*C.char)(unsafe.Pointer(unsafe.StringData(b))), C.size_t(len(b))
	}
	bytes := func(b Headers) (*C.char, C.size_t) {
		return (*C.char)(unsafe.Pointer(unsafe.SliceData(b))), C.size_t(len(b))
	}
	name, nameLen := text(service)
	asked, askedLen := bytes(request)
	answered, answeredLen := bytes(response)
	from, fromLen := text(upstream)
	l := C.core_learn(t.table, t.policies, name, nameLen, asked, askedLen, answered, answeredLen, from, fromLen)
	defer C.free(unsafe.Pointer(l.message))
	return C.GoBytes(unsafe.Pointer(l.message), C.int(l.len)), bool(l.due)
}

// Verdict is what becomes of a request.
type Verdict struct {
	Result  int // the index of its counter
	Skip    bool
	Address string // of the pod that it is pinned to
}

// Decide decides.
func (t *Table) Decide(service string, h Headers) Verdict { return t.decide(service, h, false) }

// DecideAgain decides of a request that has failed and begins anew.
func (t *Table) DecideAgain(service string, h Headers) Verdict { return t.decide(service, h, true) }

// Serve decides, and has whoever is at the upstream address answer so fast: a request that takes the callout
// ends there.
func (t *Table) Serve(service string, h Headers, upstream string, status int, response, duration time.Duration) (result int) {
	v := t.verdict(service, h, false)
	if v.skip {
		at := C.span{ptr: (*C.char)(unsafe.Pointer(unsafe.StringData(upstream))), len: C.size_t(len(upstream))}
		C.core_served(t.table, v, at, C.int(status), C.uint64_t(response), C.uint64_t(duration))
	}
	return int(v.result)
}

func (t *Table) verdict(service string, h Headers, again bool) C.verdict {
	v := C.core_decide(t.table, t.policies, (*C.char)(unsafe.Pointer(unsafe.StringData(service))), C.size_t(len(service)),
		(*C.char)(unsafe.Pointer(unsafe.SliceData(h))), C.size_t(len(h)), C.bool(again))
	runtime.KeepAlive(h)
	return v
}

func (t *Table) decide(service string, h Headers, again bool) Verdict {
	v := t.verdict(service, h, again)
	made := Verdict{Result: int(v.result), Skip: bool(v.skip)}
	if v.pinned {
		made.Address = C.GoStringN(&v.pod.address[0], C.int(v.pod.address_len))
	}
	return made
}

// SipHash is the core's hash of a text after a number of so many bytes.
func SipHash(key [2]uint64, prefix uint64, prefixLen int, text string) (lo, hi uint64) {
	h := C.siphash((*C.uint64_t)(unsafe.Pointer(&key[0])), C.uint64_t(prefix), C.size_t(prefixLen),
		unsafe.Pointer(unsafe.StringData(text)), C.size_t(len(text)))
	return uint64(h.lo), uint64(h.hi)
}

// Base64 is what the core makes of a text in base64; nil: it is none, or is of more than 44 bytes.
func Base64(text string) []byte {
	var to [44]byte
	n := C.decode_base64(C.span{ptr: (*C.char)(unsafe.Pointer(unsafe.StringData(text))), len: C.size_t(len(text))}, (*C.char)(unsafe.Pointer(&to[0])), C.size_t(len(to)))
	return bytes.Clone(to[:n])
}

// Bucket is the core's index of a time in a histogram, in nanoseconds.
func Bucket(ns uint64) int { return int(C.account_bucket(C.uint64_t(ns))) }

// Hunt looks sessions of a service up, over and over. The pods are chat-0 to chat-2, at
// addresses of one digit each, and session i is only ever bound to pod i or i+1, modulo
// three; wrong counts what cannot be.
func (t *Table) Hunt(service uint32, keys []string, rounds int) (hits, wrong uint64) {
	hashes := make([]C.session_hash, len(keys))
	for i, key := range keys {
		hashes[i] = C.table_hash(t.table, C.uint32_t(service), C.span{ptr: (*C.char)(unsafe.Pointer(unsafe.StringData(key))), len: C.size_t(len(key))})
	}
	var h, w C.uint64_t
	C.core_hunt(t.table, &hashes[0], C.size_t(len(keys)), C.size_t(rounds), &h, &w)
	return uint64(h), uint64(w)
}
