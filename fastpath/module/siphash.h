#ifndef STATEFUL_ROUTE_SIPHASH_H
#define STATEFUL_ROUTE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint64_t lo, hi;
} hash128;

/* siphash is SipHash-1-3 of 128 bits, of the low prefix_len bytes of prefix (at most 7, the rest
   zero) and of data. */
hash128 siphash(const uint64_t key[2], uint64_t prefix, size_t prefix_len, const void *data, size_t len);

#endif
