#define _GNU_SOURCE
#include "guard.h"

#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

enum { MAX_GUARDED = 256 };

/* A row is free while base is 0, and being filled while it is 1. */
static struct {
  _Atomic uintptr_t base;
  size_t size;
  _Atomic bool *broken;
} guarded[MAX_GUARDED];

static struct sigaction before;
static bool installed;

/* pass_on does what would have been done without us. */
static void pass_on(int sig, siginfo_t *info, void *context) {
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(sig, info, context);
  } else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN) {
    before.sa_handler(sig);
  } else {
    signal(sig, SIG_DFL); /* the access is tried again, and ends the process */
  }
}

/* on_sigbus puts zeros where the file ended: no state, no session and no policy is read from them. */
static void on_sigbus(int sig, siginfo_t *info, void *context) {
  uintptr_t at = (uintptr_t)info->si_addr;
  for (int i = 0; i < MAX_GUARDED; i++) {
    uintptr_t base = atomic_load(&guarded[i].base);
    if (base <= 1 || at < base || at - base >= guarded[i].size) continue;
    atomic_store(guarded[i].broken, true);
    if (mmap((void *)base, guarded[i].size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) !=
        MAP_FAILED)
      return;
  }
  pass_on(sig, info, context);
}

void guard_install(void) {
  struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  if (!installed) installed = sigaction(SIGBUS, &action, &before) == 0;
}

bool guard_add(char *base, size_t size, _Atomic bool *broken) {
  for (int i = 0; i < MAX_GUARDED; i++) {
    uintptr_t none = 0;
    if (!atomic_compare_exchange_strong(&guarded[i].base, &none, 1)) continue;
    atomic_store(broken, false);
    guarded[i].size = size;
    guarded[i].broken = broken;
    atomic_store(&guarded[i].base, (uintptr_t)base);
    return true;
  }
  return false;
}

void guard_remove(char *base) {
  for (int i = 0; i < MAX_GUARDED; i++) {
    if (atomic_load(&guarded[i].base) == (uintptr_t)base) atomic_store(&guarded[i].base, 0);
  }
}
