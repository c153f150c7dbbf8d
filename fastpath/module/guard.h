/* A file that is cut short while it is mapped ends the process that reads it; not this one. */
#ifndef STATEFUL_ROUTE_GUARD_H
#define STATEFUL_ROUTE_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* guard_install handles SIGBUS, from its first call on; what is not about our mappings goes to who
   handled it before. One thread calls it at a time. */
void guard_install(void);
bool guard_add(char *base, size_t size, _Atomic bool *broken);
void guard_remove(char *base);

#endif
