/* A process that acts on a table says so in it, and that it is alive. */
#define _GNU_SOURCE
#include <unistd.h>

#include "table.h"

static char *slot_of(const table *t, uint32_t slot) { return t->base + H_READERS + (size_t)slot * READER_SIZE; }

static uint32_t *word(char *at) { return (uint32_t *)(void *)at; }

static void beat(char *slot, uint64_t now) {
  __atomic_store_n((uint64_t *)(void *)(slot + R_HEARTBEAT), now, __ATOMIC_RELAXED);
}

bool reader_is_ours(const table *t, uint64_t reader) {
  char *slot = slot_of(t, (uint32_t)reader);
  return load32(slot + R_PID) != 0 && load32(slot + R_GENERATION) == (uint32_t)(reader >> 32);
}

bool reader_claim(table *t, uint64_t now) {
  for (uint32_t i = 0; i < READERS; i++) {
    char *slot = slot_of(t, i);
    uint32_t none = 0;
    if (load32(slot + R_PID) != 0) continue;
    beat(slot, now);
    if (!__atomic_compare_exchange_n(word(slot + R_PID), &none, (uint32_t)getpid(), false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) continue;
    uint32_t generation = __atomic_add_fetch(word(slot + R_GENERATION), 1, __ATOMIC_ACQ_REL);
    atomic_store(&t->reader, (uint64_t)generation << 32 | i);
    return true;
  }
  atomic_store(&t->reader, READERS);
  return false;
}

/* reader_beat says that we are alive. One that was stopped for long may find that extproc has given
   its slot up: it takes another. */
void reader_beat(table *t, uint64_t now) {
  uint64_t reader = atomic_load(&t->reader);
  if ((uint32_t)reader >= READERS || !reader_is_ours(t, reader)) {
    reader_claim(t, now);
    return;
  }
  beat(slot_of(t, (uint32_t)reader), now);
}

void reader_release(table *t) {
  uint64_t reader = atomic_load(&t->reader);
  if ((uint32_t)reader < READERS && reader_is_ours(t, reader))
    __atomic_store_n(word(slot_of(t, (uint32_t)reader) + R_PID), 0, __ATOMIC_RELEASE);
  atomic_store(&t->reader, READERS);
}
