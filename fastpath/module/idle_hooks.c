/* Hooks that Envoy looks for and that have nothing to do: bodies and trailers pass as they are. */
#include "abi.h"

int HOOK(http_filter_request_body)(void *envoy, const void *filter, bool end) {
  (void)envoy, (void)filter, (void)end;
  return ABI_CONTINUE;
}

int HOOK(http_filter_request_trailers)(void *envoy, const void *filter) {
  (void)envoy, (void)filter;
  return ABI_CONTINUE;
}

int HOOK(http_filter_response_body)(void *envoy, const void *filter, bool end) {
  (void)envoy, (void)filter, (void)end;
  return ABI_CONTINUE;
}

int HOOK(http_filter_response_trailers)(void *envoy, const void *filter) {
  (void)envoy, (void)filter;
  return ABI_CONTINUE;
}

/* None of these is ever called: they are about what only a module itself begins. */
#define UNUSED_HOOK(name) \
  void HOOK(name)(void) {}

UNUSED_HOOK(http_filter_http_stream_headers)
UNUSED_HOOK(http_filter_http_stream_data)
UNUSED_HOOK(http_filter_http_stream_trailers)
UNUSED_HOOK(http_filter_http_stream_complete)
UNUSED_HOOK(http_filter_http_stream_reset)
UNUSED_HOOK(http_filter_scheduled)
/* These are called, and their arguments are of no interest. */
UNUSED_HOOK(http_filter_downstream_above_write_buffer_high_watermark)
UNUSED_HOOK(http_filter_downstream_below_write_buffer_low_watermark)
