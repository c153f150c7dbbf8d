/* A retry by the router needs marks on each request, and a filter that each attempt meets. Here only
   one that failed costs something: it passes all filters anew, so that it is decided by what the table
   says by then, as any request that comes after it. */
#include "retry.h"

#define TEXT(literal) ((abi_buffer){literal, sizeof literal - 1})

/* Its value is the address of the pod that a bound request was sent to, else 1. Clients cannot set it, for Envoy
   strips what begins so from what comes; nor do pods see it. */
#define AGAIN TEXT("x-stateful-route-again")

/* A request of a session that failed later was being served, or its pod takes no connection; as in extproc. */
#define LATE_NS 750000000ull

bool retry_again(worker *w, void *envoy, char *address, size_t *len) {
  *len = 0;
  if (w->anew == 0) return false;
  abi_buffer value = {NULL, 0};
  size_t count = 0;
  if (!envoy_dynamic_module_callback_http_get_header(envoy, ABI_REQUEST_HEADERS, AGAIN, &value, 0, &count)) return false;
  if (value.length > 1 && value.length <= P_ADDRESS_MAX) memcpy(address, value.ptr, *len = value.length);
  envoy_dynamic_module_callback_http_set_header(envoy, ABI_REQUEST_HEADERS, AGAIN, (abi_buffer){NULL, 0});
  w->anew--;
  return true;
}

static bool cut(span *text, const char *prefix) {
  size_t n = strlen(prefix);
  if (text->len < n || memcmp(text->ptr, prefix, n) != 0) return false;
  *text = (span){text->ptr + n, text->len - n};
  return true;
}

/* unsent: no pod has seen the request. */
static bool unsent(span reason) {
  return cut(&reason, "remote_connection_failure") || cut(&reason, "local_connection_failure") ||
         cut(&reason, "connection_timeout") || cut(&reason, "remote_refused_stream_reset");
}

void retry_note(stream *s, abi_buffer details) {
  span reason = {details.ptr, details.length};
  if (s->retry == RETRY_NEVER || !cut(&reason, "upstream_reset_before_response_started{")) return;
  s->failed = s->retry == RETRY_RESET ? !cut(&reason, "overflow") : unsent(reason);
}

bool retry_begin(void *envoy, stream *s, uint64_t now) {
  if (!s->failed) return false;
  if (s->pinned && now - s->flight.began > LATE_NS) {
    envoy_dynamic_module_callback_http_set_header(envoy, ABI_RESPONSE_HEADERS, TEXT("x-stateful-route-reason"), TEXT("late-retry"));
    return false;
  }
  abi_buffer before = s->pinned ? (abi_buffer){s->address, s->address_len} : TEXT("1");
  if (!envoy_dynamic_module_callback_http_set_header(envoy, ABI_REQUEST_HEADERS, AGAIN, before)) return false;
  worker *w = s->owner;
  w->anew++;
  s->again = true; /* what is counted when the stream ends, which is now */
  if (envoy_dynamic_module_callback_http_filter_recreate_stream(envoy, NULL, 0)) return true;
  w->anew--;
  return s->again = false;
}
