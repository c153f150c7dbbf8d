#include "decode.h"

static int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* decodable reports whether each "%" is followed by two hexadecimal digits. */
static bool decodable(span raw) {
  for (size_t i = 0; i < raw.len; i++) {
    if (raw.ptr[i] != '%') continue;
    if (raw.len - i < 3 || hex(raw.ptr[i + 1]) < 0 || hex(raw.ptr[i + 2]) < 0) return false;
    i += 2;
  }
  return true;
}

static char decoded_at(span raw, size_t *i, bool form) {
  char c = raw.ptr[*i];
  if (c == '%') {
    c = (char)(hex(raw.ptr[*i + 1]) << 4 | hex(raw.ptr[*i + 2]));
    *i += 2;
  } else if (form && c == '+') {
    c = ' ';
  }
  ++*i;
  return c;
}

size_t decode(span raw, bool form, char *to) {
  if (!decodable(raw)) {
    memcpy(to, raw.ptr, raw.len);
    return raw.len;
  }
  size_t n = 0;
  for (size_t i = 0; i < raw.len;) to[n++] = decoded_at(raw, &i, form);
  return n;
}

bool decodes_to(span raw, bool form, span want) {
  if (!decodable(raw)) return span_is(raw, want.ptr, want.len);
  size_t n = 0;
  for (size_t i = 0; i < raw.len; n++) {
    if (n == want.len || decoded_at(raw, &i, form) != want.ptr[n]) return false;
  }
  return n == want.len;
}

static int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

size_t decode_base64(span text, char *to, size_t room) {
  if (text.len == 0 || text.len % 4 != 0) return 0;
  size_t pad = text.ptr[text.len - 1] != '=' ? 0 : text.ptr[text.len - 2] != '=' ? 1 : 2;
  size_t len = text.len / 4 * 3 - pad, n = 0;
  if (len > room) return 0;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.len; i++) {
    int digit = i < text.len - pad ? base64_digit(text.ptr[i]) : 0;
    if (digit < 0) return 0;
    bits = bits << 6 | (uint32_t)digit;
    if (i % 4 != 3) continue;
    for (int shift = 16; shift >= 0 && n < len; shift -= 8) to[n++] = (char)(bits >> shift);
  }
  return len;
}

enum { ID_CHARS = 32, STAMP_CHARS = 8 }; /* 24 random bytes in base64url, seconds in hexadecimal digits */

bool unstamp(const char *text, size_t *len, uint32_t *ends) {
  if (*len != ID_CHARS + 1 + STAMP_CHARS || text[ID_CHARS] != '.') return false;
  for (int i = 0; i < ID_CHARS; i++) {
    char c = text[i];
    if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')) return false;
  }
  const char *stamp = text + ID_CHARS + 1;
  uint32_t seconds = 0;
  for (int i = 0; i < STAMP_CHARS; i++) {
    if (hex(stamp[i]) < 0 || (stamp[i] >= 'A' && stamp[i] <= 'F')) return false;
    seconds = seconds << 4 | (uint32_t)hex(stamp[i]);
  }
  if (stamp[0] == '0') return false;
  *len = ID_CHARS;
  *ends = seconds;
  return true;
}
