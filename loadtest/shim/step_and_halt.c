/* Steps a process's wall clock, and ends or halts the process at a named point: preloaded into it (LD_PRELOAD). SIGNPOST_HALT_PLAN is a
 * file that the harness and the process share, of native 64-bit words and a text:
 *
 *   offset   nanoseconds that the wall clock is ahead of the machine's; the monotonic clocks are left alone
 *   armed    the point: which kind of call, CALL_…; 0: none. It is taken back when the point is reached
 *   form     SIGKILL or SIGSTOP: what the process sends itself there
 *   after    0: before the call is made, 1: when it has been made
 *   pass     so many such calls are let pass before
 *   port     of a call on a socket: one of its two ends has this port
 *   reached  how often a point was reached
 *   path     of a call on a file: a pattern (fnmatch, extended) of its path, to the end of the file
 *
 * What a step does to a wait that is on already is not imitated: such a wait ends when it would have ended without the step. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum call { CALL_NONE = 0, CALL_WRITE = 1, CALL_SYNC = 2, CALL_RENAME = 3, CALL_UNLINK = 4, CALL_SEND = 5, CALL_RECEIVE = 6 };

struct plan {
    atomic_long offset;
    atomic_ulong armed, form, after, pass, port, reached;
    char path[256];
};

/* What is true before any plan is there: the clock is right and nothing is armed. */
static struct plan none;
static struct plan *plan = &none;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("SIGNPOST_HALT_PLAN");
    if (!path)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) {
        fputs("step_and_halt: SIGNPOST_HALT_PLAN cannot be mapped\n", stderr);
        _exit(97);
    }
    close(fd);
    plan = at;
}

#define REAL(result, name, ...) \
    static result (*real)(__VA_ARGS__); \
    if (!real) \
        real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* --- the clock --- */

#define SECOND 1000000000L

static void shift(struct timespec *at, long by) {
    long nanoseconds = at->tv_nsec + by % SECOND;
    at->tv_sec += by / SECOND + (nanoseconds >= SECOND) - (nanoseconds < 0);
    at->tv_nsec = (nanoseconds + SECOND) % SECOND;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, clock_gettime, clockid_t, struct timespec *);
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE || clock == CLOCK_TAI))
        shift(now, atomic_load(&plan->offset));
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    *now = (struct timeval){ .tv_sec = precise.tv_sec, .tv_usec = precise.tv_nsec / 1000 };
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* Until when a wait lasts, by the machine's clock. Monotonic times are far smaller than any date and stay as they are. */
static struct timespec by_machine(const struct timespec *until) {
    struct timespec at = *until;
    if (at.tv_sec > 1000000000)
        shift(&at, -atomic_load(&plan->offset));
    return at;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, const struct timespec *restrict until) {
    static int (*real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real) {
        /* Without the version the oldest one is found, whose condition variables are others. */
        void *found = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
        if (!found)
            found = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
        real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))found;
    }
    struct timespec at = by_machine(until);
    return real(condition, mutex, &at);
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock, const struct timespec *until) {
    REAL(int, pthread_cond_clockwait, pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
    struct timespec at = clock == CLOCK_REALTIME ? by_machine(until) : *until;
    return real(condition, mutex, clock, &at);
}

/* --- the points --- */

/* Whether a point of this kind is armed, before (0) or after (1) the call. Cheap: nearly always not. */
static int is_armed(enum call call, unsigned long after) {
    return atomic_load(&plan->armed) == call && atomic_load(&plan->after) == after;
}

static void reached(enum call call) {
    unsigned long pass = atomic_load(&plan->pass), armed = call;
    while (pass > 0)
        if (atomic_compare_exchange_weak(&plan->pass, &pass, pass - 1))
            return;
    /* One thread gets here, however many arrive. */
    if (!atomic_compare_exchange_strong(&plan->armed, &armed, CALL_NONE))
        return;
    atomic_fetch_add(&plan->reached, 1);
    kill(getpid(), (int)atomic_load(&plan->form));
    /* A signal to the process may be taken by another thread: this one is not to go on meanwhile. */
    if (atomic_load(&plan->form) == SIGKILL)
        for (;;)
            pause();
}

static int path_is(const char *path) {
    return fnmatch(plan->path, path, FNM_EXTMATCH) == 0;
}

static int file_is(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, sizeof path - 1);
    if (bytes < 0)
        return 0;
    path[bytes] = 0;
    return path_is(path);
}

static int port_of(int fd, int (*name)(int, struct sockaddr *restrict, socklen_t *restrict)) {
    struct sockaddr_storage address;
    socklen_t bytes = sizeof address;
    if (name(fd, (struct sockaddr *)&address, &bytes) != 0)
        return -1;
    if (address.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&address)->sin_port);
    return address.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&address)->sin6_port) : -1;
}

static int socket_is(int fd) {
    int port = (int)atomic_load(&plan->port);
    return port_of(fd, getsockname) == port || port_of(fd, getpeername) == port;
}

static void at_fd(enum call call, unsigned long after, int fd) {
    if (!is_armed(call, after))
        return;
    int saved = errno;
    if (call == CALL_SEND || call == CALL_RECEIVE ? socket_is(fd) : file_is(fd))
        reached(call);
    errno = saved;
}

static void at_path(enum call call, unsigned long after, const char *path) {
    if (is_armed(call, after) && path_is(path))
        reached(call);
}

/* A call on a descriptor; `done` says whether it did anything. */
#define AT_FD(type, call, fd, done, made) \
    at_fd(call, 0, fd); \
    type result = made; \
    if (done) \
        at_fd(call, 1, fd); \
    return result

/* What writes files sends to sockets too. */
#define AT_EITHER(fd, made) \
    at_fd(CALL_SEND, 0, fd); \
    at_fd(CALL_WRITE, 0, fd); \
    ssize_t result = made; \
    if (result > 0) { \
        at_fd(CALL_WRITE, 1, fd); \
        at_fd(CALL_SEND, 1, fd); \
    } \
    return result

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    AT_EITHER(fd, real(fd, bytes, count));
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    AT_EITHER(fd, real(fd, pieces, count));
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    AT_FD(ssize_t, CALL_WRITE, fd, result > 0, real(fd, bytes, count, offset));
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    AT_FD(ssize_t, CALL_WRITE, fd, result > 0, real(fd, bytes, count, offset));
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    REAL(ssize_t, send, int, const void *, size_t, int);
    AT_FD(ssize_t, CALL_SEND, fd, result > 0, real(fd, bytes, count, flags));
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int);
    AT_FD(ssize_t, CALL_SEND, fd, result > 0, real(fd, message, flags));
}

ssize_t recv(int fd, void *bytes, size_t count, int flags) {
    REAL(ssize_t, recv, int, void *, size_t, int);
    AT_FD(ssize_t, CALL_RECEIVE, fd, result > 0, real(fd, bytes, count, flags));
}

ssize_t read(int fd, void *bytes, size_t count) {
    REAL(ssize_t, read, int, void *, size_t);
    AT_FD(ssize_t, CALL_RECEIVE, fd, result > 0, real(fd, bytes, count));
}

ssize_t readv(int fd, const struct iovec *pieces, int count) {
    REAL(ssize_t, readv, int, const struct iovec *, int);
    AT_FD(ssize_t, CALL_RECEIVE, fd, result > 0, real(fd, pieces, count));
}

int fsync(int fd) {
    REAL(int, fsync, int);
    AT_FD(int, CALL_SYNC, fd, result == 0, real(fd));
}

int fdatasync(int fd) {
    REAL(int, fdatasync, int);
    AT_FD(int, CALL_SYNC, fd, result == 0, real(fd));
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    at_path(CALL_RENAME, 0, to);
    int result = real(from, to);
    if (result == 0)
        at_path(CALL_RENAME, 1, to);
    return result;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    at_path(CALL_UNLINK, 0, path);
    int result = real(path);
    if (result == 0)
        at_path(CALL_UNLINK, 1, path);
    return result;
}

/* As whole folders are removed: names below an open folder. */
int unlinkat(int folder, const char *name, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    char path[4096] = "";
    if (atomic_load(&plan->armed) == CALL_UNLINK) {
        char link[64];
        int saved = errno;
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t bytes = readlink(link, path, sizeof path - 256);
        snprintf(path + (bytes > 0 ? bytes : 0), 256, "/%s", name);
        errno = saved;
    }
    at_path(CALL_UNLINK, 0, path);
    int result = real(folder, name, flags);
    if (result == 0)
        at_path(CALL_UNLINK, 1, path);
    return result;
}
