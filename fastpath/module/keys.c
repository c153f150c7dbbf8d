#include "keys.h"

#include "decode.h"

/* What a request's candidates came to so far. */
typedef struct {
  key_result found;
  session_key *key;
} candidates;

/* RAW_MAX: of more bytes than these, more than KEY_MAX are left whatever is decoded. */
enum { RAW_MAX = 3 * KEY_MAX };

/* take adds a value as it was sent; false when no more need be looked at. */
static bool take(candidates *c, span raw, bool form) {
  char decoded[RAW_MAX];
  size_t len = raw.len > RAW_MAX ? raw.len : decode(raw, form, decoded);
  if (len > KEY_MAX) {
    c->found = KEY_LEFT;
    return false;
  }
  if (len == 0) return true;
  if (c->found != KEY_NONE) {
    if (!span_is((span){decoded, len}, c->key->text, c->key->len)) c->found = KEY_SEVERAL;
    return true;
  }
  c->found = KEY_ONE;
  c->key->len = len;
  memcpy(c->key->text, decoded, len);
  return true;
}

span header_value(const headers *h, span name) {
  span value;
  size_t count = h->get(h, name, 0, &value);
  for (size_t i = 0; i < count; i++) {
    if (i > 0) h->get(h, name, i, &value);
    if (value.len > 0) return value;
  }
  return (span){NULL, 0};
}

static span trimmed(span s) {
  while (s.len > 0 && memchr(" \t\r\n", s.ptr[0], 4)) s.ptr++, s.len--;
  while (s.len > 0 && memchr(" \t\r\n", s.ptr[s.len - 1], 4)) s.len--;
  return s;
}

static bool cookies(candidates *c, span name, span text) {
  for (bool more = true; more;) {
    span value, pair = span_cut(text, ';', &text, &more);
    span called = trimmed(span_cut(pair, '=', &value, NULL));
    if (span_is(called, name.ptr, name.len) && !take(c, trimmed(value), false)) return false;
  }
  return true;
}

static void from_header(candidates *c, const headers *h, const key_source *s) {
  bool cookie = s->kind == SOURCE_COOKIE;
  span value, name = cookie ? span_of("cookie") : s->name;
  size_t count = h->get(h, name, 0, &value);
  for (size_t i = 0; i < count; i++) {
    if (i > 0) h->get(h, name, i, &value);
    if (cookie ? !cookies(c, s->name, value) : !take(c, value, false)) return;
  }
}

static void from_query(candidates *c, const headers *h, const key_source *s) {
  span query;
  span_cut(header_value(h, span_of(":path")), '?', &query, NULL);
  query = span_cut(query, '#', NULL, NULL);
  for (bool more = true; more;) {
    span value, pair = span_cut(query, '&', &query, &more);
    span name = span_cut(pair, '=', &value, NULL);
    if ((span_is(name, s->name.ptr, s->name.len) || decodes_to(name, true, s->name)) && !take(c, value, true)) return;
  }
}

static void from_path(candidates *c, const headers *h, const key_source *s) {
  span path = span_cut(header_value(h, span_of(":path")), '?', NULL, NULL), group;
  path = span_cut(path, '#', NULL, NULL);
  if (re_first_group(&s->pattern, path, &group) == RE_TOO_MUCH) {
    c->found = KEY_LEFT;
    return;
  }
  take(c, group, false);
}

/* from_host: without port and trailing dot, in lower case; what is not ASCII is left to Go. */
static void from_host(candidates *c, const headers *h) {
  span host = header_value(h, span_of(":authority"));
  for (size_t i = host.len; i > 0 && host.ptr[i - 1] != ']'; i--) {
    if (host.ptr[i - 1] != ':') continue;
    host.len = i - 1;
    break;
  }
  if (host.len > 0 && host.ptr[host.len - 1] == '.') host.len--;
  if (host.len == 0) return;
  c->found = host.len <= KEY_MAX ? KEY_ONE : KEY_LEFT;
  for (size_t i = 0; i < host.len && c->found == KEY_ONE; i++) {
    char b = host.ptr[i];
    if ((unsigned char)b >= 0x80) c->found = KEY_LEFT;
    c->key->text[i] = b >= 'A' && b <= 'Z' ? (char)(b + 'a' - 'A') : b;
  }
  c->key->len = host.len;
}

static bool renewal_due(const policy *p, session_key *key, int64_t unix_seconds) {
  uint32_t ends;
  if (!unstamp(key->text, &key->len, &ends)) return false;
  return p->renew_seconds > 0 && (int64_t)ends - unix_seconds <= (int64_t)p->renew_seconds;
}

key_result keys_read(const policy *p, const headers *h, int64_t unix_seconds, session_key *key) {
  candidates c = {KEY_NONE, key};
  span value;
  for (uint32_t i = 0; i < p->n_sources && c.found == KEY_NONE; i++) {
    const key_source *s = &p->sources[i];
    switch (s->kind) {
      case SOURCE_HEADER:
      case SOURCE_COOKIE:
        from_header(&c, h, s);
        break;
      case SOURCE_QUERY:
        from_query(&c, h, s);
        break;
      case SOURCE_PATH:
        from_path(&c, h, s);
        break;
      case SOURCE_HOST:
        from_host(&c, h);
        break;
      default:
        if (s->name.len == 0 || h->get(h, s->name, 0, &value) > 0) return KEY_POLICY;
    }
    if ((c.found == KEY_ONE || c.found == KEY_SEVERAL) && (s->flags & SOURCE_STAMPED) && renewal_due(p, key, unix_seconds)) return KEY_POLICY;
  }
  return c.found;
}
