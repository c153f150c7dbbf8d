/* A piece of text that somebody else owns. */
#ifndef STATEFUL_ROUTE_SPAN_H
#define STATEFUL_ROUTE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct {
  const char *ptr;
  size_t len;
} span;

static inline bool span_is(span s, const char *text, size_t len) {
  return s.len == len && (len == 0 || memcmp(s.ptr, text, len) == 0);
}

static inline span span_of(const char *text) {
  return (span){text, strlen(text)};
}

/* span_cut gives what is before the first c; rest is what is after it, or empty. */
static inline span span_cut(span s, char c, span *rest, bool *found) {
  const char *at = s.len ? memchr(s.ptr, c, s.len) : NULL;
  if (found) *found = at != NULL;
  if (!at) {
    if (rest) *rest = (span){NULL, 0};
    return s;
  }
  size_t before = (size_t)(at - s.ptr);
  if (rest) *rest = (span){at + 1, s.len - before - 1};
  return (span){s.ptr, before};
}

#endif
