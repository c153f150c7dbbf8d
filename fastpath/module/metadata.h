/* Serialized protobuf: google.protobuf.Structs of texts, and fields of other messages. */
#ifndef STATEFUL_ROUTE_METADATA_H
#define STATEFUL_ROUTE_METADATA_H

#include "span.h"

/* A writer writes as much as there is room for; len is what all of it takes. */
typedef struct {
  char *to;
  size_t room, len;
} meta_writer;

/* meta_field writes a field of bytes; meta_begin its tag and length, and the bytes are to follow. */
void meta_field(meta_writer *w, unsigned char tag, span value);
void meta_begin(meta_writer *w, unsigned char tag, size_t len);
/* meta_size is what a field of so many bytes takes, with its tag of one byte. */
size_t meta_size(size_t len);

void meta_text(meta_writer *w, span key, span value);

#endif
