/* What becomes of a request: the one decision, without Envoy. */
#ifndef STATEFUL_ROUTE_DECIDE_H
#define STATEFUL_ROUTE_DECIDE_H

#include "keys.h"
#include "policy.h"
#include "table.h"

/* A request as it is asked for. */
typedef struct {
  span service;
  const headers *headers;
  uint64_t now;         /* CLOCK_MONOTONIC, ns */
  int64_t unix_seconds;
  bool again; /* it has begun anew, and was counted as a use of its session */
} request;

typedef struct {
  result result;
  bool skip;          /* no callout: the request goes on as it is */
  bool pinned;        /* and to this pod alone */
  bool retry;         /* which may be tried once more */
  const policy *policy;
  session_hash hash;
  bound_pod pod;      /* of an unkeyed request only its number and generation */
  int method;         /* its index among those that are counted */
} verdict;

void decide(const table *t, policy_cache *policies, const request *r, verdict *v);

#endif
