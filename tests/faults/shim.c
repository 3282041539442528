/* Preloaded into the gateway: steps the wall clock and makes the disk fail, as a mapped file says.
   The monotonic clock is never touched. The disk's faults are for files below FAULTS_FOLDER. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct control {
  int64_t clock_offset_ns;
  int32_t write_errno, sync_errno, sync_ms, seen;
};

static volatile struct control *control;
static const char *folder = "";

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("FAULTS_CONTROL");
  int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (getenv("FAULTS_FOLDER")) folder = getenv("FAULTS_FOLDER");
  if (fd < 0) return;
  void *map = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map != MAP_FAILED) control = map;
  close(fd);
}

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

int clock_gettime(clockid_t id, struct timespec *t) {
  static __typeof__(&clock_gettime) next;
  if (!next) next = REAL(clock_gettime);
  int result = next(id, t);
  if (!result && control && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) {
    int64_t ns = (int64_t)t->tv_sec * 1000000000 + t->tv_nsec + control->clock_offset_ns;
    t->tv_sec = ns / 1000000000;
    t->tv_nsec = ns % 1000000000;
  }
  return result;
}

int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  (void)zone;
  int result = clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return result;
}

time_t time(time_t *out) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}

static int fails(int fd, int number) {
  char link[64], path[4096];
  if (!number) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  if (!*folder || strncmp(path, folder, strlen(folder))) return 0;
  control->seen++;
  errno = number;
  return 1;
}

ssize_t write(int fd, const void *data, size_t size) {
  static __typeof__(&write) next;
  if (!next) next = REAL(write);
  if (control && control->write_errno && fails(fd, control->write_errno)) return -1;
  return next(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  static __typeof__(&pwrite64) next;
  if (!next) next = REAL(pwrite64);
  if (control && control->write_errno && fails(fd, control->write_errno)) return -1;
  return next(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  return pwrite64(fd, data, size, at);
}

static int slow_or_wrong(int fd) {
  if (!control) return 0;
  if (control->sync_ms && fails(fd, EIO)) usleep(1000 * control->sync_ms);
  return control->sync_errno && fails(fd, control->sync_errno);
}

int fsync(int fd) {
  static __typeof__(&fsync) next;
  if (!next) next = REAL(fsync);
  return slow_or_wrong(fd) ? -1 : next(fd);
}

int fdatasync(int fd) {
  static __typeof__(&fdatasync) next;
  if (!next) next = REAL(fdatasync);
  return slow_or_wrong(fd) ? -1 : next(fd);
}
