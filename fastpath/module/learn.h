/* Responses that name sessions: which of them extproc is to see, and how it is told of one. */
#ifndef STATEFUL_ROUTE_LEARN_H
#define STATEFUL_ROUTE_LEARN_H

#include "keys.h"
#include "policy.h"

/* learn_due reports whether a response may name a session that is not the request's own. It is so
   for some that extproc then learns nothing from, and for all others. */
bool learn_due(const policy *p, const headers *request, const headers *response);

/* learn_message is what extproc is asked by, to be freed: the two messages of an ext_proc stream that
   have the headers which it looks at, as the body of a gRPC call. NULL: there is too much of it. */
char *learn_message(const policy *p, const headers *request, const headers *response, span upstream, size_t *len);

#endif
