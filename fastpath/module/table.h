/* A table's file in memory: validated once, then read without locks while extproc writes to it. */
#ifndef STATEFUL_ROUTE_TABLE_H
#define STATEFUL_ROUTE_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "siphash.h"
#include "span.h"

/* What came of a request: the counters of the table, in their order. */
typedef enum {
  RESULT_HIT = 0,
  RESULT_UNKEYED,
  RESULT_UNKNOWN,
  RESULT_NO_KEY,
  RESULT_POLICY,
  RESULT_KEYS,
  RESULT_POD,
  RESULT_BUSY,
  RESULT_LEASE,
  RESULT_TRACED,
  RESULT_IDLE,
  RESULT_AGAIN, /* a hit or unkeyed, for the second time */
  RESULTS
} result;

enum { USE_STRIPES = 16 };

/* A table is what was found right when the file was opened; of the file's header nothing that an
   index is computed from is read again. */
typedef struct {
  char *base;
  size_t size;
  uint64_t hash_key[2];
  uint64_t bucket_count, created;
  char *buckets, *pods, *services, *addresses, *arena;
  uint64_t arena_off, arena_size;
  uint32_t pod_count, service_slots, address_slots;
  _Atomic uint64_t reader;  /* generation << 32 | our slot among the readers, which is READERS for none */
  uint64_t serial;          /* of all tables that this process opened */
  uint64_t device, inode;   /* of the file */
  _Atomic bool broken;      /* the file was cut short under us: there are zeros instead */
} table;

typedef struct {
  uint64_t a;
  uint32_t b;
} session_hash;

/* What a lookup found: a session's pod. */
typedef struct {
  uint32_t pod, generation;
  uint32_t address_len, name_len;
  char address[P_ADDRESS_MAX];
  char name[P_NAME_MAX];
} bound_pod;

/* How a service's slot names its policy. */
typedef struct {
  uint64_t version, off;
  uint32_t len, slot;
} policy_ref;

/* table_open maps a file; NULL on success, else why not. */
const char *table_open(table *t, const char *path);
/* table_adopt validates size bytes at base, as table_open does. */
const char *table_adopt(table *t, char *base, size_t size);
void table_close(table *t);

/* table_serving reports whether the table may be acted on at that moment, of CLOCK_MONOTONIC. */
bool table_serving(const table *t, uint64_t now, result *why);
uint32_t table_state(const table *t);
uint32_t table_flags(const table *t);

session_hash table_hash(const table *t, uint32_t service, span key);
/* A use of a session is a moment and how many requests it is. */
typedef struct {
  uint64_t now;
  uint32_t requests;
} use;

/* table_find looks a session up and, found, marks it used. with_name: the pod's name is needed as well. */
result table_find(const table *t, session_hash h, use u, bool with_name, bound_pod *found);
/* table_touch says that a session is in use, without counting a request. */
void table_touch(const table *t, session_hash h, uint64_t now);

/* table_pod_at finds the pod of a service that is at an address, as Envoy writes it. */
bool table_pod_at(const table *t, uint32_t service, span address, uint32_t *pod, uint32_t *generation);

bool table_policy(const table *t, span service, policy_ref *ref);
/* table_copy copies a policy; false when the slot has another one by now. */
bool table_copy(const table *t, span service, const policy_ref *ref, char *to);

/* Our slot among the readers: nobody without one acts on the table, for its requests could not be counted. */
bool reader_claim(table *t, uint64_t now);
void reader_beat(table *t, uint64_t now);
void reader_release(table *t);
bool reader_is_ours(const table *t, uint64_t reader);

void table_count(const table *t, uint32_t worker, result r);

static inline uint64_t load64(const char *p) { return __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED); }
static inline uint32_t load32(const char *p) { return __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED); }
static inline void add64(char *p, uint64_t n) { __atomic_fetch_add((uint64_t *)(void *)p, n, __ATOMIC_RELAXED); }
static inline void add32(char *p, uint32_t n) { __atomic_fetch_add((uint32_t *)(void *)p, n, __ATOMIC_RELAXED); }

static inline char *table_pod(const table *t, uint32_t pod) { return t->pods + (size_t)pod * POD_SIZE; }

uint64_t monotonic_ns(void);

#endif
