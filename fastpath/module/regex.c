/* A backtracker that goes to no state twice, so that no pattern and no path take it long. */
#include "regex.h"

enum { VISITED_BITS = 64 * 1024, MAX_JOBS = 4096 };

/* A job is a state to go on from, or (pc == RESTORE) a group's end to put back. */
typedef struct {
  uint32_t pc, pos, value;
} job;

#define RESTORE 0xffffffffu
#define NOWHERE 0xffffffffu

typedef struct {
  const re_program *re;
  span text;
  uint32_t capture[2];
  uint32_t n_jobs;
  uint64_t visited[VISITED_BITS / 64];
  job jobs[MAX_JOBS];
} machine;

/* next_rune decodes as Go does: what is not UTF-8 is U+FFFD, and one byte. */
static uint32_t next_rune(span text, uint32_t pos, uint32_t *width) {
  const unsigned char *p = (const unsigned char *)text.ptr + pos;
  size_t left = text.len - pos;
  *width = 1;
  if (p[0] < 0x80) return p[0];
  uint32_t need, rune, least;
  if (p[0] >= 0xc2 && p[0] <= 0xdf) {
    need = 2, rune = p[0] & 0x1f, least = 0x80;
  } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
    need = 3, rune = p[0] & 0x0f, least = 0x800;
  } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
    need = 4, rune = p[0] & 0x07, least = 0x10000;
  } else {
    return 0xfffd;
  }
  if (left < need) return 0xfffd;
  for (uint32_t i = 1; i < need; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0xfffd;
    rune = rune << 6 | (p[i] & 0x3f);
  }
  if (rune < least || rune > 0x10ffff || (rune >= 0xd800 && rune <= 0xdfff)) return 0xfffd;
  *width = need;
  return rune;
}

static bool in_ranges(const re_inst *inst, uint32_t rune) {
  uint32_t low = 0, high = inst->n_ranges;
  while (low < high) {
    uint32_t mid = (low + high) / 2, range[2];
    memcpy(range, inst->ranges + (size_t)mid * 8, 8);
    if (rune < range[0]) {
      high = mid;
    } else if (rune > range[1]) {
      low = mid + 1;
    } else {
      return true;
    }
  }
  return false;
}

static bool word_at(span text, size_t pos) {
  unsigned char c = (unsigned char)text.ptr[pos];
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* assertions are those that hold at a place, as the bits of syntax.EmptyOp. */
static uint32_t assertions(span text, uint32_t pos) {
  uint32_t hold = 0;
  if (pos == 0) hold |= 1 | 4;
  if (pos > 0 && text.ptr[pos - 1] == '\n') hold |= 1;
  if (pos == text.len) hold |= 2 | 8;
  if (pos < text.len && text.ptr[pos] == '\n') hold |= 2;
  bool before = pos > 0 && word_at(text, pos - 1), after = pos < text.len && word_at(text, pos);
  return hold | (before != after ? 16 : 32);
}

static bool push(machine *m, uint32_t pc, uint32_t pos, uint32_t value) {
  if (m->n_jobs == MAX_JOBS) return false;
  m->jobs[m->n_jobs++] = (job){pc, pos, value};
  return true;
}

static bool first_visit(machine *m, uint32_t pc, uint32_t pos) {
  size_t bit = (size_t)pc * (m->text.len + 1) + pos;
  uint64_t mask = 1ull << (bit % 64), *word = &m->visited[bit / 64];
  if (*word & mask) return false;
  *word |= mask;
  return true;
}

static bool takes_rune(const re_inst *inst, uint32_t rune) {
  return inst->op == RE_RUNE_ANY || (inst->op == RE_RUNE_ANY_NOT_NL ? rune != '\n' : in_ranges(inst, rune));
}

/* follow goes on from a state until it leads nowhere. */
static re_result follow(machine *m, uint32_t pc, uint32_t pos) {
  for (uint32_t width; first_visit(m, pc, pos);) {
    const re_inst *inst = &m->re->insts[pc];
    switch (inst->op) {
      case RE_MATCH:
        return RE_MATCHED;
      case RE_FAIL:
        return RE_NO_MATCH;
      case RE_ALT:
      case RE_ALT_MATCH:
        if (!push(m, inst->arg, pos, 0)) return RE_TOO_MUCH;
        break;
      case RE_CAPTURE:
        if (inst->arg == 2 || inst->arg == 3) {
          if (!push(m, RESTORE, inst->arg - 2, m->capture[inst->arg - 2])) return RE_TOO_MUCH;
          m->capture[inst->arg - 2] = pos;
        }
        break;
      case RE_EMPTY_WIDTH:
        if (inst->arg & ~assertions(m->text, pos)) return RE_NO_MATCH;
        break;
      case RE_NOP:
        break;
      default:
        if (pos == m->text.len || !takes_rune(inst, next_rune(m->text, pos, &width))) return RE_NO_MATCH;
        pos += width;
    }
    pc = inst->out;
  }
  return RE_NO_MATCH;
}

/* try_from tries all ways from one place of the text, in the order in which the pattern prefers them. */
static re_result try_from(machine *m, uint32_t pos) {
  m->n_jobs = 0;
  m->capture[0] = m->capture[1] = NOWHERE;
  push(m, m->re->start, pos, 0);
  while (m->n_jobs > 0) {
    job j = m->jobs[--m->n_jobs];
    if (j.pc == RESTORE) {
      m->capture[j.pos] = j.value;
      continue;
    }
    re_result r = follow(m, j.pc, j.pos);
    if (r != RE_NO_MATCH) return r;
  }
  return RE_NO_MATCH;
}

re_result re_first_group(const re_program *re, span text, span *group) {
  *group = (span){NULL, 0};
  if (text.len >= VISITED_BITS || (size_t)re->n_insts * (text.len + 1) > VISITED_BITS) return RE_TOO_MUCH;
  machine m; /* 56 KB, of which little is touched */
  m.re = re;
  m.text = text;
  memset(m.visited, 0, ((size_t)re->n_insts * (text.len + 1) + 63) / 64 * 8);
  for (uint32_t pos = 0, width; pos <= text.len; pos += width) {
    re_result r = try_from(&m, pos);
    if (r == RE_MATCHED && m.capture[0] != NOWHERE && m.capture[1] != NOWHERE && m.capture[0] <= m.capture[1])
      *group = (span){text.ptr + m.capture[0], m.capture[1] - m.capture[0]};
    if (r != RE_NO_MATCH) return r;
    width = 1;
    if (pos < text.len) next_rune(text, pos, &width);
  }
  return RE_NO_MATCH;
}
