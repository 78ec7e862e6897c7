/* Logs what processes do to files and folders in $POWERLOSS_FOLDER, and when they ask for it to be durable.

   LD_PRELOAD=powerloss.so, inherited by the processes that they start. Records in
   $POWERLOSS_LOG, in the order in which things were done by all of them, little-endian:
   op (1 byte), process (4), length of the path (4), path, offset (8), length of the data (4), data.
   C create, W write, T truncate, S sync (of a file or a folder), D make a folder, L link
   (data: the old name), U unlink, A what went to stdout (an acknowledgement).
   Syncs of what begins with $POWERLOSS_LIES do nothing, as with eatmydata, and are logged as N:
   the negative control. With $POWERLOSS_DIES the process kills itself at its so manieth sync. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *folder, *lies;
static int left = -1; /* Syncs until it dies. */

__attribute__((constructor)) static void begin(void) {
    folder = getenv("POWERLOSS_FOLDER");
    lies = getenv("POWERLOSS_LIES");
    const char *name = getenv("POWERLOSS_LOG"), *dies = getenv("POWERLOSS_DIES");
    if (dies) left = atoi(dies);
    if (folder && name)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* One thread of one process at a time does something and logs it. */
static void lock(void) {
    pthread_mutex_lock(&turn);
    while (flock(log_fd, LOCK_EX) != 0)
        if (errno != EINTR) abort();
}

static void unlock(void) {
    int kept = errno;
    flock(log_fd, LOCK_UN);
    pthread_mutex_unlock(&turn);
    errno = kept;
}

static void put(const void *data, size_t size) {
    const char *at = data;
    while (size > 0) {
        long done = syscall(SYS_write, log_fd, at, size);
        if (done <= 0) abort();
        at += done;
        size -= (size_t)done;
    }
}

static void note(char op, const char *path, int64_t offset, const void *data, uint32_t size) {
    int kept = errno;
    uint32_t length = (uint32_t)strlen(path), process = (uint32_t)getpid();
    put(&op, 1), put(&process, 4), put(&length, 4), put(path, length), put(&offset, 8), put(&size, 4);
    put(data, size);
    errno = kept;
}

static int below(const char *path, const char *where) {
    size_t length = strlen(where);
    return strncmp(path, where, length) == 0 && (path[length] == 0 || path[length] == '/');
}

static int watched(int fd, char *path) {
    char link[64];
    if (log_fd < 0 || fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, PATH_MAX - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return below(path, folder);
}

static int named(const char *name, char *path) {
    return log_fd >= 0 && realpath(name, path) && below(path, folder);
}

static ssize_t written(int fd, const void *data, size_t size, off_t offset, int positioned) {
    char path[PATH_MAX];
    int told = fd == 1 && log_fd >= 0, ours = !told && watched(fd, path);
    if (told || ours) lock();
    if (told) note('A', "", 0, data, (uint32_t)size);
    if (!positioned && ours) offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = positioned ? syscall(SYS_pwrite64, fd, data, size, offset)
                              : syscall(SYS_write, fd, data, size);
    if (ours && done > 0) note('W', path, offset, data, (uint32_t)done);
    if (told || ours) unlock();
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at, 1); }

static int truncated(int fd, off_t size) {
    char path[PATH_MAX];
    int ours = watched(fd, path);
    if (ours) lock();
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (ours && result == 0) note('T', path, size, "", 0);
    if (ours) unlock();
    return result;
}

int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off_t size) { return truncated(fd, size); }

static int synced(int fd, long call) {
    char path[PATH_MAX];
    int ours = watched(fd, path), lied = ours && lies && strncmp(path, lies, strlen(lies)) == 0;
    if (ours) lock();
    if (ours && --left == 0) kill(getpid(), SIGKILL);
    int result = lied ? 0 : (int)syscall(call, fd);
    if (ours && result == 0) note(lied ? 'N' : 'S', path, 0, "", 0);
    if (ours) unlock();
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int opened(int at, const char *name, int flags, mode_t mode) {
    char path[PATH_MAX];
    if (log_fd < 0 || !(flags & (O_CREAT | O_TRUNC))) return (int)syscall(SYS_openat, at, name, flags, mode);
    lock();
    int there = faccessat(at, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    int fd = (int)syscall(SYS_openat, at, name, flags, mode);
    if (watched(fd, path)) {
        if (!there) note('C', path, 0, "", 0);
        else if (flags & O_TRUNC) note('T', path, 0, "", 0);
    }
    unlock();
    return fd;
}

#define MODE(flags, mode) \
    mode_t mode = 0; \
    if (flags & O_CREAT) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *name, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags, mode) return opened(AT_FDCWD, name, flags, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags, mode) return opened(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags, mode) return opened(at, name, flags, mode); }

int mkdir(const char *name, mode_t mode) {
    char path[PATH_MAX];
    if (log_fd >= 0) lock();
    int result = (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
    if (result == 0 && named(name, path)) note('D', path, 0, "", 0);
    if (log_fd >= 0) unlock();
    return result;
}

int linkat(int from, const char *old, int to, const char *name, int flags) {
    char path[PATH_MAX], was[PATH_MAX];
    if (log_fd >= 0) lock();
    int result = (int)syscall(SYS_linkat, from, old, to, name, flags);
    if (result == 0 && named(name, path) && named(old, was)) note('L', path, 0, was, (uint32_t)strlen(was));
    if (log_fd >= 0) unlock();
    return result;
}

int link(const char *old, const char *name) { return linkat(AT_FDCWD, old, AT_FDCWD, name, 0); }

int unlink(const char *name) {
    char path[PATH_MAX];
    if (log_fd >= 0) lock();
    int ours = named(name, path);
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, name, 0);
    if (ours && result == 0) note('U', path, 0, "", 0);
    if (log_fd >= 0) unlock();
    return result;
}
