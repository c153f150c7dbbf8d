/* SipHash-1-3 with 128 bits of output: who does not know the key cannot make keys that collide. */
#include "siphash.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the table's file is read as it is: little endian"
#endif

typedef struct {
  uint64_t v0, v1, v2, v3;
} sip;

static inline uint64_t rotl(uint64_t x, int b) { return (x << b) | (x >> (64 - b)); }

static inline void sip_round(sip *s) {
  s->v0 += s->v1;
  s->v1 = rotl(s->v1, 13) ^ s->v0;
  s->v0 = rotl(s->v0, 32);
  s->v2 += s->v3;
  s->v3 = rotl(s->v3, 16) ^ s->v2;
  s->v0 += s->v3;
  s->v3 = rotl(s->v3, 21) ^ s->v0;
  s->v2 += s->v1;
  s->v1 = rotl(s->v1, 17) ^ s->v2;
  s->v2 = rotl(s->v2, 32);
}

static inline void take(sip *s, uint64_t m) {
  s->v3 ^= m;
  sip_round(s);
  s->v0 ^= m;
}

static inline uint64_t finish(sip *s) {
  sip_round(s);
  sip_round(s);
  sip_round(s);
  return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

hash128 siphash(const uint64_t key[2], uint64_t prefix, size_t prefix_len, const void *data, size_t len) {
  sip s = {key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull ^ 0xee, key[0] ^ 0x6c7967656e657261ull,
           key[1] ^ 0x7465646279746573ull};
  const unsigned char *p = data;
  uint64_t pending = prefix; /* of prefix_len bytes, then of what is left of a word */
  size_t have = prefix_len, total = prefix_len + len;
  while (have + len >= 8) {
    uint64_t word = 0;
    size_t n = 8 - have;
    memcpy(&word, p, n);
    take(&s, pending | word << (8 * have));
    p += n;
    len -= n;
    pending = 0;
    have = 0;
  }
  if (len > 0) {
    uint64_t word = 0;
    memcpy(&word, p, len);
    pending |= word << (8 * have);
  }
  take(&s, pending | (uint64_t)total << 56);
  hash128 h;
  s.v2 ^= 0xee;
  h.lo = finish(&s);
  s.v1 ^= 0xdd;
  h.hi = finish(&s);
  return h;
}
