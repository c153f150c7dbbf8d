/* Responses of known sessions whose service learns: those that name another session wait for extproc. */
#ifndef STATEFUL_ROUTE_LEARNED_H
#define STATEFUL_ROUTE_LEARNED_H

#include "follow.h"
#include "keys.h"

/* Headers as Envoy has them, of whose stream h->of is. */
size_t request_header(const headers *h, span name, size_t index, span *value);
size_t response_header(const headers *h, span name, size_t index, span *value);

/* learned_look is for the headers of a response that came from that address; what it returns is theirs. */
int learned_look(stream *s, void *envoy, span upstream);

#endif
