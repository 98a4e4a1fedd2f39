/* Stands between a process and the C library (LD_PRELOAD), on Linux.
 *
 * Of every file called SHIM_NAME (data.mdb, unless said otherwise) it
 *   - writes down each write, truncation and sync that succeeded, in their order, in SHIM_LOG;
 *   - can make the n-th of these calls fail, fall short, or be the last thing the process does.
 * What is written to the descriptor SHIM_MARK_FD is written down too, so that what a process
 * says to others has its place among its writes. shim.py reads the log and names the faults.
 *
 * Which file a descriptor belongs to, and whether its writes are durable by themselves
 * (O_DSYNC), is asked of the kernel at every call: no open(), dup() or close() is missed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FALLS_SHORT = -1, IS_KILLED = -2, FAILS_LATE = -3 }; /* positive: an errno */

struct head { /* of a record in the log; `length` bytes follow a write and a mark */
    uint8_t kind, durable;
    uint64_t offset, length;
} __attribute__((packed));

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1, mark_fd = -1;
static const char *name = "data.mdb";
static long count, fault_at;
static int fault, lasting;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int);
static int (*real_msync)(void *, size_t, int);

/* Make the `at`-th call from now on fail (0: none), and with `lasts` all after it. */
void shim_arm(long at, int how, int lasts) {
    count = 0;
    fault_at = at;
    fault = how;
    lasting = lasts;
}

/* Calls counted since. */
long shim_count(void) { return count; }

static long number(const char *variable, long otherwise) {
    const char *value = getenv(variable);
    return value ? atol(value) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    real_write = dlsym(RTLD_NEXT, "write");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_msync = dlsym(RTLD_NEXT, "msync");
    if (getenv("SHIM_NAME")) name = getenv("SHIM_NAME");
    if (getenv("SHIM_LOG"))
        log_fd = open(getenv("SHIM_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    mark_fd = number("SHIM_MARK_FD", -1);
    shim_arm(number("SHIM_FAIL_AT", 0), number("SHIM_FAULT", EIO), number("SHIM_LASTING", 0));
}

static int is_watched(int fd) {
    char link[40], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size <= 0) return 0;
    path[size] = 0;
    const char *slash = strrchr(path, '/');
    return slash && !strcmp(slash + 1, name);
}

static int is_durable(int fd) { return (fcntl(fd, F_GETFL) & O_DSYNC) != 0; }

/* One record, from one writev: a process killed between two leaves whole records. */
static void note(char kind, int fd, off_t offset, size_t length, const struct iovec *parts, int n) {
    if (log_fd < 0) return;
    struct head head = {kind, fd >= 0 && is_durable(fd), offset, length};
    struct iovec all[n + 1];
    size_t left = length;
    all[0] = (struct iovec){&head, sizeof head};
    for (int i = 0; i < n; i++) {
        size_t size = parts[i].iov_len < left ? parts[i].iov_len : left;
        all[i + 1] = (struct iovec){parts[i].iov_base, size};
        left -= size;
    }
    ssize_t size = sizeof head + (n ? length : 0);
    if (real_writev(log_fd, all, n + 1) != size) abort(); /* a log with gaps proves nothing */
}

/* Whether this call is the one to fail. */
static int is_due(void) {
    count++;
    return fault_at && (count == fault_at || (lasting && count > fault_at));
}

static ssize_t write_half(int fd, const struct iovec *parts, off_t offset) {
    return real_pwrite(fd, parts[0].iov_base, parts[0].iov_len / 2, offset);
}

/* A write at `offset`, of which `moves` says that it moves the file's position. */
static ssize_t put(int fd, const struct iovec *parts, int n, off_t offset, int moves) {
    pthread_mutex_lock(&one_at_a_time);
    ssize_t done = -1;
    int due = is_due(), error = 0;
    if (due && fault == IS_KILLED) {
        write_half(fd, parts, offset);
        kill(getpid(), SIGKILL);
    }
    if (due && fault > 0) error = fault;
    else if (due && fault == FALLS_SHORT) done = write_half(fd, parts, offset);
    else done = moves ? real_writev(fd, parts, n) : real_pwritev(fd, parts, n, offset);
    if (!error && done < 0) error = errno;
    if (done > 0) note('W', fd, offset, done, parts, n);
    if (due && fault == FAILS_LATE) {
        done = -1;
        error = EIO;
    }
    pthread_mutex_unlock(&one_at_a_time);
    errno = error;
    return done;
}

static int sync_with(int (*real)(int), int fd) {
    pthread_mutex_lock(&one_at_a_time);
    int due = is_due(), done = -1, error = EIO;
    if (due && fault == IS_KILLED) kill(getpid(), SIGKILL);
    if (due && fault > 0) error = fault;
    else if (!due) {
        done = real(fd);
        error = errno;
        if (!done) note('S', fd, 0, 0, NULL, 0);
    }
    pthread_mutex_unlock(&one_at_a_time);
    errno = error;
    return done;
}

/* --- what is stood in for ------------------------------------------------------------- */

ssize_t write(int fd, const void *bytes, size_t size) {
    struct iovec part = {(void *)bytes, size};
    if (fd == mark_fd && fd >= 0) note('A', -1, 0, size, &part, 1);
    if (!is_watched(fd)) return real_write(fd, bytes, size);
    return put(fd, &part, 1, lseek(fd, 0, SEEK_CUR), 1);
}

ssize_t writev(int fd, const struct iovec *parts, int n) {
    if (!is_watched(fd)) return real_writev(fd, parts, n);
    return put(fd, parts, n, lseek(fd, 0, SEEK_CUR), 1);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset) {
    struct iovec part = {(void *)bytes, size};
    if (!is_watched(fd)) return real_pwrite(fd, bytes, size, offset);
    return put(fd, &part, 1, offset, 0);
}

ssize_t pwritev(int fd, const struct iovec *parts, int n, off_t offset) {
    if (!is_watched(fd)) return real_pwritev(fd, parts, n, offset);
    return put(fd, parts, n, offset, 0);
}

int ftruncate(int fd, off_t size) {
    if (!is_watched(fd)) return real_ftruncate(fd, size);
    pthread_mutex_lock(&one_at_a_time);
    int due = is_due(), done = -1, error = fault > 0 ? fault : EIO;
    if (due && fault == IS_KILLED) kill(getpid(), SIGKILL);
    if (!due) {
        done = real_ftruncate(fd, size);
        error = errno;
        if (!done) note('T', fd, 0, size, NULL, 0);
    }
    pthread_mutex_unlock(&one_at_a_time);
    errno = error;
    return done;
}

int fsync(int fd) { return is_watched(fd) ? sync_with(real_fsync, fd) : real_fsync(fd); }

int fdatasync(int fd) { return is_watched(fd) ? sync_with(real_fdatasync, fd) : real_fdatasync(fd); }

/* Bytes changed through a map pass by unseen; the reader of the log refuses such a log. */
int msync(void *start, size_t size, int flags) {
    note('M', -1, 0, 0, NULL, 0);
    return real_msync(start, size, flags);
}

/* On 64-bit Linux the functions of large files are the same ones. */
ssize_t pwrite64(int, const void *, size_t, off64_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off64_t) __attribute__((alias("pwritev")));
int ftruncate64(int, off64_t) __attribute__((alias("ftruncate")));
