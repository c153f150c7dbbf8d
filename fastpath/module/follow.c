#define _GNU_SOURCE
#include "follow.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "guard.h"

enum { TABLES = 32, NONE = -1, TICK_MS = 20, TOUCH_TICKS = 200 };

/* Of the tables all but the current one are there for streams that began with them. */
struct follower {
  char *path;
  int users;
  _Atomic int current;
  bool mapped[TABLES];
  follower *next;
  held tables[TABLES];
};

/* What the hooks of a configuration's life and the thread share; no request takes the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static follower *followers;
static bool running;

/* A worker says that it uses a table, then looks whether it is still the current one; the thread makes
   another one current, then looks whether it is used. So one of them sees the other. */
held *follow_hold(follower *f, uint32_t worker) {
  for (int tries = 0; tries < 4; tries++) {
    int i = atomic_load(&f->current);
    if (i == NONE) return NULL;
    held *h = &f->tables[i];
    atomic_fetch_add(&h->uses[worker % USE_STRIPES].count, 1);
    if (atomic_load(&f->current) == i) return h;
    atomic_fetch_sub(&h->uses[worker % USE_STRIPES].count, 1);
  }
  return NULL;
}

void follow_release(held *h, uint32_t worker) { atomic_fetch_sub(&h->uses[worker % USE_STRIPES].count, 1); }

static bool used(held *h) {
  for (int i = 0; i < USE_STRIPES; i++) {
    if (atomic_load(&h->uses[i].count) != 0) return true;
  }
  return false;
}

static void unmap(follower *f, int i) {
  reader_release(&f->tables[i].t);
  table_close(&f->tables[i].t);
  f->mapped[i] = false;
}

/* take_over maps what is at the path, when that is a live table, and makes it the current one. */
static void take_over(follower *f, uint64_t now) {
  static uint64_t serial; /* under the lock */
  int i = 0;
  while (i < TABLES && f->mapped[i]) i++;
  if (i == TABLES) return;
  table *t = &f->tables[i].t;
  if (table_open(t, f->path) != NULL) return;
  f->mapped[i] = true;
  if (table_state(t) != STATE_LIVE || !reader_claim(t, now)) {
    unmap(f, i);
    return;
  }
  t->serial = ++serial;
  atomic_store(&f->current, i);
}

static bool good(table *t) { return table_state(t) == STATE_LIVE && !atomic_load(&t->broken); }

/* look_after finds the table at the path. A file that was removed is one that nobody vouches for. */
static void look_after(follower *f, uint64_t now) {
  int current = atomic_load(&f->current);
  struct stat st;
  bool there = stat(f->path, &st) == 0;
  if (current != NONE && (!there || !good(&f->tables[current].t))) atomic_store(&f->current, current = NONE);
  const table *t = current == NONE ? NULL : &f->tables[current].t;
  if (there && (!t || t->device != st.st_dev || t->inode != st.st_ino)) take_over(f, now);
  current = atomic_load(&f->current);
  for (int i = 0; i < TABLES; i++) {
    if (!f->mapped[i]) continue;
    if (i == current || used(&f->tables[i])) {
      reader_beat(&f->tables[i].t, now);
    } else {
      unmap(f, i);
    }
  }
}

void follow_tick(uint64_t now) {
  static uint32_t ticks; /* under the lock */
  pthread_mutex_lock(&lock);
  for (follower *f = followers; f; f = f->next) look_after(f, now);
  if (++ticks % TOUCH_TICKS == 0) stream_touch_all(now);
  pthread_mutex_unlock(&lock);
}

static void *run(void *unused) {
  const struct timespec pause = {0, TICK_MS * 1000000L};
  for (;;) {
    nanosleep(&pause, NULL);
    follow_tick(monotonic_ns());
  }
  return unused;
}

/* start_thread has all signals go to Envoy's own threads. */
static void start_thread(void) {
  sigset_t all, old;
  pthread_t thread;
  sigfillset(&all);
  sigdelset(&all, SIGBUS);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  running = pthread_create(&thread, NULL, run, NULL) == 0;
  if (running) pthread_detach(thread);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static follower *new_follower(const char *path, size_t len) {
  follower *f = aligned_alloc(64, (sizeof *f + 63) / 64 * 64);
  char *copy = malloc(len + 1);
  if (!f || !copy) {
    free(f);
    free(copy);
    return NULL;
  }
  memset(f, 0, sizeof *f);
  memcpy(copy, path, len);
  copy[len] = 0;
  f->path = copy;
  atomic_store(&f->current, NONE);
  f->next = followers;
  followers = f;
  return f;
}

follower *follow_open(const char *path, size_t len) {
  pthread_mutex_lock(&lock);
  follower *f = followers;
  while (f && !(strlen(f->path) == len && memcmp(f->path, path, len) == 0)) f = f->next;
  if (!f && (f = new_follower(path, len))) {
    guard_install();
    look_after(f, monotonic_ns());
  }
  if (f) f->users++;
  if (f && !running) start_thread();
  pthread_mutex_unlock(&lock);
  return f;
}

void follow_close(follower *f) {
  pthread_mutex_lock(&lock);
  if (--f->users == 0) {
    for (follower **at = &followers; *at; at = &(*at)->next) {
      if (*at != f) continue;
      *at = f->next;
      break;
    }
    for (int i = 0; i < TABLES; i++) {
      if (f->mapped[i]) unmap(f, i);
    }
    free(f->path);
    free(f);
  }
  pthread_mutex_unlock(&lock);
}
