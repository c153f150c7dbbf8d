// Sets the wall clock of one process: gettimeofday is CLOCK_REALTIME plus the seconds that a
// file has, a 64-bit number, whose name is in CLOCK_FILE. Redis reads no other wall clock.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead;

__attribute__((constructor)) static void begin(void) {
  const char *name = getenv("CLOCK_FILE");
  int file = name ? open(name, O_RDONLY) : -1;
  if (file < 0) return;
  void *at = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
  if (at != MAP_FAILED) ahead = at;
  close(file);
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
  (void)zone;
  struct timespec t;
  if (syscall(SYS_clock_gettime, CLOCK_REALTIME, &t)) return -1;
  tv->tv_sec = t.tv_sec + (ahead ? *ahead : 0);
  tv->tv_usec = t.tv_nsec / 1000;
  return 0;
}
