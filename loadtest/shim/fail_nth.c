/* Makes the Nth call that changes a file fail, in a process it is preloaded into (LD_PRELOAD). Only calls on files below FAIL_NTH_DIR
 * count. FAIL_NTH_PLAN is a file of four native 64-bit words that the harness and the process share:
 *
 *   at     which call fails, from 1; 0: none
 *   mode   1: that call fails with EIO
 *          2: that call and every later one that takes room fail with ENOSPC, as on a full disk
 *          3: that call, if it writes, writes the first half only
 *          4: the process is killed (SIGKILL) when it makes that call
 *   seen   calls that counted so far
 *   failed calls that were made to fail so far
 *
 * What C's streams write does not come by here: RocksDB's LOG, which nobody relies on. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { MODE_EIO = 1, MODE_FULL = 2, MODE_SHORT = 3, MODE_KILL = 4 };
/* What a call is: whether a full disk fails it, and whether it can be cut short. */
enum kind { KIND_WRITE, KIND_ROOM, KIND_OTHER };
/* What is to become of it. */
enum fate { FATE_PASS, FATE_FAIL, FATE_SHORT };

struct plan {
    atomic_ulong at, mode, seen, failed;
};

static struct plan *plan;
static const char *dir;
static size_t dir_bytes;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAIL_NTH_PLAN");
    dir = getenv("FAIL_NTH_DIR");
    if (!path || !dir)
        return;
    dir_bytes = strlen(dir);
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int fd = real_open(path, O_RDWR | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        static const char said[] = "fail_nth: FAIL_NTH_PLAN cannot be mapped\n";
        ssize_t (*real_write)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
        real_write(2, said, sizeof said - 1);
        _exit(97);
    }
    plan = at;
}

static int is_ours(const char *path) {
    return strncmp(path, dir, dir_bytes) == 0;
}

static int is_our_fd(int fd) {
    char link[64], path[4096];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (bytes < 0)
        return 0;
    path[bytes] = 0;
    return is_ours(path);
}

static enum fate counted(enum kind kind) {
    unsigned long mode = atomic_load(&plan->mode);
    if (mode == MODE_SHORT && kind != KIND_WRITE)
        return FATE_PASS;
    if (mode == MODE_FULL && kind == KIND_OTHER)
        return FATE_PASS;
    unsigned long at = atomic_load(&plan->at), number = atomic_fetch_add(&plan->seen, 1) + 1;
    if (at == 0 || (mode == MODE_FULL ? number < at : number != at))
        return FATE_PASS;
    atomic_fetch_add(&plan->failed, 1);
    if (mode == MODE_KILL)
        kill(getpid(), SIGKILL);
    if (mode == MODE_SHORT)
        return FATE_SHORT;
    errno = mode == MODE_FULL ? ENOSPC : EIO;
    return FATE_FAIL;
}

static enum fate fate_of_fd(int fd, enum kind kind) {
    return plan && is_our_fd(fd) ? counted(kind) : FATE_PASS;
}

static enum fate fate_of_path(const char *path, enum kind kind) {
    return plan && is_ours(path) ? counted(kind) : FATE_PASS;
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) \
        real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    enum fate fate = fate_of_fd(fd, KIND_WRITE);
    return fate == FATE_FAIL ? -1 : real(fd, bytes, fate == FATE_SHORT && count > 1 ? count / 2 : count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    enum fate fate = fate_of_fd(fd, KIND_WRITE);
    return fate == FATE_FAIL ? -1 : real(fd, bytes, fate == FATE_SHORT && count > 1 ? count / 2 : count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    enum fate fate = fate_of_fd(fd, KIND_WRITE);
    return fate == FATE_FAIL ? -1 : real(fd, bytes, fate == FATE_SHORT && count > 1 ? count / 2 : count, offset);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    enum fate fate = fate_of_fd(fd, KIND_WRITE);
    return fate == FATE_FAIL ? -1 : real(fd, pieces, fate == FATE_SHORT && count > 1 ? count / 2 : count);
}

int fsync(int fd) {
    REAL(int, fsync, int);
    return fate_of_fd(fd, KIND_OTHER) == FATE_FAIL ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    return fate_of_fd(fd, KIND_OTHER) == FATE_FAIL ? -1 : real(fd);
}

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned flags) {
    REAL(int, sync_file_range, int, off64_t, off64_t, unsigned);
    return fate_of_fd(fd, KIND_OTHER) == FATE_FAIL ? -1 : real(fd, offset, count, flags);
}

int ftruncate(int fd, off_t length) {
    REAL(int, ftruncate, int, off_t);
    return fate_of_fd(fd, KIND_OTHER) == FATE_FAIL ? -1 : real(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    REAL(int, ftruncate64, int, off64_t);
    return fate_of_fd(fd, KIND_OTHER) == FATE_FAIL ? -1 : real(fd, length);
}

int fallocate(int fd, int flags, off_t offset, off_t count) {
    REAL(int, fallocate, int, int, off_t, off_t);
    return fate_of_fd(fd, KIND_ROOM) == FATE_FAIL ? -1 : real(fd, flags, offset, count);
}

int fallocate64(int fd, int flags, off64_t offset, off64_t count) {
    REAL(int, fallocate64, int, int, off64_t, off64_t);
    return fate_of_fd(fd, KIND_ROOM) == FATE_FAIL ? -1 : real(fd, flags, offset, count);
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    return fate_of_path(to, KIND_ROOM) == FATE_FAIL ? -1 : real(from, to);
}

int link(const char *from, const char *to) {
    REAL(int, link, const char *, const char *);
    return fate_of_path(to, KIND_ROOM) == FATE_FAIL ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    return fate_of_path(path, KIND_OTHER) == FATE_FAIL ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    return fate_of_path(path, KIND_ROOM) == FATE_FAIL ? -1 : real(path, mode);
}

#define OPENED(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, name, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; \
        va_end(rest); \
        if (flags & O_CREAT && fate_of_path(path, KIND_ROOM) == FATE_FAIL) \
            return -1; \
        return real(path, flags, mode); \
    }

OPENED(open)
OPENED(open64)
