/* What the table is told of the requests that extproc does not see. */
#ifndef STATEFUL_ROUTE_ACCOUNT_H
#define STATEFUL_ROUTE_ACCOUNT_H

#include "table.h"

/* A flight is a request on its way, as a record counts it: its pod's, or that of its service's requests
   without a session until their response says which pod serves them. */
typedef struct {
  uint64_t began;
  uint64_t answered; /* 0: not yet */
  uint64_t reader;   /* as table.reader was when it began */
  uint32_t pod, generation;
  uint32_t service; /* of a request without a session; else 0 */
  bool served;      /* such a request, whose pod is known */
  int method, status;
} flight;

void account_begin(const table *t, flight *f);
/* account_served has the pod at an address count a request without a session from now on. Of a pod's
   requests in flight it is none: extproc knows those of sessions alone. */
void account_served(const table *t, flight *f, span address);
void account_answer(const table *t, flight *f, int status, uint64_t now);
void account_misroute(const table *t, const flight *f);
/* account_cancel is for a request that begins anew: it is counted then. */
void account_cancel(const table *t, const flight *f);
void account_end(const table *t, const flight *f, uint64_t now);

/* account_bucket is the index of a time in a histogram: eight for each doubling of microseconds. */
uint32_t account_bucket(uint64_t ns);

#endif
