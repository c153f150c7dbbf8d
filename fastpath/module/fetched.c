#include "fetched.h"

static abi_buffer buffer(span s) { return (abi_buffer){s.ptr, s.len}; }

static void fetch(fetched *f) {
  f->done = true;
  f->count = envoy_dynamic_module_callback_http_get_headers_size(f->envoy, f->type);
  if (f->count > FETCHED_MAX) return;
  if (!envoy_dynamic_module_callback_http_get_headers(f->envoy, f->type, f->all)) f->count = 0;
}

static size_t by_name(const fetched *f, span name, size_t index, span *value) {
  abi_buffer found = {NULL, 0};
  size_t count = 0;
  if (!envoy_dynamic_module_callback_http_get_header(f->envoy, f->type, buffer(name), &found, index, &count)) return 0;
  *value = (span){found.ptr, found.length};
  return count;
}

static size_t get(const headers *h, span name, size_t index, span *value) {
  fetched *f = h->of;
  if (!f->done) fetch(f);
  if (f->count > FETCHED_MAX) return by_name(f, name, index, value);
  size_t count = 0;
  for (size_t i = 0; i < f->count; i++) {
    const abi_header *at = &f->all[i];
    if (!span_is((span){at->name.ptr, at->name.length}, name.ptr, name.len)) continue;
    if (count++ == index) *value = (span){at->value.ptr, at->value.length};
  }
  return count;
}

headers fetched_begin(fetched *f, void *envoy, int type) {
  f->envoy = envoy;
  f->type = type;
  f->done = false;
  return (headers){get, f};
}

void fetched_remove(const headers *h, span name) {
  span value;
  if (get(h, name, 0, &value) == 0) return;
  fetched *f = h->of;
  f->done = false;
  envoy_dynamic_module_callback_http_set_header(f->envoy, f->type, buffer(name), (abi_buffer){NULL, 0});
}
