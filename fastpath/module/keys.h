/* Where a request names its session: as package sessionkey reads it, or not at all. */
#ifndef STATEFUL_ROUTE_KEYS_H
#define STATEFUL_ROUTE_KEYS_H

#include "policy.h"
#include "span.h"

enum { KEY_MAX = 256 };

/* Headers are asked for by name, in lower case; get returns how many of the name there are, and sets
   value to the one of that index. */
typedef struct headers {
  size_t (*get)(const struct headers *h, span name, size_t index, span *value);
  void *of;
} headers;

/* A key that a request names, decoded. */
typedef struct {
  size_t len;
  char text[KEY_MAX];
} session_key;

typedef enum {
  KEY_NONE,    /* the request names no session */
  KEY_ONE,
  KEY_SEVERAL, /* of which the first is there: extproc goes by the first that is bound */
  KEY_LEFT,    /* one is too long to tell: extproc is to look */
  KEY_POLICY,  /* extproc is to look, for the policy wants it */
} key_result;

key_result keys_read(const policy *p, const headers *h, int64_t unix_seconds, session_key *key);

/* header_value is the first value of the name that is not empty. */
span header_value(const headers *h, span name);

#endif
