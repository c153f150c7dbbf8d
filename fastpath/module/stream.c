/* Memory of streams: a thread's own, kept for its next ones, and read by the thread that looks after all. */
#include <stdlib.h>

#include "follow.h"

enum { CHUNK_STREAMS = 128 };
#define LONG_NS 2000000000ull

struct chunk {
  struct chunk *next;
  stream streams[CHUNK_STREAMS];
};

static worker *_Atomic workers;
static _Atomic uint32_t worker_ids;
static _Thread_local worker *self;

worker *worker_self(void) {
  if (self) return self;
  worker *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->policies = policy_cache_new();
  w->id = atomic_fetch_add(&worker_ids, 1);
  w->next = atomic_load(&workers);
  while (!atomic_compare_exchange_weak(&workers, &w->next, w)) {
  }
  return self = w;
}

static bool grow(worker *w) {
  struct chunk *c = calloc(1, sizeof *c);
  if (!c) return false;
  for (int i = 0; i < CHUNK_STREAMS; i++) {
    c->streams[i].owner = w;
    c->streams[i].next = w->free;
    w->free = &c->streams[i];
  }
  c->next = atomic_load_explicit(&w->chunks, memory_order_relaxed);
  atomic_store_explicit(&w->chunks, c, memory_order_release);
  return true;
}

stream *stream_new(worker *w) {
  if (!w || (!w->free && !grow(w))) return NULL;
  stream *s = w->free;
  w->free = s->next;
  s->next = NULL;
  s->counted = s->pinned = s->local = s->hooked = s->asking = s->answered = s->failed = s->again = s->anew = s->elsewhere = false;
  s->retry = RETRY_NEVER;
  s->learns = NULL;
  return s;
}

void stream_free(stream *s) {
  if (s->owner != self) return; /* cannot be: Envoy ends a stream in the thread that began it */
  s->next = s->owner->free;
  s->owner->free = s;
}

static void touch(stream *s, uint64_t now) {
  if (!atomic_load_explicit(&s->open, memory_order_acquire)) return;
  uint64_t since = atomic_load_explicit(&s->since, memory_order_relaxed);
  if (now < since || now - since < LONG_NS) return;
  session_hash h = {atomic_load_explicit(&s->hash_a, memory_order_relaxed), atomic_load_explicit(&s->hash_b, memory_order_relaxed)};
  table_touch(&atomic_load_explicit(&s->table, memory_order_relaxed)->t, h, now);
}

void stream_touch_all(uint64_t now) {
  for (worker *w = atomic_load(&workers); w; w = w->next) {
    for (struct chunk *c = atomic_load_explicit(&w->chunks, memory_order_acquire); c; c = c->next) {
      for (int i = 0; i < CHUNK_STREAMS; i++) touch(&c->streams[i], now);
    }
  }
}
