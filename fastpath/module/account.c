#include "account.h"

uint32_t account_bucket(uint64_t ns) {
  uint64_t us = ns / 1000;
  if (us < 8) return (uint32_t)us;
  uint32_t e = 63 - (uint32_t)__builtin_clzll(us);
  uint32_t index = 8 * (e - 2) + ((us >> (e - 3)) & 7);
  return index < HIST_BUCKETS ? index : HIST_BUCKETS - 1;
}

/* record is the pod's, or NULL when it was given to another pod meanwhile. */
static char *record(const table *t, const flight *f) {
  char *p = table_pod(t, f->pod);
  return load32(p + P_GENERATION) == f->generation ? p : NULL;
}

static char *in_flight(const table *t, char *pod, uint64_t reader) {
  uint32_t slot = (uint32_t)reader;
  return slot < READERS && reader_is_ours(t, reader) ? pod + P_IN_FLIGHT + (size_t)slot * 4 : NULL;
}

void account_begin(const table *t, flight *f) {
  f->answered = 0;
  f->status = 0;
  f->served = false;
  f->reader = atomic_load_explicit(&t->reader, memory_order_relaxed);
  char *p = record(t, f), *count = p ? in_flight(t, p, f->reader) : NULL;
  if (count) add32(count, 1);
}

/* leave takes a request out of those in flight. */
static char *leave(const table *t, const flight *f) {
  char *p = record(t, f), *count = p && !f->served ? in_flight(t, p, f->reader) : NULL;
  if (count) add32(count, (uint32_t)-1);
  return p;
}

void account_served(const table *t, flight *f, span address) {
  uint32_t pod, generation;
  if (f->service == 0 || !table_pod_at(t, f->service, address, &pod, &generation)) return;
  leave(t, f);
  f->pod = pod;
  f->generation = generation;
  f->served = true;
}

void account_answer(const table *t, flight *f, int status, uint64_t now) {
  f->status = status;
  f->answered = now;
  char *p = record(t, f);
  if (!p || status <= 0 || status >= 500) return; /* a failure says nothing of how fast the pod is */
  add64(p + (f->service == 0 ? P_RESPONSE_SUM : P_UNBOUND_RESPONSE_SUM), now - f->began);
  if (f->service == 0) add64(p + P_RESPONSES, 1);
  add32(p + P_RESPONSE_HIST + (size_t)account_bucket(now - f->began) * 4, 1);
}

void account_misroute(const table *t, const flight *f) {
  char *p = record(t, f);
  if (p) add64(p + P_MISROUTES, 1);
}

static int status_class(int status) {
  int class = status / 100;
  return status == 0 || (class >= 1 && class <= 5) ? class : STATUS_CLASSES - 1;
}

void account_cancel(const table *t, const flight *f) { leave(t, f); }

void account_end(const table *t, const flight *f, uint64_t now) {
  char *p = leave(t, f);
  if (!p) return;
  add64(p + (f->served ? P_UNBOUND_REQUESTS : P_REQUESTS) + (size_t)(f->method * STATUS_CLASSES + status_class(f->status)) * 8, 1);
  add64(p + P_DURATION_SUM, now - f->began);
  add32(p + P_DURATION_HIST + (size_t)account_bucket(now - f->began) * 4, 1);
  if (f->status == 0) add64(p + P_ABORTED, 1);
}
