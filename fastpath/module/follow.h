/* A follower has the newest table of a path mapped. One thread of the process looks after all. */
#ifndef STATEFUL_ROUTE_FOLLOW_H
#define STATEFUL_ROUTE_FOLLOW_H

#include "account.h"
#include "decide.h"

typedef struct follower follower;

/* A held table stays mapped until it is released. */
typedef struct {
  table t;
  struct {
    _Alignas(64) _Atomic int64_t count;
  } uses[USE_STRIPES];
} held;

follower *follow_open(const char *path, size_t len);
void follow_close(follower *f);

held *follow_hold(follower *f, uint32_t worker);
void follow_release(held *h, uint32_t worker);

/* follow_tick is one round of the thread: exported for tests. */
void follow_tick(uint64_t now);

/* A worker is one of Envoy's threads. */
typedef struct stream stream;
typedef struct worker worker;
struct worker {
  uint32_t id;
  policy_cache *policies;
  stream *free;
  uint32_t anew; /* requests that we had begin anew and that have not come yet */
  verdict judged; /* on the stream that came last, until its request goes on */
  const stream *of;
  struct chunk *_Atomic chunks;
  worker *next;
};

/* After which failures a request is begun anew: when no pod has seen it, or whenever there was no answer. */
typedef enum { RETRY_NEVER, RETRY_UNSENT, RETRY_RESET } retry_kind;

/* A stream is a request and its response. What the thread reads of it may be of two streams that had
   the same memory: then it finds nothing, or has a session be used a little longer. */
struct stream {
  _Atomic bool open; /* the session is in use */
  _Atomic uint64_t since, hash_a;
  _Atomic uint32_t hash_b;
  held *_Atomic table;

  follower *follower;
  uint64_t timeout_ms; /* of what extproc is asked */
  bool cleans;         /* as its configuration says, see filter.c */
  bool local;          /* the answer is Envoy's own */
  worker *owner;
  stream *next;
  bool counted, pinned;
  bool hooked, asking, answered; /* of what is asked about the response, see learned.c */
  const policy *learns;          /* while the response may name a session */
  bool anew;      /* has begun so, see retry.h */
  bool elsewhere; /* and its session has another pod by now */
  retry_kind retry;
  bool failed; /* in such a way */
  bool again;  /* it begins anew as another stream */
  uint32_t address_len;
  char address[P_ADDRESS_MAX];
  flight flight;
};

worker *worker_self(void);
stream *stream_new(worker *w);
void stream_free(stream *s);
/* stream_touch_all says of every session whose stream is open for long that it is in use. */
void stream_touch_all(uint64_t now);

#endif
