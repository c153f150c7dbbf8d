#include "learn.h"

#include <stdlib.h>

#include "metadata.h"

enum { MESSAGE_MAX = 1 << 20, FRAME_HEAD = 5 };

/* Tags of envoy.service.ext_proc.v3 and config.core.v3, all of fields of bytes. */
enum {
  REQUEST_HEADERS = 2 << 3 | 2,
  RESPONSE_HEADERS = 3 << 3 | 2,
  ATTRIBUTES = 9 << 3 | 2,
  FIRST = 1 << 3 | 2, /* HttpHeaders.headers, HeaderMap.headers, HeaderValue.key, a map's key */
  MAP_VALUE = 2 << 3 | 2,
  RAW_VALUE = 3 << 3 | 2
};

static span trimmed(span s) {
  while (s.len > 0 && memchr(" \t\r\n", s.ptr[0], 4)) s.ptr++, s.len--;
  while (s.len > 0 && memchr(" \t\r\n", s.ptr[s.len - 1], 4)) s.len--;
  return s;
}

/* own reports whether a value, as it stands, can be nothing but the request's own key. */
static bool own(span value, const session_key *key) {
  return value.len > 0 && span_is(value, key->text, key->len) && !memchr(value.ptr, '%', value.len);
}

static bool names_another(const learn_source *s, span value, const session_key *key) {
  if (s->kind != LEARN_COOKIE) return !(s->kind == LEARN_HEADER && own(value, key));
  span text, pair = span_cut(value, ';', NULL, NULL);
  span name = trimmed(span_cut(pair, '=', &text, NULL));
  return span_is(name, s->name.ptr, s->name.len) && !own(trimmed(text), key);
}

static span header_of(const learn_source *s) { return s->kind == LEARN_COOKIE ? span_of("set-cookie") : s->name; }

bool learn_due(const policy *p, const headers *request, const headers *response) {
  session_key key = {.len = 0};
  bool read = false;
  for (uint32_t i = 0; i < p->n_learn; i++) {
    const learn_source *s = &p->learn[i];
    span value = {NULL, 0};
    size_t count = response->get(response, header_of(s), 0, &value);
    for (size_t n = 0; n < count; n++) {
      if (n > 0) response->get(response, header_of(s), n, &value);
      if (!read) {
        key_result found = keys_read(p, request, 0, &key);
        if (found != KEY_ONE && found != KEY_SEVERAL) key.len = 0;
      }
      read = true;
      if (names_another(s, value, &key)) return true;
    }
  }
  return false;
}

static void put_header(meta_writer *w, const headers *h, span name) {
  span value = {NULL, 0};
  size_t count = h->get(h, name, 0, &value);
  for (size_t i = 0; i < count; i++) {
    if (i > 0) h->get(h, name, i, &value);
    meta_begin(w, FIRST, meta_size(name.len) + meta_size(value.len));
    meta_field(w, FIRST, name);
    meta_field(w, RAW_VALUE, value);
  }
}

static void put_headers(meta_writer *w, const policy *p, const headers *h, bool response) {
  if (!response) {
    for (uint32_t i = 0; i < p->n_forward; i++) put_header(w, h, p->forward[i]);
    return;
  }
  bool cookies = false;
  for (uint32_t i = 0; i < p->n_learn; i++) {
    const learn_source *s = &p->learn[i];
    if (s->kind != LEARN_COOKIE || !cookies) put_header(w, h, header_of(s));
    cookies = cookies || s->kind == LEARN_COOKIE;
  }
}

static void put_upstream(meta_writer *w, span address) {
  const span filter = span_of("envoy.filters.http.ext_proc"), name = span_of("upstream.address");
  meta_writer all = {NULL, 0, 0};
  meta_text(&all, name, address);
  meta_begin(w, ATTRIBUTES, meta_size(filter.len) + meta_size(all.len));
  meta_field(w, FIRST, filter);
  meta_begin(w, MAP_VALUE, all.len);
  meta_text(w, name, address);
}

/* put_message writes a ProcessingRequest. */
static void put_message(meta_writer *w, const policy *p, const headers *h, bool response, span upstream) {
  meta_writer map = {NULL, 0, 0};
  put_headers(&map, p, h, response);
  meta_begin(w, response ? RESPONSE_HEADERS : REQUEST_HEADERS, meta_size(map.len));
  meta_begin(w, FIRST, map.len);
  put_headers(w, p, h, response);
  if (response) put_upstream(w, upstream);
}

/* put_frame writes a message with what gRPC has before each; the room is enough, or all is measured. */
static void put_frame(meta_writer *w, const policy *p, const headers *h, bool response, span upstream) {
  size_t head = w->len;
  w->len += FRAME_HEAD;
  put_message(w, p, h, response, upstream);
  size_t len = w->len - head - FRAME_HEAD;
  if (!w->to) return;
  const unsigned char bytes[FRAME_HEAD] = {0, (unsigned char)(len >> 24), (unsigned char)(len >> 16), (unsigned char)(len >> 8), (unsigned char)len};
  memcpy(w->to + head, bytes, FRAME_HEAD);
}

char *learn_message(const policy *p, const headers *request, const headers *response, span upstream, size_t *len) {
  meta_writer w = {NULL, 0, 0};
  for (int pass = 0; pass < 2; pass++) {
    put_frame(&w, p, request, false, upstream);
    put_frame(&w, p, response, true, upstream);
    if (pass == 1) break;
    if (w.len > MESSAGE_MAX || !(w.to = malloc(w.len))) return NULL;
    w.room = w.len;
    w.len = 0;
  }
  *len = w.len;
  return w.to;
}
