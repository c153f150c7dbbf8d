/* Policies as they were parsed, by the table's and their own version: a thread parses each once. */
#include <stdlib.h>

#include "policy.h"

/* A service's row is its slot's: so those of a table with as many slots never drive each other out. */
enum { CACHED = 4096, CACHED_BYTES = 16 << 20 };

typedef struct {
  uint64_t serial, version;
  policy *p; /* NULL: it could not be parsed */
} cached;

struct policy_cache {
  size_t bytes;
  cached rows[CACHED];
};

policy_cache *policy_cache_new(void) { return calloc(1, sizeof(policy_cache)); }

static void drop(policy_cache *c, cached *row) {
  if (row->p) c->bytes -= row->p->bytes;
  policy_free(row->p);
  *row = (cached){0, 0, NULL};
}

void policy_cache_free(policy_cache *c) {
  if (!c) return;
  for (int i = 0; i < CACHED; i++) drop(c, &c->rows[i]);
  free(c);
}

/* keep puts a policy into a row. A full cache is emptied: what is needed comes back. */
static void keep(policy_cache *c, cached *row, cached filled) {
  drop(c, row);
  size_t bytes = filled.p ? filled.p->bytes : 0;
  if (c->bytes + bytes > CACHED_BYTES) {
    for (int i = 0; i < CACHED; i++) drop(c, &c->rows[i]);
  }
  c->bytes += bytes;
  *row = filled;
}

const policy *policy_of(policy_cache *c, const table *t, span service) {
  policy_ref ref;
  if (!c || !table_policy(t, service, &ref) || ref.len > POLICY_MAX) return NULL;
  cached *row = &c->rows[ref.slot % CACHED];
  if (row->serial != t->serial || row->version != ref.version) {
    char *text = malloc(ref.len);
    if (!text) return NULL;
    if (!table_copy(t, service, &ref, text)) {
      free(text);
      return NULL;
    }
    keep(c, row, (cached){t->serial, ref.version, policy_parse(text, ref.len)});
  }
  /* Of two services whose names have one hash, the other's policy: as good as none. */
  return row->p && span_is(row->p->name, service.ptr, service.len) ? row->p : NULL;
}
