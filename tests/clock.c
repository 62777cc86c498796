/* A clock of its own for a program, for tests: loaded before the C library, it moves the time of day by
 * the nanoseconds in the file $DBD_CLOCK, which is mapped, so that a change holds at once. Times that
 * only measure (CLOCK_MONOTONIC) stay what they are.
 *
 *   cc -shared -fPIC -O2 -o clock.so clock.c
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long none, *offset = &none;

__attribute__((constructor)) static void map(void) {
  const char *path = getenv("DBD_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *at = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
  if (at != MAP_FAILED) offset = at;
  close(file);
}

static void move(struct timespec *time, long long by) {
  long long nanos = time->tv_nsec + by % 1000000000;
  time->tv_sec += by / 1000000000 + (nanos >= 1000000000) - (nanos < 0);
  time->tv_nsec = (nanos + 1000000000) % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, time);
  if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) move(time, *offset);
  return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

/* What waits until a time of day waits until that of this clock. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
  static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  if (!real) real = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
  if (!real) real = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
  struct timespec moved = *until;
  /* Those of the other clock count from the machine's start. */
  if (moved.tv_sec > 1000000000) move(&moved, -*offset);
  return real(condition, mutex, &moved);
}
