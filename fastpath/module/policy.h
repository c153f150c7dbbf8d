/* What extproc says of a service: where its requests name sessions, and which of them need no callout. */
#ifndef STATEFUL_ROUTE_POLICY_H
#define STATEFUL_ROUTE_POLICY_H

#include "regex.h"
#include "span.h"
#include "table.h"

enum {
  POLICY_FORMAT = 2,
  POLICY_MAX = 1 << 20, /* bytes of one */

  POLICY_ALLOWED = 1,
  POLICY_DENIES = 2,
  POLICY_UNKEYED = 4,
  POLICY_RETRY = 8,

  SOURCE_HEADER = 1,
  SOURCE_COOKIE = 2,
  SOURCE_QUERY = 3,
  SOURCE_PATH = 4,
  SOURCE_HOST = 5,
  SOURCE_UNSUPPORTED = 6,

  SOURCE_STAMPED = 1,

  LEARN_HEADER = 1,
  LEARN_COOKIE = 2,
  LEARN_ANY = 3 /* of a kind that is extproc's alone: whatever the header says */
};

typedef struct {
  uint8_t kind, flags;
  span name;
  re_program pattern;
} key_source;

/* Where a response may name a session. */
typedef struct {
  uint8_t kind;
  span name;
} learn_source;

/* A policy lives in one piece of memory, its own copy of what the table had: who wrote the table
   cannot change what was validated. */
typedef struct {
  uint32_t service, flags, renew_seconds, unbound_pod;
  span name, retry_bound, retry_unbound;
  uint32_t n_sources, n_end_methods, n_learn, n_forward;
  key_source *sources;
  span *end_methods;
  learn_source *learn;
  span *forward; /* headers of requests that extproc looks at where a response names a session */
  size_t bytes; /* of memory */
} policy;

/* policy_parse makes a policy of a copy of its text, which it keeps (and frees with the policy), or
   returns NULL for one that is not exactly as it has to be. */
policy *policy_parse(char *text, size_t len);
/* policy_keep has a policy stay for one policy_free more, of the same thread. */
const policy *policy_keep(const policy *p);
void policy_free(const policy *p);

/* A cache is one thread's. */
typedef struct policy_cache policy_cache;
policy_cache *policy_cache_new(void);
void policy_cache_free(policy_cache *c);
/* policy_of returns the policy of a service, until the next call; NULL for none. */
const policy *policy_of(policy_cache *c, const table *t, span service);

#endif
