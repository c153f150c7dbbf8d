#include "policy.h"

#include <stdlib.h>


/* A cursor never goes beyond the end: bad says that it would have had to. */
typedef struct {
  const char *at;
  size_t left;
  bool bad;
} cursor;

static const char *take(cursor *c, size_t n) {
  if (n > c->left) {
    c->bad = true;
    c->left = 0;
    return NULL;
  }
  const char *p = c->at;
  c->at += n;
  c->left -= n;
  return p;
}

static uint32_t number(cursor *c, size_t size) {
  uint32_t v = 0;
  const char *p = take(c, size);
  if (p) memcpy(&v, p, size);
  return v;
}

static span text(cursor *c, size_t len_size) {
  size_t len = number(c, len_size);
  const char *p = take(c, len);
  return (span){p, p ? len : 0};
}

static bool known_op(uint8_t op) { return op <= RE_RUNE_ANY_NOT_NL; }

/* parse_pattern reads a program whose instructions all lead to instructions. */
static bool parse_pattern(span bytes, re_program *re) {
  cursor c = {bytes.ptr, bytes.len, false};
  uint32_t n = number(&c, 2);
  re->start = number(&c, 2);
  if (c.bad || n == 0 || n > RE_MAX_INSTS || re->start >= n) return false;
  re_inst *insts = calloc(n, sizeof *insts);
  if (!insts) return false;
  re->insts = insts;
  re->n_insts = n;
  for (uint32_t i = 0; i < n; i++) {
    re_inst *inst = &insts[i];
    inst->op = (uint8_t)number(&c, 1);
    inst->out = number(&c, 4);
    inst->arg = number(&c, 4);
    inst->n_ranges = (uint16_t)number(&c, 2);
    inst->ranges = take(&c, (size_t)inst->n_ranges * 8);
    bool alt = inst->op == RE_ALT || inst->op == RE_ALT_MATCH;
    if (c.bad || !known_op(inst->op) || inst->out >= n || (alt && inst->arg >= n)) return false;
  }
  return c.left == 0;
}

static bool parse_source(cursor *c, key_source *s) {
  s->kind = (uint8_t)number(c, 1);
  s->flags = (uint8_t)number(c, 1);
  s->name = text(c, 2);
  if (c->bad || s->kind < SOURCE_HEADER || s->kind > SOURCE_UNSUPPORTED) return false;
  return s->kind != SOURCE_PATH || parse_pattern(text(c, 4), &s->pattern);
}

static bool parse_learn(policy *p, cursor *c) {
  uint32_t sources = number(c, 1);
  if (c->bad || !(p->learn = calloc(sources + 1, sizeof *p->learn))) return false;
  for (; p->n_learn < sources; p->n_learn++) {
    learn_source *s = &p->learn[p->n_learn];
    s->kind = (uint8_t)number(c, 1);
    s->name = text(c, 2);
    if (c->bad || s->kind < LEARN_HEADER || s->kind > LEARN_ANY) return false;
  }
  uint32_t names = number(c, 1);
  if (c->bad || !(p->forward = calloc(names + 1, sizeof *p->forward))) return false;
  for (; p->n_forward < names; p->n_forward++) p->forward[p->n_forward] = text(c, 2);
  return !c->bad;
}

static bool parse(policy *p, cursor *c) {
  if (number(c, 4) != POLICY_FORMAT) return false;
  p->service = number(c, 4);
  p->flags = number(c, 4);
  p->renew_seconds = number(c, 4);
  p->unbound_pod = number(c, 4);
  p->name = text(c, 2);
  p->retry_bound = text(c, 1);
  p->retry_unbound = text(c, 1);
  uint32_t sources = number(c, 1);
  if (c->bad || !(p->sources = calloc(sources + 1, sizeof *p->sources))) return false;
  for (p->n_sources = 0; p->n_sources < sources;) {
    if (!parse_source(c, &p->sources[p->n_sources++])) return false;
  }
  uint32_t methods = number(c, 1);
  if (c->bad || !(p->end_methods = calloc(methods + 1, sizeof *p->end_methods))) return false;
  for (; p->n_end_methods < methods; p->n_end_methods++) p->end_methods[p->n_end_methods] = text(c, 1);
  return !c->bad && parse_learn(p, c) && c->left == 0;
}

typedef struct {
  policy p; /* the first member: a policy * is one to this */
  char *text;
  uint32_t users;
} owned;

policy *policy_parse(char *bytes, size_t len) {
  owned *o = calloc(1, sizeof *o);
  if (!o) {
    free(bytes);
    return NULL;
  }
  o->text = bytes;
  o->users = 1;
  cursor c = {bytes, len, false};
  if (!parse(&o->p, &c)) {
    policy_free(&o->p);
    return NULL;
  }
  o->p.bytes = sizeof *o + len + (o->p.n_sources + 1) * sizeof(key_source) + (o->p.n_end_methods + 1) * sizeof(span) + 512 +
               (o->p.n_learn + 1) * sizeof(learn_source) + (o->p.n_forward + 1) * sizeof(span);
  for (uint32_t i = 0; i < o->p.n_sources; i++) o->p.bytes += o->p.sources[i].pattern.n_insts * sizeof(re_inst);
  return &o->p;
}

const policy *policy_keep(const policy *p) {
  ((owned *)p)->users++;
  return p;
}

void policy_free(const policy *p) {
  if (!p || --((owned *)p)->users > 0) return;
  for (uint32_t i = 0; i < p->n_sources; i++) free((void *)p->sources[i].pattern.insts);
  free(p->sources);
  free(p->end_methods);
  free(p->learn);
  free(p->forward);
  free(((owned *)p)->text);
  free((void *)p);
}
