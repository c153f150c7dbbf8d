#ifndef STATEFUL_ROUTE_REGEX_H
#define STATEFUL_ROUTE_REGEX_H

#include <stddef.h>
#include <stdint.h>

#include "span.h"

/* Operations of a program: those of Go's regexp/syntax.InstOp. */
enum {
  RE_ALT = 0,
  RE_ALT_MATCH = 1,
  RE_CAPTURE = 2,
  RE_EMPTY_WIDTH = 3,
  RE_MATCH = 4,
  RE_FAIL = 5,
  RE_NOP = 6,
  RE_RUNE = 7,
  RE_RUNE1 = 8,
  RE_RUNE_ANY = 9,
  RE_RUNE_ANY_NOT_NL = 10
};

enum { RE_MAX_INSTS = 1000 };

typedef struct {
  uint8_t op;
  uint16_t n_ranges;
  uint32_t out, arg;
  const char *ranges; /* pairs of u32, not aligned, in the policy's memory */
} re_inst;

typedef struct {
  uint32_t n_insts, start;
  const re_inst *insts;
} re_program;

typedef enum { RE_NO_MATCH, RE_MATCHED, RE_TOO_MUCH } re_result;

/* re_first_group finds what the program's first group matches in text, as
   regexp.FindStringSubmatch does: the leftmost match, of several the first. An empty group and none
   are the same. RE_TOO_MUCH: it would take too long to find out. */
re_result re_first_group(const re_program *re, span text, span *group);

#endif
