/* Reads damaged copies of a table, under the sanitizers: damaged TABLE COPY ROUNDS SEED. It drives
   the core alone, then the filter's hooks with a file that changes under them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi.h"
#include "decide.h"
#include "follow.h"
#include "learn.h"

static uint64_t state;

static uint32_t any(uint32_t n) {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return (uint32_t)(state >> 33) % n;
}

/* The requests: random headers, of which some name sessions that the table has. */
static const char *const parts[] = {"s1", "s2", "s3", "a", "%41", "%", "/", "?", "session=", ";", "=", "sid=", "&", "\xff", "\xc3\xbc", ":", ".", "#", "rooms/"};

typedef struct {
  char text[8][2048];
} made;

static void make_request(made *m) {
  for (int i = 0; i < 8; i++) {
    m->text[i][0] = 0;
    for (uint32_t n = any(6); n > 0; n--) strcat(m->text[i], parts[any(sizeof parts / sizeof *parts)]);
  }
}

static size_t made_header(const headers *h, span name, size_t index, span *value) {
  const made *m = h->of;
  if (span_is(name, ":method", 7)) {
    *value = span_of("GET");
    return 1;
  }
  size_t count = (name.len + (name.len ? (unsigned char)name.ptr[0] : 0)) % 3;
  if (index < count) *value = span_of(m->text[(name.len + index) % 8]);
  return count;
}

static void core_round(const char *whole, size_t size, uint64_t serial) {
  size_t cut = any(20) == 0 ? any((uint32_t)size + 1) : size;
  char *copy = aligned_alloc(64, (cut + 63) / 64 * 64 + 64);
  memcpy(copy, whole, cut);
  for (uint32_t n = any(4) ? any(40) : 0; n > 0 && cut > 0; n--) {
    size_t at = any(3) ? any((uint32_t)cut) : any(HEADER_SIZE) % cut;
    copy[at] = any(2) ? (char)any(256) : (char)(copy[at] ^ (1 << any(8)));
  }
  table t = {0};
  if (table_adopt(&t, copy, cut) == NULL) {
    t.serial = serial;
    reader_claim(&t, 1);
    policy_cache *policies = policy_cache_new();
    for (int i = 0; i < 20; i++) {
      made m;
      make_request(&m);
      headers h = {made_header, &m};
      request r = {span_of("chat"), &h, monotonic_ns(), 0, false};
      verdict v;
      decide(&t, policies, &r, &v);
      table_count(&t, 3, v.result);
      if (!v.skip) continue;
      flight f = {.began = r.now, .pod = v.pod.pod, .generation = v.pod.generation, .method = v.method};
      f.service = v.pinned ? 0 : v.policy->service;
      account_begin(&t, &f);
      account_served(&t, &f, span_of("127.0.0.1:9101"));
      account_answer(&t, &f, (int)any(700), r.now + any(1u << 30));
      account_end(&t, &f, r.now + any(1u << 30));
    }
    reader_release(&t);
    policy_cache_free(policies);
  }
  free(copy);
}

/* policy_round parses what is nearly a policy, or not at all. */
static void policy_round(const char *whole, const policy_ref *ref) {
  size_t len = any(3) ? ref->len : any(200);
  char *text = malloc(len + 1);
  for (size_t i = 0; i < len; i++) text[i] = len == ref->len ? whole[ref->off + i] : (char)any(256);
  for (uint32_t n = any(6); n > 0 && len > 0; n--) text[any((uint32_t)len)] = (char)any(256);
  policy *p = policy_parse(text, len);
  if (!p) return;
  for (int i = 0; i < 10; i++) {
    made m;
    make_request(&m);
    headers h = {made_header, &m};
    session_key key;
    keys_read(p, &h, 0, &key);
    learn_due(p, &h, &h);
    size_t size;
    free(learn_message(p, &h, &h, span_of("127.0.0.1:9101"), &size));
  }
  policy_free(p);
}

/* Envoy, as far as the hooks ask it. */
static _Atomic int pinned, again, quit;

typedef struct {
  const void *filter;
  void *config;
  bool fails;
  bool marked; /* has the header of a request that begins anew */
  bool said;   /* the pod's response has a header that only Envoy's own may have */
  int begun;   /* anew */
  const char *key, *told; /* its session, and where extproc says that it is to go */
} request_stream;

static const abi_buffer reason = {"x-stateful-route-reason", 23}, destination = {"x-stateful-route-destination", 28};

static abi_buffer text_of(const char *text) { return (abi_buffer){text, strlen(text)}; }

static bool is(abi_buffer name, abi_buffer other) { return name.length == other.length && memcmp(name.ptr, other.ptr, name.length) == 0; }
static bool is_mark(abi_buffer name) { return name.length == 22 && memcmp(name.ptr, "x-stateful-route-again", 22) == 0; }

bool envoy_dynamic_module_callback_http_get_header(void *s, int type, abi_buffer name, abi_buffer *value, size_t index, size_t *count) {
  *count = index == 0 ? 1 : 0;
  if (is_mark(name)) return ((request_stream *)s)->marked;
  const request_stream *r = s;
  if (is(name, reason)) return r->said;
  if (type == ABI_RESPONSE_HEADERS) *value = (abi_buffer){"200", 3};
  else if (name.length == 7) *value = (abi_buffer){"GET", 3};
  else if (name.length == 12) *value = text_of(r->key);
  else if (is(name, destination) && r->told) *value = text_of(r->told);
  else *count = 0;
  return *count > index;
}
/* Now and then there are too many to fetch them all. */
size_t envoy_dynamic_module_callback_http_get_headers_size(void *s, int type) {
  static _Thread_local unsigned asked;
  request_stream *r = s;
  return asked++ % 5 == 0 ? 1000 : type == ABI_REQUEST_HEADERS ? 2 + r->marked + (r->told != NULL) : 1 + r->said;
}
bool envoy_dynamic_module_callback_http_get_headers(void *s, int type, abi_header *all) {
  request_stream *r = s;
  if (type == ABI_RESPONSE_HEADERS) {
    *all++ = (abi_header){{":status", 7}, {"200", 3}};
    if (r->said) *all = (abi_header){reason, {"x", 1}};
    return true;
  }
  *all++ = (abi_header){{":method", 7}, {"GET", 3}};
  *all++ = (abi_header){{"x-session-id", 12}, text_of(r->key)};
  if (r->told) *all++ = (abi_header){destination, text_of(r->told)};
  if (r->marked) *all = (abi_header){{"x-stateful-route-again", 22}, {"1", 1}};
  return true;
}
bool envoy_dynamic_module_callback_http_set_header(void *s, int type, abi_buffer name, abi_buffer value) {
  if (is(name, destination)) ((request_stream *)s)->told = NULL;
  if (type == ABI_RESPONSE_HEADERS && is(name, reason)) ((request_stream *)s)->said = value.ptr != NULL;
  if (type == ABI_REQUEST_HEADERS && is_mark(name)) ((request_stream *)s)->marked = value.ptr != NULL;
  return true;
}
/* As Envoy does: the stream is over, and the request begins anew, before it returns. */
bool envoy_dynamic_module_callback_http_filter_recreate_stream(void *of, void *headers, size_t n) {
  request_stream *s = of;
  if (headers || n || !s->marked || s->begun++ > 0) abort();
  HOOK(http_filter_stream_complete)(s, s->filter);
  HOOK(http_filter_destroy)(s->filter);
  s->filter = HOOK(http_filter_new)(s->config, s);
  HOOK(http_filter_request_headers)(s, s->filter, true);
  if (s->marked) abort();
  again++;
  return true;
}
bool envoy_dynamic_module_callback_http_filter_get_attribute_string(void *s, int a, abi_buffer *value) {
  (void)s, (void)a;
  *value = (abi_buffer){"chat", 4};
  return true;
}
bool envoy_dynamic_module_callback_http_get_upstream_remote_address(void *s, abi_buffer *value) {
  (void)s;
  *value = (abi_buffer){"127.0.0.1:9101", 14};
  return true;
}
bool envoy_dynamic_module_callback_http_set_upstream_override_host(void *s, abi_buffer address, bool strict) {
  (void)s;
  if (address.length != 14 || !strict) abort();
  pinned++;
  return true;
}
bool envoy_dynamic_module_callback_http_set_filter_state_bytes(void *s, abi_buffer n, abi_buffer v) { return (void)s, (void)n, (void)v, true; }
bool envoy_dynamic_module_callback_http_set_dynamic_metadata_struct(void *s, abi_buffer n, abi_buffer v) { return (void)s, (void)n, (void)v, true; }

/* What is asked about a response: refused, answered at once, well or not, or, by serve, later. */
static _Thread_local request_stream *about;
static _Thread_local int how;

static void tell(request_stream *s) {
  abi_buffer body = {how % 2 ? "\0\0\0\0\0" : "no", 2};
  HOOK(http_filter_http_callout_done)(s, s->filter, 1, how % 3 == 0, NULL, 0, &body, how % 5 != 0);
}

int envoy_dynamic_module_callback_http_filter_http_callout(void *s, uint64_t *id, abi_buffer cluster, abi_header *headers, size_t count, abi_buffer body, uint64_t timeout_ms) {
  (void)s, (void)cluster, (void)headers, (void)timeout_ms;
  *id = 1;
  if (count == 0 || body.length < 10) abort();
  how++;
  if (how % 7 == 1) tell(about);
  return how % 7 == 0;
}
void envoy_dynamic_module_callback_http_filter_continue_encoding(void *s) { (void)s; }
void envoy_dynamic_module_callback_http_send_response(void *s, uint32_t status, abi_header *h, size_t n, abi_buffer body, abi_buffer details) {
  (void)s, (void)h, (void)n, (void)body, (void)details;
  if (status != 503) abort();
}

static void answer(request_stream *s) {
  const abi_buffer reset = {"upstream_reset_before_response_started{connection_termination}", 62};
  about = s;
  if (s->fails) HOOK(http_filter_local_reply)(s, s->filter, 503, reset, false);
  else s->said = true;
  int status = HOOK(http_filter_response_headers)(s, s->filter, true);
  if (!s->fails && s->said) abort();
  if (status == ABI_STOP_ITERATION) answer(s);
  if (status == ABI_STOP_AND_WATERMARK && how % 4) tell(s);
}

static void end(request_stream *s) {
  if (!s->filter) return;
  HOOK(http_filter_stream_complete)(s, s->filter);
  HOOK(http_filter_destroy)(s->filter);
}

static void *serve(void *config) {
  request_stream open[32] = {{NULL}};
  for (int i = 0; !quit; i = (i + 1) % 32) {
    request_stream *s = &open[i];
    if (s->filter) answer(s);
    end(s);
    *s = (request_stream){NULL, config, i % 3 == 0, false, false, 0, i % 8 == 7 ? "unknown" : "s1", NULL};
    s->filter = HOOK(http_filter_new)(config, s);
    const char *told[] = {NULL, "MTI3LjAuMC4xOjkxMDE=", "MTI3LjAuMC4xOjkxMDE", "_TI3LjAuMC4xOjkxMDE="};
    if (i % 8 == 7) s->told = told[i / 8];
    bool refused = HOOK(http_filter_request_headers)(s, s->filter, i % 4 != 0) != ABI_CONTINUE;
    if (refused != (i % 8 == 7 && i > 16) || (s->told && !refused)) abort();
  }
  for (int i = 0; i < 32; i++) end(&open[i]);
  return NULL;
}

/* refuses: what the module has no memory for goes nowhere, and neither does a configuration from before
   it sent requests where extproc says. */
static void refuses(const char *path) {
  request_stream none = {NULL, NULL, false, false, false, 0, "s1", NULL};
  abi_buffer details = {"", 0};
  if (HOOK(http_filter_request_headers)(&none, NULL, true) == ABI_CONTINUE) abort();
  HOOK(http_filter_local_reply)(&none, NULL, 503, details, false);
  HOOK(http_filter_response_headers)(&none, NULL, true);
  HOOK(http_filter_stream_complete)(&none, NULL);
  if (HOOK(http_filter_config_new)(NULL, (abi_buffer){"x", 1}, text_of(path))) abort();
}

static void write_file(const char *path, const char *whole, size_t size) {
  char name[4096];
  snprintf(name, sizeof name, "%s.new", path);
  FILE *f = fopen(name, "w");
  if (!f || fwrite(whole, 1, size, f) != size || fclose(f) != 0 || rename(name, path) != 0) abort();
}

static void await_pinned(int more) {
  for (int from = pinned; pinned < from + more;) usleep(1000);
}

/* none_without_a_file: a table whose file was removed is used no more. */
static void none_without_a_file(const char *path) {
  if (unlink(path) != 0) abort();
  follow_tick(monotonic_ns());
  follower *f = follow_open(path, strlen(path));
  if (follow_hold(f, 0)) abort();
  follow_close(f);
}

/* hooks_round has two threads serve while the table is replaced, cut short, replaced again, and removed. */
static void hooks_round(const char *path, const char *whole, size_t size) {
  if (!HOOK(program_init)()) abort();
  write_file(path, whole, size);
  refuses(path);
  char text[4096];
  int len = snprintf(text, sizeof text, "\n%s\n200\nclean", path);
  const void *config = HOOK(http_filter_config_new)(NULL, (abi_buffer){"x", 1}, (abi_buffer){text, (size_t)len});
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, serve, (void *)config);
  for (int i = 0; i < 40; i++) {
    await_pinned(1000);
    if (i % 2 && truncate(path, (off_t)(i % 4 == 1 ? 0 : size / 2)) != 0) abort();
    for (int j = 0; j < 50; j++) follow_tick(monotonic_ns());
    write_file(path, whole, size);
    follow_tick(monotonic_ns());
  }
  await_pinned(1000);
  none_without_a_file(path);
  quit = 1;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  HOOK(http_filter_config_destroy)(config);
}

int main(int argc, char **argv) {
  int fd = argc == 5 ? open(argv[1], O_RDONLY) : -1;
  off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
  char *whole = size <= 0 ? NULL : aligned_alloc(64, ((size_t)size + 63) / 64 * 64);
  if (!whole || pread(fd, whole, (size_t)size, 0) != size) return 2;
  close(fd);
  state = strtoull(argv[4], NULL, 10);
  table t = {0};
  policy_ref ref;
  if (table_adopt(&t, whole, (size_t)size) || !table_policy(&t, span_of("chat"), &ref)) return 2;
  long rounds = strtol(argv[3], NULL, 10);
  for (long i = 0; i < rounds; i++) core_round(whole, (size_t)size, (uint64_t)i + 1);
  for (long i = 0; i < rounds * 100; i++) policy_round(whole, &ref);
  hooks_round(argv[2], whole, (size_t)size);
  printf("%d pinned, %d begun anew\n", pinned, again);
  if (again == 0) return 1;
  free(whole);
  return 0;
}
