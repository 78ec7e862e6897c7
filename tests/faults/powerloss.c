/* Logs what a process writes below $POWERLOSS_FOLDER, and when it asks for it to be durable.

   LD_PRELOAD=powerloss.so. Records in $POWERLOSS_LOG, little-endian:
   op (1 byte), length of the path (4), path, offset (8), length of the data (4), data.
   W write, T truncate, S sync, U unlink, A what went to stdout (an acknowledgement).
   With $POWERLOSS_LIES, syncs are neither done nor logged: the negative control. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *folder;

__attribute__((constructor)) static void begin(void) {
    folder = getenv("POWERLOSS_FOLDER");
    const char *name = getenv("POWERLOSS_LOG");
    if (folder && name) log_fd = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
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
    uint32_t length = (uint32_t)strlen(path);
    put(&op, 1), put(&length, 4), put(path, length), put(&offset, 8), put(&size, 4);
    put(data, size);
}

static int watched(int fd, char *path, size_t room) {
    char link[64];
    if (log_fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, room - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}

static ssize_t written(int fd, const void *data, size_t size, off_t offset, int positioned) {
    char path[4096];
    if (fd == 1 && log_fd >= 0) {
        pthread_mutex_lock(&turn);
        note('A', "", 0, data, (uint32_t)size);
        ssize_t done = syscall(SYS_write, fd, data, size);
        pthread_mutex_unlock(&turn);
        return done;
    }
    int ours = watched(fd, path, sizeof path);
    if (ours) pthread_mutex_lock(&turn);
    if (!positioned && ours) offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = positioned ? syscall(SYS_pwrite64, fd, data, size, offset)
                              : syscall(SYS_write, fd, data, size);
    if (ours && done > 0) note('W', path, offset, data, (uint32_t)done);
    if (ours) pthread_mutex_unlock(&turn);
    return done;
}

ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, 0, 0); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at, 1); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at, 1); }

static int truncated(int fd, off_t size) {
    char path[4096];
    int ours = watched(fd, path, sizeof path);
    if (ours) pthread_mutex_lock(&turn);
    int result = (int)syscall(SYS_ftruncate, fd, size);
    if (ours && result == 0) note('T', path, size, "", 0);
    if (ours) pthread_mutex_unlock(&turn);
    return result;
}

int ftruncate(int fd, off_t size) { return truncated(fd, size); }
int ftruncate64(int fd, off_t size) { return truncated(fd, size); }

static int synced(int fd, long call) {
    char path[4096];
    if (getenv("POWERLOSS_LIES")) return 0;
    int ours = watched(fd, path, sizeof path);
    if (ours) pthread_mutex_lock(&turn);
    int result = (int)syscall(call, fd);
    if (ours && result == 0) note('S', path, 0, "", 0);
    if (ours) pthread_mutex_unlock(&turn);
    return result;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int unlink(const char *path) {
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result == 0 && log_fd >= 0 && strncmp(path, folder, strlen(folder)) == 0) {
        pthread_mutex_lock(&turn);
        note('U', path, 0, "", 0);
        pthread_mutex_unlock(&turn);
    }
    return result;
}
