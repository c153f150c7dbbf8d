#include "learned.h"

#include <stdlib.h>

#include "fetched.h"
#include "learn.h"

#define TEXT(literal) ((abi_buffer){literal, sizeof literal - 1})
#define HEADER(name, value) ((abi_header){TEXT(name), TEXT(value)})

static abi_buffer buffer(span s) { return (abi_buffer){s.ptr, s.len}; }

/* ask sends extproc what an ext_proc filter would, as one call. Envoy repeats it as it repeats that of
   the filter: for as long as one may take. */
static bool ask(stream *s, void *envoy, span message) {
  const policy *p = s->learns;
  abi_header all[] = {
      HEADER(":method", "POST"),
      HEADER(":path", "/envoy.service.ext_proc.v3.ExternalProcessor/Process"),
      HEADER(":authority", "stateful-route-extproc"),
      HEADER("content-type", "application/grpc"),
      HEADER("te", "trailers"),
      HEADER("x-envoy-retry-on", "connect-failure,refused-stream,reset"),
      HEADER("x-envoy-retry-grpc-on", "unavailable"),
      HEADER("x-envoy-max-retries", "1000"),
      HEADER("x-stateful-route-learn", "1"),
      {TEXT("x-stateful-route-service"), buffer(p->name)},
  };
  uint64_t id;
  return envoy_dynamic_module_callback_http_filter_http_callout(envoy, &id, TEXT("stateful-route-extproc"), all, sizeof all / sizeof *all,
                                                                buffer(message), s->timeout_ms) == 0;
}

/* settle lets a response go that was answered for, and any where requests without an answer go on, too. */
static bool settle(stream *s, void *envoy, bool answered) {
  bool deny = (s->learns->flags & POLICY_DENIES) != 0;
  policy_free(s->learns);
  s->learns = NULL;
  if (answered || !deny) return true;
  /* By these details Envoy gives it the status and the text of any request that nobody decided. */
  envoy_dynamic_module_callback_http_send_response(envoy, 503, NULL, 0, TEXT(""), TEXT("ext_proc_error_learned_session"));
  return false;
}

int learned_look(stream *s, void *envoy, const headers *response, span upstream) {
  if (!s->learns || upstream.len == 0) return ABI_CONTINUE;
  fetched asked;
  headers request = fetched_begin(&asked, envoy, ABI_REQUEST_HEADERS);
  if (!learn_due(s->learns, &request, response)) return ABI_CONTINUE;
  span message = {NULL, 0};
  message.ptr = learn_message(s->learns, &request, response, upstream, &message.len);
  s->answered = false;
  s->asking = s->hooked = true;
  bool begun = message.ptr && ask(s, envoy, message);
  s->hooked = false;
  free((void *)message.ptr);
  if (begun && s->asking) return ABI_STOP_AND_WATERMARK;
  s->asking = false;
  return settle(s, envoy, begun && s->answered) ? ABI_CONTINUE : ABI_STOP_AND_WATERMARK;
}

/* has_answer reports whether extproc has answered: an error of gRPC's has no message, and what else
   answers does not begin as one that is not compressed. */
static bool has_answer(int outcome, const abi_buffer *body, size_t chunks) {
  return outcome == 0 && chunks > 0 && body[0].length > 0 && body[0].ptr[0] == 0;
}

void HOOK(http_filter_http_callout_done)(void *envoy, const void *filter, uint64_t id, int outcome, abi_header *headers, size_t count, abi_buffer *body, size_t chunks) {
  (void)id, (void)headers, (void)count;
  stream *s = (stream *)filter;
  if (!s->asking || !s->learns) return;
  s->asking = false;
  s->answered = has_answer(outcome, body, chunks);
  if (!s->hooked && settle(s, envoy, s->answered)) envoy_dynamic_module_callback_http_filter_continue_encoding(envoy);
}
