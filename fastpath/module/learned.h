/* Responses of known sessions whose service learns: those that name another session wait for extproc. */
#ifndef STATEFUL_ROUTE_LEARNED_H
#define STATEFUL_ROUTE_LEARNED_H

#include "follow.h"
#include "keys.h"

/* learned_look is for the headers of a response that came from that address; what it returns is theirs. */
int learned_look(stream *s, void *envoy, const headers *response, span upstream);

#endif
