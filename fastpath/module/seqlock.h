/* How a reader takes what the writer may be writing: again, until nothing changed meanwhile. */
#ifndef STATEFUL_ROUTE_SEQLOCK_H
#define STATEFUL_ROUTE_SEQLOCK_H

#include <stdbool.h>
#include <stdint.h>

enum { SEQ_TRIES = 32 };

/* seq_begin returns an even number, or an odd one while the writer is at it. */
static inline uint32_t seq_begin(const char *seq) {
  return __atomic_load_n((const uint32_t *)(const void *)seq, __ATOMIC_ACQUIRE);
}

/* seq_same reports whether what was read since seq_begin belongs together. */
static inline bool seq_same(const char *seq, uint32_t begin) {
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
  return (begin & 1) == 0 && __atomic_load_n((const uint32_t *)(const void *)seq, __ATOMIC_RELAXED) == begin;
}

#endif
