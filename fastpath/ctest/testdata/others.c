/* What the module leaves alone because it is somebody else's, under the sanitizers: others TABLE. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "follow.h"

static uint32_t in_flight(const table *t, const flight *f) { return load32(table_pod(t, f->pod) + P_IN_FLIGHT); }

/* given_away: a request that ends counts for its own pod and its own reader, not for those that have
   had its record, or the reader's row, since it began. */
static void given_away(const char *whole, size_t size) {
  char *copy = aligned_alloc(64, (size + 63) / 64 * 64);
  memcpy(copy, whole, size);
  memset(copy + H_READERS, 0, READERS * READER_SIZE);
  table t = {0};
  if (table_adopt(&t, copy, size) || !reader_claim(&t, 1)) abort();
  flight f = {.began = 1, .pod = 1, .generation = load32(table_pod(&t, 1) + P_GENERATION)};
  char *ended = table_pod(&t, 1) + P_REQUESTS, *reader = copy + H_READERS + R_GENERATION;
  uint32_t none = in_flight(&t, &f);
  uint64_t before = load64(ended);
  account_begin(&t, &f);
  account_end(&t, &f, 2);
  if (in_flight(&t, &f) != none || load64(ended) != before + 1) abort();
  account_begin(&t, &f);
  if (in_flight(&t, &f) != none + 1) abort();
  add32(reader, 1);
  account_end(&t, &f, 2);
  if (in_flight(&t, &f) != none + 1 || load64(ended) != before + 2) abort();
  add32(reader, (uint32_t)-1);
  account_begin(&t, &f);
  add32(table_pod(&t, 1) + P_GENERATION, 1);
  account_answer(&t, &f, 200, 2);
  account_misroute(&t, &f);
  account_end(&t, &f, 2);
  if (in_flight(&t, &f) != none + 2 || load64(ended) != before + 2) abort();
  free(copy);
}

static sigjmp_buf before_fault;

static void on_fault(int sig) {
  (void)sig;
  siglongjmp(before_fault, 1);
}

/* foreign_fault: a SIGBUS that is not about a table is for who handled it before the module, however
   often tables were followed. */
static void foreign_fault(const char *path) {
  struct sigaction ours = {.sa_handler = on_fault};
  if (sigaction(SIGBUS, &ours, NULL) != 0) abort();
  for (int i = 0; i < 3; i++) follow_close(follow_open(path, strlen(path)));
  FILE *empty = tmpfile();
  volatile char *nothing = empty ? mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(empty), 0) : MAP_FAILED;
  if (nothing == MAP_FAILED) abort();
  if (sigsetjmp(before_fault, 1) == 0) {
    (void)*nothing;
    abort();
  }
  munmap((void *)nothing, 4096);
  fclose(empty);
}

int main(int argc, char **argv) {
  int fd = argc == 2 ? open(argv[1], O_RDONLY) : -1;
  off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
  char *whole = size <= 0 ? NULL : malloc((size_t)size);
  if (!whole || pread(fd, whole, (size_t)size, 0) != size) return 2;
  close(fd);
  given_away(whole, (size_t)size);
  foreign_fault(argv[1]);
  free(whole);
  return 0;
}
