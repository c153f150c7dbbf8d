/* What failed before a pod answered is begun anew, once, where it may be. */
#ifndef STATEFUL_ROUTE_RETRY_H
#define STATEFUL_ROUTE_RETRY_H

#include "abi.h"
#include "follow.h"

/* retry_again reports whether the request was begun anew by us, and takes out what says so. It went to the
   pod at the address before, P_ADDRESS_MAX bytes of which *len are set; 0 if it had no session. To look for
   a header costs as much as to find a session: it is done only when there may be one. */
bool retry_again(worker *w, void *envoy, char *address, size_t *len);

/* retry_note notes what Envoy says of its own answer. */
void retry_note(stream *s, abi_buffer details);

/* retry_begin has the request begin anew. True: there is no stream any more. */
bool retry_begin(void *envoy, stream *s, uint64_t now);

#endif
