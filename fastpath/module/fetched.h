/* The headers of a request or a response, all fetched from Envoy at once. Envoy looks for one by its name
   in a map that it makes first, of all of them, and that costs more than all else that is done here. */
#ifndef STATEFUL_ROUTE_FETCHED_H
#define STATEFUL_ROUTE_FETCHED_H

#include "abi.h"
#include "keys.h"

/* FETCHED_MAX is more than Envoy takes from a client (100) and adds; of more, each is asked for by name. */
enum { FETCHED_MAX = 128 };

typedef struct {
  void *envoy;
  int type;
  bool done; /* fetched, with the first look */
  size_t count;
  abi_header all[FETCHED_MAX];
} fetched;

/* fetched_begin is of a stream's headers. What was found is valid until a header of the stream is set. */
headers fetched_begin(fetched *f, void *envoy, int type);

/* fetched_remove takes a header out, if there is one. */
void fetched_remove(const headers *h, span name);

#endif
