#ifndef STATEFUL_ROUTE_DECODE_H
#define STATEFUL_ROUTE_DECODE_H

#include <stdint.h>

#include "span.h"

/* decode undoes percent-encoding, and "+" for a space in forms; what does not decode is taken as it
   is. to has room for raw. It returns how many bytes it wrote. */
size_t decode(span raw, bool form, char *to);
/* decodes_to reports whether decode would write that. */
bool decodes_to(span raw, bool form, span want);

/* decode_base64 writes what a text with padding stands for, and returns how much; 0: it is none, or there
   is no room for it. */
size_t decode_base64(span text, char *to, size_t room);

/* unstamp takes the time at which its cookie ends off a session id that was issued with one. */
bool unstamp(const char *text, size_t *len, uint32_t *ends);

#endif
