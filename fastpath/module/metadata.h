/* Serialized google.protobuf.Structs, of texts and booleans. */
#ifndef STATEFUL_ROUTE_METADATA_H
#define STATEFUL_ROUTE_METADATA_H

#include "span.h"

/* A writer writes as much as there is room for; len is what all of it takes. */
typedef struct {
  char *to;
  size_t room, len;
} meta_writer;

void meta_text(meta_writer *w, span key, span value);
void meta_true(meta_writer *w, span key);

#endif
