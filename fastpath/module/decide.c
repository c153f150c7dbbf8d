#include "decide.h"

/* The methods by which requests are counted; the last stands for all others. */
static const char *const methods[METHODS - 1] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"};

static int method_index(span method) {
  for (int i = 0; i < METHODS - 1; i++) {
    if (span_is(method, methods[i], strlen(methods[i]))) return i;
  }
  return METHODS - 1;
}

/* repeatable are requests that may be sent twice (RFC 9110, 9.2.2), by their index. */
static bool repeatable(int method) {
  return method <= 1 || method == 3 || method == 5 || method == 6 || method == 8;
}

/* is_preflight: a browser asks whether it may send another request; any pod can answer. */
static bool is_preflight(int method, const headers *h) {
  return method == 6 && header_value(h, span_of("access-control-request-method")).len > 0;
}

static bool ends_session(const policy *p, span method) {
  for (uint32_t i = 0; i < p->n_end_methods; i++) {
    if (span_is(p->end_methods[i], method.ptr, method.len)) return true;
  }
  return false;
}

static bool hex_digits(span s) {
  for (size_t i = 0; i < s.len; i++) {
    char c = s.ptr[i];
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

/* traced reports whether extproc is to make a span of the request: of one whose client says that it
   is sampled, or of one without a client that says so. What is not well formed is not known. */
static bool traced(uint32_t flags, const headers *h) {
  if ((flags & (TABLE_SAMPLED_CALLS_OUT | TABLE_UNTRACED_CALLS_OUT)) == 0) return false;
  span parent = header_value(h, span_of("traceparent"));
  if (parent.len == 0) return (flags & TABLE_UNTRACED_CALLS_OUT) != 0;
  bool formed = parent.len == 55 && parent.ptr[2] == '-' && parent.ptr[35] == '-' && parent.ptr[52] == '-' &&
                hex_digits((span){parent.ptr, 2}) && hex_digits((span){parent.ptr + 3, 32}) &&
                hex_digits((span){parent.ptr + 36, 16}) && hex_digits((span){parent.ptr + 53, 2});
  if (!formed) return true;
  char last = parent.ptr[54];
  bool sampled = ((last <= '9' ? last - '0' : last - 'a' + 10) & 1) != 0;
  return sampled && (flags & TABLE_SAMPLED_CALLS_OUT) != 0;
}

static result unkeyed(const table *t, verdict *v) {
  const policy *p = v->policy;
  if (!(p->flags & POLICY_UNKEYED)) return RESULT_NO_KEY;
  if (p->unbound_pod >= t->pod_count) return RESULT_POLICY;
  v->pod.pod = p->unbound_pod;
  v->pod.generation = load32(table_pod(t, p->unbound_pod) + P_GENERATION);
  v->skip = true;
  return RESULT_UNKEYED;
}

static result bound(const table *t, const request *r, const session_key *key, verdict *v) {
  const policy *p = v->policy;
  v->retry = (p->flags & POLICY_RETRY) && p->retry_bound.len > 0 && repeatable(v->method);
  v->hash = table_hash(t, p->service, (span){key->text, key->len});
  result found = table_find(t, v->hash, (use){r->now, r->again ? 0 : 1}, v->retry, &v->pod);
  v->skip = v->pinned = found == RESULT_HIT;
  return found;
}

static result decided(const table *t, policy_cache *policies, const request *r, verdict *v) {
  result why;
  if (!table_serving(t, r->now, &why)) return why;
  const policy *p = v->policy = policy_of(policies, t, r->service);
  if (!p || !(p->flags & POLICY_ALLOWED)) return RESULT_POLICY;
  span method = header_value(r->headers, span_of(":method"));
  v->method = method_index(method);
  if (ends_session(p, method) || is_preflight(v->method, r->headers)) return RESULT_POLICY;
  if (traced(table_flags(t), r->headers)) return RESULT_TRACED;
  session_key key;
  switch (keys_read(p, r->headers, r->unix_seconds, &key)) {
    case KEY_NONE:
      return unkeyed(t, v);
    case KEY_ONE:
      return bound(t, r, &key, v);
    case KEY_SEVERAL:
      /* The table says less than extproc knows: of the others it cannot be told what they are worth. */
      return bound(t, r, &key, v) == RESULT_HIT ? RESULT_HIT : RESULT_KEYS;
    case KEY_LEFT:
      return RESULT_KEYS;
    default:
      return RESULT_POLICY;
  }
}

void decide(const table *t, policy_cache *policies, const request *r, verdict *v) {
  v->skip = v->pinned = v->retry = false;
  v->policy = NULL;
  v->result = decided(t, policies, r, v);
  if (v->skip && r->again) v->result = RESULT_AGAIN;
}
