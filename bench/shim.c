/* Makes every sync slower, as a slower disk would, and counts them.
 *
 * LEDGER_BENCH_SYNC_DELAY_US: microseconds to sleep after each sync.
 * LEDGER_BENCH_SYNC_LOG: a file to which each process appends "PID CALLS NANOSECONDS"
 * at its end (nanoseconds spent in syncs, the delay included).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static long delay_us;
static atomic_long calls, nanoseconds;

static long now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000L + at.tv_nsec;
}

static void after(long began) {
    if (delay_us > 0) {
        struct timespec pause = {delay_us / 1000000, (delay_us % 1000000) * 1000};
        nanosleep(&pause, NULL);
    }
    atomic_fetch_add(&calls, 1);
    atomic_fetch_add(&nanoseconds, now() - began);
}

__attribute__((constructor)) static void start(void) {
    const char *given = getenv("LEDGER_BENCH_SYNC_DELAY_US");
    delay_us = given ? atol(given) : 0;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("LEDGER_BENCH_SYNC_LOG");
    if (!path) return;
    FILE *log = fopen(path, "a");
    if (!log) return;
    fprintf(log, "%d %ld %ld\n", (int)getpid(), atomic_load(&calls), atomic_load(&nanoseconds));
    fclose(log);
}

#define REAL(name, type) \
    static __typeof__(type) real; \
    if (!real) real = (__typeof__(type))dlsym(RTLD_NEXT, name)

int fsync(int fd) {
    REAL("fsync", int (*)(int));
    long began = now();
    int result = real(fd);
    after(began);
    return result;
}

int fdatasync(int fd) {
    REAL("fdatasync", int (*)(int));
    long began = now();
    int result = real(fd);
    after(began);
    return result;
}

int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned int flags) {
    REAL("sync_file_range", int (*)(int, off64_t, off64_t, unsigned int));
    long began = now();
    int result = real(fd, offset, bytes, flags);
    after(began);
    return result;
}

int msync(void *address, size_t bytes, int flags) {
    REAL("msync", int (*)(void *, size_t, int));
    long began = now();
    int result = real(address, bytes, flags);
    after(began);
    return result;
}
