#include "metadata.h"

static void put(meta_writer *w, const void *bytes, size_t n) {
  if (w->len + n <= w->room && n > 0) memcpy(w->to + w->len, bytes, n);
  w->len += n;
}

static size_t varint(size_t v, unsigned char out[10]) {
  size_t n = 0;
  for (; v >= 0x80; v >>= 7) out[n++] = (unsigned char)(v | 0x80);
  out[n++] = (unsigned char)v;
  return n;
}

static size_t varint_len(size_t v) {
  unsigned char scratch[10];
  return varint(v, scratch);
}

size_t meta_size(size_t len) { return 1 + varint_len(len) + len; }

void meta_begin(meta_writer *w, unsigned char tag, size_t len) {
  unsigned char bytes[11] = {tag};
  put(w, bytes, 1 + varint(len, bytes + 1));
}

void meta_field(meta_writer *w, unsigned char tag, span value) {
  meta_begin(w, tag, value.len);
  put(w, value.ptr, value.len);
}

/* entry is one of the map `fields` (1): its key (1) and its value (2), of which value_len bytes follow. */
static void entry(meta_writer *w, span key, size_t value_len) {
  meta_begin(w, 0x0a, meta_size(key.len) + meta_size(value_len));
  meta_field(w, 0x0a, key);
  meta_begin(w, 0x12, value_len);
}

void meta_text(meta_writer *w, span key, span value) {
  entry(w, key, meta_size(value.len));
  meta_field(w, 0x1a, value); /* string_value */
}
