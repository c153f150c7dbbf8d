/* The hooks of Envoy's HTTP filter that do something; idle_hooks.c has the rest. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>

#include "abi.h"
#include "decode.h"
#include "fetched.h"
#include "follow.h"
#include "learned.h"
#include "metadata.h"
#include "retry.h"

#define TEXT(literal) ((abi_buffer){literal, sizeof literal - 1})

/* How extproc says where a request is to go: an address in base64. Clients cannot. */
#define DESTINATION "x-stateful-route-destination"

static abi_buffer buffer(span s) { return (abi_buffer){s.ptr, s.len}; }

static void complain(const char *what) {
  if (envoy_dynamic_module_callback_log) envoy_dynamic_module_callback_log(ABI_LOG_WARN, buffer(span_of(what)));
}

/* complete reports whether Envoy has all that this module asks of it. */
static bool complete(void) {
  return envoy_dynamic_module_callback_http_get_header && envoy_dynamic_module_callback_http_get_headers_size &&
         envoy_dynamic_module_callback_http_get_headers && envoy_dynamic_module_callback_http_filter_get_attribute_string &&
         envoy_dynamic_module_callback_http_get_upstream_remote_address &&
         envoy_dynamic_module_callback_http_set_header && envoy_dynamic_module_callback_http_filter_recreate_stream &&
         envoy_dynamic_module_callback_http_set_upstream_override_host &&
         envoy_dynamic_module_callback_http_set_filter_state_bytes && envoy_dynamic_module_callback_http_set_dynamic_metadata_struct &&
         envoy_dynamic_module_callback_http_filter_http_callout && envoy_dynamic_module_callback_http_filter_continue_encoding &&
         envoy_dynamic_module_callback_http_send_response;
}

const char *HOOK(program_init)(void) {
  if (complete()) return ABI_VERSION;
  complain("stateful-route: this Envoy lacks callbacks that its module needs");
  return NULL;
}

/* A configuration begins with an empty line: a module that is too old to send a request where extproc
   says refuses it. Then come the path of a table; for how many milliseconds extproc is asked about a
   response; and "clean" where no route takes our headers out: for the routes to do it costs each
   request, and here it costs those that have one. */
typedef struct {
  follower *follower;
  uint64_t timeout_ms;
  bool cleans;
} filter_config;

enum { DEFAULT_TIMEOUT_MS = 200 };

static uint64_t timeout_of(span digits) {
  uint64_t ms = 0;
  for (size_t i = 0; i < digits.len && i < 9; i++) {
    if (digits.ptr[i] < '0' || digits.ptr[i] > '9') return DEFAULT_TIMEOUT_MS;
    ms = ms * 10 + (uint64_t)(digits.ptr[i] - '0');
  }
  return ms > 0 ? ms : DEFAULT_TIMEOUT_MS;
}

const void *HOOK(http_filter_config_new)(void *config, abi_buffer name, abi_buffer text) {
  (void)config, (void)name;
  span path, digits, more, first = span_cut((span){text.ptr, text.length}, '\n', &path, NULL);
  path = span_cut(path, '\n', &digits, NULL);
  digits = span_cut(digits, '\n', &more, NULL);
  if (first.len > 0 || path.len == 0 || memchr(path.ptr, 0, path.len)) {
    complain("stateful-route: the module's configuration is to be an empty line and the path of a table");
    return NULL;
  }
  filter_config *c = malloc(sizeof *c);
  follower *f = c ? follow_open(path.ptr, path.len) : NULL;
  if (!f) {
    free(c);
    return NULL;
  }
  *c = (filter_config){f, timeout_of(digits), span_is(more, "clean", 5)};
  return c;
}

void HOOK(http_filter_config_destroy)(const void *config) {
  follow_close(((const filter_config *)config)->follower);
  free((void *)config);
}

static void set_request_header(void *envoy, const char *name, span value) {
  envoy_dynamic_module_callback_http_set_header(envoy, ABI_REQUEST_HEADERS, buffer(span_of(name)), buffer(value));
}

/* mark has the router try a request again. A bound one at its pod, whose name the load balancer is told, and once,
   as routes say; another one twice. */
static void mark(void *envoy, const verdict *v) {
  set_request_header(envoy, "x-envoy-retry-on", v->pinned ? v->policy->retry_bound : v->policy->retry_unbound);
  if (!v->pinned) {
    set_request_header(envoy, "x-envoy-max-retries", span_of("2"));
    return;
  }
  char text[64 + P_NAME_MAX];
  meta_writer w = {text, sizeof text, 0};
  meta_text(&w, span_of("stateful-route-pod"), (span){v->pod.name, v->pod.name_len});
  envoy_dynamic_module_callback_http_set_dynamic_metadata_struct(envoy, TEXT("envoy.lb"), (abi_buffer){text, w.len});
}

/* marked reports whether the router is to try a request again: one whose body would have to be kept cannot
   begin anew. Nor can one that has: without a session it is to go to another pod then, and where its session
   was moved meanwhile, this is the first time that it meets a connection of that pod. */
static bool marked(const verdict *v, bool whole, const stream *s) {
  return v->pinned ? v->retry && (!whole || s->elsewhere) : !whole || s->anew;
}

static retry_kind retry_of(const verdict *v, bool whole, bool again) {
  if (!whole || again) return RETRY_NEVER;
  return !v->pinned ? RETRY_UNSENT : v->retry ? RETRY_RESET : RETRY_NEVER;
}

/* apply has Envoy do what was decided. False: it would not, and extproc is asked. */
static bool apply(void *envoy, const verdict *v) {
  abi_buffer address = {v->pod.address, v->pod.address_len};
  if (v->pinned && !envoy_dynamic_module_callback_http_set_upstream_override_host(envoy, address, true)) return false;
  return envoy_dynamic_module_callback_http_set_filter_state_bytes(envoy, TEXT("stateful-route.fast-path"), TEXT("1"));
}

static void begin(stream *s, held *h, const verdict *v, uint64_t now) {
  s->counted = true;
  s->pinned = v->pinned;
  s->flight.began = now;
  s->flight.pod = v->pod.pod;
  s->flight.generation = v->pod.generation;
  s->flight.method = v->method;
  s->flight.service = v->pinned ? 0 : v->policy->service;
  account_begin(&h->t, &s->flight);
  atomic_store_explicit(&s->table, h, memory_order_relaxed);
  if (!v->pinned) return;
  if (v->policy->n_learn > 0) s->learns = policy_keep(v->policy);
  s->address_len = v->pod.address_len;
  memcpy(s->address, v->pod.address, sizeof s->address);
  atomic_store_explicit(&s->since, now, memory_order_relaxed);
  atomic_store_explicit(&s->hash_a, v->hash.a, memory_order_relaxed);
  atomic_store_explicit(&s->hash_b, v->hash.b, memory_order_relaxed);
  atomic_store_explicit(&s->open, true, memory_order_release);
}

/* judge decides what becomes of a request, and does of that what can be done before it is known
   whether the request has a body. */
static void judge(stream *s, void *envoy) {
  worker *w = s->owner;
  w->of = NULL;
  char before[P_ADDRESS_MAX];
  size_t before_len;
  s->anew = retry_again(w, envoy, before, &before_len);
  held *h = follow_hold(s->follower, w->id);
  if (!h) return;
  abi_buffer service = {NULL, 0};
  envoy_dynamic_module_callback_http_filter_get_attribute_string(envoy, ABI_ATTRIBUTE_XDS_ROUTE_NAME, &service);
  fetched all;
  headers from = fetched_begin(&all, envoy, ABI_REQUEST_HEADERS);
  request r = {{service.ptr, service.length}, &from, monotonic_ns(), time(NULL), s->anew};
  verdict *v = &w->judged;
  decide(&h->t, w->policies, &r, v);
  if (v->skip && !apply(envoy, v)) {
    v->skip = false;
    v->result = RESULT_POLICY;
  }
  table_count(&h->t, w->id, v->result);
  if (!v->skip) {
    follow_release(h, w->id);
    return;
  }
  begin(s, h, v, r.now);
  s->elsewhere = s->anew && v->pinned && !span_is((span){before, before_len}, v->pod.address, v->pod.address_len);
  w->of = s;
  fetched_remove(&from, span_of("x-stateful-route-forwarded-proto")); /* nobody asks extproc */
}

/* Envoy makes the filters of a request in their order, and all of them before the first one has it. That
   is where requests are judged: so the filter that asks extproc comes before this one, and knows
   already whether it is to ask, and where extproc says this one sends the request. */
const void *HOOK(http_filter_new)(const void *config, void *envoy) {
  stream *s = stream_new(worker_self());
  if (!s) return NULL;
  const filter_config *c = config;
  s->follower = c->follower;
  s->timeout_ms = c->timeout_ms;
  s->cleans = c->cleans;
  judge(s, envoy);
  return s;
}

static int refuse(void *envoy) {
  envoy_dynamic_module_callback_http_send_response(envoy, 503, NULL, 0, TEXT(""), TEXT("stateful_route_unpinned"));
  return ABI_STOP_ITERATION;
}

/* pin sends a request where extproc said, or nowhere. */
static int pin(void *envoy) {
  fetched all;
  headers from = fetched_begin(&all, envoy, ABI_REQUEST_HEADERS);
  span told = header_value(&from, span_of(DESTINATION));
  if (told.len > 0) {
    char address[P_ADDRESS_MAX];
    size_t len = decode_base64(told, address, sizeof address);
    if (len == 0 || !envoy_dynamic_module_callback_http_set_upstream_override_host(envoy, (abi_buffer){address, len}, true)) return refuse(envoy);
  }
  fetched_remove(&from, span_of(DESTINATION));
  fetched_remove(&from, span_of("x-stateful-route-forwarded-proto"));
  return ABI_CONTINUE;
}

int HOOK(http_filter_request_headers)(void *envoy, const void *filter, bool end) {
  stream *s = (stream *)filter;
  if (!s) return refuse(envoy);
  if (!s->counted) return pin(envoy);
  worker *w = s->owner;
  if (w->of != s) return ABI_CONTINUE; /* another came between: it is not tried again */
  w->of = NULL;
  s->retry = retry_of(&w->judged, end, s->anew);
  if (marked(&w->judged, end, s)) mark(envoy, &w->judged);
  return ABI_CONTINUE;
}

static int status_of(const headers *response) {
  span text = header_value(response, span_of(":status"));
  int status = 0;
  for (size_t i = 0; i < text.len && i < 4; i++) {
    if (text.ptr[i] < '0' || text.ptr[i] > '9') return 0;
    status = status * 10 + text.ptr[i] - '0';
  }
  return status;
}

/* clean takes out what only Envoy and extproc may say to clients, in their own answers. */
static void clean(const stream *s, const headers *response) {
  if (!s->cleans || s->local) return;
  fetched_remove(response, span_of("x-stateful-route-pod"));
  fetched_remove(response, span_of("x-stateful-route-reason"));
}

int HOOK(http_filter_response_headers)(void *envoy, const void *filter, bool end) {
  (void)end;
  stream *s = (stream *)filter;
  if (!s) return ABI_CONTINUE;
  fetched all;
  headers response = fetched_begin(&all, envoy, ABI_RESPONSE_HEADERS);
  clean(s, &response);
  if (!s->counted || s->flight.answered != 0) return ABI_CONTINUE;
  uint64_t now = monotonic_ns();
  if (retry_begin(envoy, s, now)) return ABI_STOP_ITERATION;
  const table *t = &atomic_load_explicit(&s->table, memory_order_relaxed)->t;
  abi_buffer at = {NULL, 0};
  bool known = envoy_dynamic_module_callback_http_get_upstream_remote_address(envoy, &at) && at.length > 0;
  span served = {at.ptr, known ? at.length : 0};
  account_served(t, &s->flight, served);
  account_answer(t, &s->flight, status_of(&response), now);
  if (s->pinned && known && !span_is(served, s->address, s->address_len)) account_misroute(t, &s->flight);
  return learned_look(s, envoy, &response, served);
}

int HOOK(http_filter_local_reply)(void *envoy, const void *filter, uint32_t status, abi_buffer details, bool reset) {
  (void)envoy, (void)status, (void)reset;
  stream *s = (stream *)filter;
  if (!s) return ABI_CONTINUE;
  s->local = true;
  if (s->counted) retry_note(s, details);
  return ABI_CONTINUE;
}

static void end_stream(stream *s) {
  if (!s || !s->counted) return;
  s->counted = false;
  policy_free(s->learns);
  s->learns = NULL;
  atomic_store_explicit(&s->open, false, memory_order_release);
  held *h = atomic_load_explicit(&s->table, memory_order_relaxed);
  if (s->again) {
    account_cancel(&h->t, &s->flight);
  } else {
    account_end(&h->t, &s->flight, monotonic_ns());
  }
  follow_release(h, s->owner->id);
}

void HOOK(http_filter_stream_complete)(void *envoy, const void *filter) {
  (void)envoy;
  end_stream((stream *)filter);
}

void HOOK(http_filter_destroy)(const void *filter) {
  stream *s = (stream *)filter;
  end_stream(s);
  stream_free(s);
}
