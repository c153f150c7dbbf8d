/* A table's file is mapped and validated here; lookup.c reads it. */
#define _GNU_SOURCE
#include "table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "guard.h"

uint64_t monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* boot_id reads the id of the machine's boot, as the file has it; false where there is none. */
static bool boot_id(unsigned char id[16]) {
  char text[37] = {0};
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  size_t digits = 0;
  for (ssize_t i = 0; i < n && digits < 32; i++) {
    char c = text[i];
    if (c == '-') continue;
    int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (v < 0) return false;
    id[digits / 2] = (unsigned char)(digits % 2 ? id[digits / 2] | v : v << 4);
    digits++;
  }
  return digits == 32;
}

/* of_this_boot: times of a table that outlived its machine's boot, on a disk, mean nothing now. */
static bool of_this_boot(const char *base) {
  static const char unknown[16];
  unsigned char ours[16];
  return memcmp(base + H_BOOT, unknown, 16) == 0 || !boot_id(ours) || memcmp(base + H_BOOT, ours, 16) == 0;
}

/* section reports whether count things of size bytes are in the file from off on, aligned. */
static bool section(const table *t, uint64_t off, uint64_t count, uint64_t size, uint64_t align) {
  return off >= HEADER_SIZE && off <= t->size && off % align == 0 && count <= (t->size - off) / size;
}

static bool power_of_two(uint32_t n) { return n != 0 && (n & (n - 1)) == 0; }

const char *table_adopt(table *t, char *base, size_t size) {
  if (size < HEADER_SIZE) return "shorter than its header";
  if (memcmp(base + H_MAGIC, "strroute", 8) != 0) return "not a table";
  if (load32(base + H_VERSION) != TABLE_VERSION) return "of another version";
  if (load32(base + H_HEADER_SIZE) != HEADER_SIZE || load32(base + H_POD_SIZE) != POD_SIZE ||
      load32(base + H_SERVICE_SLOT_SIZE) != SERVICE_SLOT_SIZE)
    return "of another layout";
  if (!of_this_boot(base)) return "of another boot of this machine";
  if (load64(base + H_FILE_SIZE) != size) return "cut short, or longer than it says";
  t->base = base;
  t->size = size;
  memcpy(t->hash_key, base + H_HASH_KEY, sizeof t->hash_key);
  t->bucket_count = load64(base + H_BUCKET_COUNT);
  t->pod_count = load32(base + H_POD_COUNT);
  t->service_slots = load32(base + H_SERVICE_SLOTS);
  t->created = load64(base + H_CREATED);
  t->arena_off = load64(base + H_ARENA_OFF);
  t->arena_size = load64(base + H_ARENA_SIZE);
  t->address_slots = load32(base + H_ADDRESS_SLOTS);
  uint64_t buckets = load64(base + H_BUCKETS_OFF), pods = load64(base + H_PODS_OFF), services = load64(base + H_SERVICES_OFF);
  uint64_t addresses = load64(base + H_ADDRESSES_OFF);
  if (t->bucket_count == 0 || !section(t, buckets, t->bucket_count, BUCKET_SIZE, 64)) return "its buckets are not in it";
  if (!power_of_two(t->service_slots) || !section(t, services, t->service_slots, SERVICE_SLOT_SIZE, 64))
    return "its services are not in it";
  if (!section(t, pods, t->pod_count, POD_SIZE, 64)) return "its pods are not in it";
  if (!power_of_two(t->address_slots) || !section(t, addresses, t->address_slots, 4, 64)) return "its addresses are not in it";
  if (!section(t, t->arena_off, t->arena_size, 1, 1)) return "its policies are not in it";
  t->buckets = base + buckets;
  t->pods = base + pods;
  t->services = base + services;
  t->addresses = base + addresses;
  t->arena = base + t->arena_off;
  atomic_store(&t->reader, READERS);
  return NULL;
}

const char *table_open(table *t, const char *path) {
  int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return "cannot be opened";
  struct stat st;
  const char *why = "not a file";
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
    size_t size = (size_t)st.st_size;
    char *base = size < HEADER_SIZE ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
      why = size < HEADER_SIZE ? "shorter than its header" : "cannot be mapped";
    } else if (!guard_add(base, size, &t->broken)) {
      munmap(base, size);
      why = "one too many";
    } else if ((why = table_adopt(t, base, size)) != NULL) {
      guard_remove(base);
      munmap(base, size);
    } else {
      t->device = st.st_dev;
      t->inode = st.st_ino;
    }
  }
  close(fd);
  return why;
}

void table_close(table *t) {
  guard_remove(t->base);
  munmap(t->base, t->size);
  t->base = NULL;
}

uint32_t table_state(const table *t) {
  return __atomic_load_n((const uint32_t *)(const void *)(t->base + H_STATE), __ATOMIC_ACQUIRE);
}

uint32_t table_flags(const table *t) { return load32(t->base + H_FLAGS); }

bool table_serving(const table *t, uint64_t now, result *why) {
  if (table_state(t) != STATE_LIVE || atomic_load_explicit(&t->broken, memory_order_relaxed) ||
      (uint32_t)atomic_load_explicit(&t->reader, memory_order_relaxed) >= READERS) {
    *why = RESULT_POLICY;
    return false;
  }
  if (now >= load64(t->base + H_LEASE_END)) {
    *why = RESULT_LEASE;
    return false;
  }
  return true;
}

void table_count(const table *t, uint32_t worker, result r) {
  add64(t->base + H_COUNTERS + (size_t)(worker % COUNTER_STRIPES) * COUNTER_STRIPE_SIZE + (size_t)r * 8, 1);
}
