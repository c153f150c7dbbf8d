/* Lookups of sessions, pods and services: each of a few words that are read while they may be written. */
#include "seqlock.h"
#include "table.h"

session_hash table_hash(const table *t, uint32_t service, span key) {
  hash128 h = siphash(t->hash_key, service, 4, key.ptr, key.len);
  return (session_hash){h.lo, (uint32_t)h.hi};
}

static uint64_t scale(uint64_t x, uint64_t n) { return (uint64_t)(((unsigned __int128)x * n) >> 64); }

static char *bucket_of(const table *t, session_hash h, int which) {
  uint64_t x = h.a;
  if (which == 1) {
    x += (uint64_t)h.b * 0x9e3779b97f4a7c15ull;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93ull;
    x ^= x >> 32;
  }
  return t->buckets + scale(x, t->bucket_count) * BUCKET_SIZE;
}

/* An entry is where a session was found, and as what. */
typedef struct {
  char *bucket;
  uint32_t seq, pod, use; /* pod is its number + 1 */
  int index;
} entry;

/* in_bucket looks for h in one bucket. RESULT_BUSY: nothing can be said of it. */
static result in_bucket(char *bucket, session_hash h, entry *e) {
  for (int tries = 0; tries < SEQ_TRIES; tries++) {
    uint32_t seq = seq_begin(bucket + B_SEQ);
    e->index = -1;
    for (int i = 0; i < BUCKET_ENTRIES; i++) {
      const char *words = bucket + B_HASHES + i * 12;
      uint64_t a = load32(words) | (uint64_t)load32(words + 4) << 32;
      uint32_t b = load32(words + 8), pod = load32(bucket + B_PODS + i * 4);
      if (a == h.a && b == h.b && pod != 0) {
        *e = (entry){bucket, seq, pod, load32(bucket + B_USES + i * 4), i};
        break;
      }
    }
    if (seq_same(bucket + B_SEQ, seq)) return e->index < 0 ? RESULT_UNKNOWN : RESULT_HIT;
  }
  return RESULT_BUSY;
}

static result find(const table *t, session_hash h, entry *e) {
  /* An entry that is displaced is copied to its other bucket, then cleared: who looks in the first,
     then in the second, may miss one that moves the other way. So the first is looked at again. */
  char *first = bucket_of(t, h, 0);
  result r = in_bucket(first, h, e);
  if (r != RESULT_UNKNOWN) return r;
  r = in_bucket(bucket_of(t, h, 1), h, e);
  return r == RESULT_UNKNOWN ? in_bucket(first, h, e) : r;
}

enum { MAX_UNITS = 1 << 15, MAX_AHEAD = 4 };

static uint32_t units(const table *t, uint64_t now) { return (uint32_t)((now - t->created) / USE_UNIT_NS) & 0xffff; }

/* mark notes the use of an entry. It loses no count to other readers; extproc, which takes the
   counts, is one more of them. A writer that gave the entry away meanwhile may have another session
   be used once more, which harms nobody. */
static void mark(const table *t, const entry *e, use u) {
  uint32_t *word = (uint32_t *)(void *)(e->bucket + B_USES + e->index * 4), old = e->use, when = units(t, u.now);
  for (int tries = 0; tries < SEQ_TRIES; tries++) {
    uint32_t sum = (old & 0xffff) + u.requests;
    if (sum > 0xffff) sum = 0xffff;
    if (!seq_same(e->bucket + B_SEQ, e->seq)) return;
    if (__atomic_compare_exchange_n(word, &old, when << 16 | sum, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) return;
  }
}

static void copy_words(const char *from, char *to, size_t len) {
  for (size_t i = 0; i < len; i += 4) {
    uint32_t word = load32(from + i);
    memcpy(to + i, &word, len - i < 4 ? len - i : 4);
  }
}

/* read_pod reads what a request needs of a pod: one cache line, and its name for some. */
static result read_pod(const char *p, bool with_name, bound_pod *to, uint32_t *idle) {
  for (int tries = 0; tries < SEQ_TRIES; tries++) {
    uint32_t seq = seq_begin(p + P_SEQ), state = load32(p + P_STATE), lengths = load32(p + P_ADDRESS_LEN);
    *idle = load32(p + P_IDLE_UNITS);
    to->generation = load32(p + P_GENERATION);
    to->address_len = lengths & 0xffff;
    to->name_len = lengths >> 16;
    copy_words(p + P_ADDRESS, to->address, P_ADDRESS_MAX);
    if (with_name && to->name_len <= P_NAME_MAX) copy_words(p + P_NAME, to->name, to->name_len);
    if (!seq_same(p + P_SEQ, seq)) continue;
    bool whole = to->address_len > 0 && to->address_len <= P_ADDRESS_MAX && to->name_len > 0 && to->name_len <= P_NAME_MAX;
    return whole && (state & POD_SERVING) ? RESULT_HIT : RESULT_POD;
  }
  return RESULT_BUSY;
}

result table_find(const table *t, session_hash h, use u, bool with_name, bound_pod *found) {
  entry e;
  result r = find(t, h, &e);
  if (r != RESULT_HIT) return r;
  if (e.pod > t->pod_count) return RESULT_POD;
  found->pod = e.pod - 1;
  uint32_t idle;
  if ((r = read_pod(table_pod(t, found->pod), with_name, found, &idle)) != RESULT_HIT) return r;
  uint32_t age = (units(t, u.now) - (e.use >> 16)) & 0xffff; /* one whose clock was read later may have been here before */
  if (age > 0xffff - MAX_AHEAD) age = 0;
  if (age >= MAX_UNITS || (idle != 0 && age > idle)) return RESULT_IDLE;
  mark(t, &e, u);
  return RESULT_HIT;
}

void table_touch(const table *t, session_hash h, uint64_t now) {
  entry e;
  if (find(t, h, &e) == RESULT_HIT) mark(t, &e, (use){now, 0});
}

/* word_at are the eight bytes of a text from one on, with zeros after its end. */
static uint64_t word_at(span text, size_t from) {
  uint64_t word = 0;
  if (text.len < sizeof word) {
    for (size_t i = from; i < text.len; i++) word |= (uint64_t)(unsigned char)text.ptr[i] << 8 * (i - from);
    return word;
  }
  size_t last = text.len - sizeof word, at = from < last ? from : last;
  memcpy(&word, text.ptr + at, sizeof word);
  return word >> 8 * (from - at);
}

/* address_hash need not be a good one: no client has a say in where pods are. */
static uint64_t address_hash(uint32_t service, span address) {
  uint64_t h = service;
  for (size_t i = 0; i < address.len; i += 8) {
    h = (h ^ word_at(address, i)) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 32;
  }
  h *= 0xd6e8feb86659fd93ull; /* what comes last is in the upper half alone */
  return h ^ h >> 32;
}

/* is_at reports whether a record is that of the service's pod at an address. */
static bool is_at(const char *p, uint32_t service, span address, uint32_t *generation) {
  for (int tries = 0; tries < SEQ_TRIES; tries++) {
    uint32_t seq = seq_begin(p + P_SEQ);
    *generation = load32(p + P_GENERATION);
    bool same = load32(p + P_SERVICE) == service && (load32(p + P_ADDRESS_LEN) & 0xffff) == address.len;
    for (size_t i = 0; same && i < address.len; i += 4) same = load32(p + P_ADDRESS + i) == (uint32_t)word_at(address, i);
    if (seq_same(p + P_SEQ, seq)) return same;
  }
  return false;
}

bool table_pod_at(const table *t, uint32_t service, span address, uint32_t *pod, uint32_t *generation) {
  if (address.len == 0 || address.len > P_ADDRESS_MAX) return false;
  uint64_t hash = address_hash(service, address);
  for (uint32_t i = 0; i < t->address_slots; i++) {
    uint32_t there = load32(t->addresses + (size_t)((hash + i) & (t->address_slots - 1)) * 4);
    if (there == 0 || there > t->pod_count) return false;
    *pod = there - 1;
    if (is_at(table_pod(t, *pod), service, address, generation)) return true;
  }
  return false;
}

/* service_slot finds the slot that has a service's hash; the policy itself names the service. */
static char *service_slot(const table *t, span service) {
  uint64_t hash = siphash(t->hash_key, 0, 0, service.ptr, service.len).lo;
  if (hash == 0) hash = 1;
  for (uint32_t i = 0; i < t->service_slots; i++) {
    char *slot = t->services + (size_t)((hash + i) & (t->service_slots - 1)) * SERVICE_SLOT_SIZE;
    uint64_t there = load64(slot + S_HASH);
    if (there == hash) return slot;
    if (there == 0) return NULL;
  }
  return NULL;
}

static bool read_slot(const table *t, const char *slot, policy_ref *ref) {
  for (int tries = 0; tries < SEQ_TRIES; tries++) {
    uint32_t seq = seq_begin(slot + S_SEQ);
    ref->len = load32(slot + S_POLICY_LEN);
    ref->off = load64(slot + S_POLICY_OFF);
    ref->version = load64(slot + S_POLICY_VERSION);
    if (!seq_same(slot + S_SEQ, seq)) continue;
    return ref->len > 0 && ref->off >= t->arena_off && ref->off - t->arena_off <= t->arena_size &&
           ref->len <= t->arena_size - (ref->off - t->arena_off);
  }
  return false;
}

bool table_policy(const table *t, span service, policy_ref *ref) {
  char *slot = service_slot(t, service);
  if (slot) ref->slot = (uint32_t)((size_t)(slot - t->services) / SERVICE_SLOT_SIZE);
  return slot && read_slot(t, slot, ref);
}

bool table_copy(const table *t, span service, const policy_ref *ref, char *to) {
  for (uint32_t i = 0; i < ref->len; i++) to[i] = __atomic_load_n(t->base + ref->off + i, __ATOMIC_RELAXED);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  policy_ref now;
  return table_policy(t, service, &now) && now.version == ref->version && now.off == ref->off && now.len == ref->len;
}
