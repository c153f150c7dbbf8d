/* What Envoy's dynamic modules ABI v0.2.0 (Envoy 1.40) has of what this module needs, declared by
   what it does. The callbacks are weak: one that an Envoy lacks is NULL, see program_init. */
#ifndef STATEFUL_ROUTE_ABI_H
#define STATEFUL_ROUTE_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ABI_VERSION "v0.2.0"
#define HOOK(name) envoy_dynamic_module_on_##name
#define CALLBACK(name) __attribute__((weak)) envoy_dynamic_module_callback_##name

/* A piece of memory, of either side; passed by value. */
typedef struct {
  const char *ptr;
  size_t length;
} abi_buffer;

enum { ABI_REQUEST_HEADERS = 0, ABI_RESPONSE_HEADERS = 2 };
enum { ABI_ATTRIBUTE_XDS_ROUTE_NAME = 61 };
enum { ABI_LOG_WARN = 3 };
enum { ABI_CONTINUE = 0, ABI_STOP_ITERATION = 1, ABI_STOP_AND_WATERMARK = 4 };

typedef struct {
  abi_buffer name, value;
} abi_header;

void CALLBACK(log)(int level, abi_buffer message);

/* The value of that index of a header; *count is how many there are. False: there is none. */
bool CALLBACK(http_get_header)(void *stream, int type, abi_buffer name, abi_buffer *value, size_t index, size_t *count);
/* All headers, in their order, into an array that has room for them. */
size_t CALLBACK(http_get_headers_size)(void *stream, int type);
bool CALLBACK(http_get_headers)(void *stream, int type, abi_header *all);
/* A value of NULL takes the header out. */
bool CALLBACK(http_set_header)(void *stream, int type, abi_buffer name, abi_buffer value);
bool CALLBACK(http_filter_get_attribute_string)(void *stream, int attribute, abi_buffer *value);
bool CALLBACK(http_get_upstream_remote_address)(void *stream, abi_buffer *address);

bool CALLBACK(http_set_upstream_override_host)(void *stream, abi_buffer address, bool strict);
bool CALLBACK(http_set_filter_state_bytes)(void *stream, abi_buffer name, abi_buffer value);
/* A whole namespace of dynamic metadata, a serialized google.protobuf.Struct. */
bool CALLBACK(http_set_dynamic_metadata_struct)(void *stream, abi_buffer name, abi_buffer serialized);

/* A request of our own to a cluster, whose end http_filter_http_callout_done tells; 0: it has begun. */
int CALLBACK(http_filter_http_callout)(void *stream, uint64_t *id, abi_buffer cluster, abi_header *headers, size_t count, abi_buffer body, uint64_t timeout_ms);
void CALLBACK(http_filter_continue_encoding)(void *stream);
void CALLBACK(http_send_response)(void *stream, uint32_t status, abi_header *headers, size_t count, abi_buffer body, abi_buffer details);
/* Has the request pass all filters anew, as one that has just come. Envoy ends the stream before this
   returns true: nothing of it may be touched after. False: the request is not complete. */
bool CALLBACK(http_filter_recreate_stream)(void *stream, void *response_headers, size_t count);

/* What Envoy calls; a configuration without one of these is refused. Those of which no argument is
   looked at are declared without. */
#pragma GCC visibility push(default)
const char *HOOK(program_init)(void);
const void *HOOK(http_filter_config_new)(void *config, abi_buffer name, abi_buffer text);
void HOOK(http_filter_config_destroy)(const void *config);
const void *HOOK(http_filter_new)(const void *config, void *envoy);
void HOOK(http_filter_destroy)(const void *filter);
int HOOK(http_filter_request_headers)(void *envoy, const void *filter, bool end);
int HOOK(http_filter_request_body)(void *envoy, const void *filter, bool end);
int HOOK(http_filter_request_trailers)(void *envoy, const void *filter);
int HOOK(http_filter_response_headers)(void *envoy, const void *filter, bool end);
int HOOK(http_filter_response_body)(void *envoy, const void *filter, bool end);
int HOOK(http_filter_response_trailers)(void *envoy, const void *filter);
int HOOK(http_filter_local_reply)(void *envoy, const void *filter, uint32_t status, abi_buffer details, bool reset);
void HOOK(http_filter_stream_complete)(void *envoy, const void *filter);
void HOOK(http_filter_http_callout_done)(void *envoy, const void *filter, uint64_t id, int outcome, abi_header *headers, size_t count, abi_buffer *body, size_t chunks);
void HOOK(http_filter_http_stream_headers)(void);
void HOOK(http_filter_http_stream_data)(void);
void HOOK(http_filter_http_stream_trailers)(void);
void HOOK(http_filter_http_stream_complete)(void);
void HOOK(http_filter_http_stream_reset)(void);
void HOOK(http_filter_scheduled)(void);
void HOOK(http_filter_downstream_above_write_buffer_high_watermark)(void);
void HOOK(http_filter_downstream_below_write_buffer_low_watermark)(void);
#pragma GCC visibility pop

#endif
