/* Preloaded library that counts, logs, fails or kills at the n-th file operation below one folder.
 *
 * `faults_arm` is called in the process under test. Operations on other paths pass unseen. With a log, each change is
 * appended as one line, "KIND path argument...", paths percent-encoded by the caller's choice of plain names; the bytes
 * of a write follow its line. Only calls through the dynamic symbol table are seen, as Python and Arrow make them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN_READ = 1, OPEN_WRITE = 2, READ = 4, WRITE = 8, SYNC = 16, RENAME = 32, REMOVE = 64, MKDIR = 128,
       TRUNCATE = 256, LIST = 512 };

static char root[PATH_MAX];
static size_t root_length;
static long count, fail_at, kill_at;
static int fail_with, is_lasting, mask, log_fd = -1, trace_fd = -1, is_armed, was_hit;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
    static __typeof__(name) *real; \
    if (real == NULL) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

void faults_arm(const char *folder, int kinds, long kill, long fail, int error, int lasting, int log,
                 int trace) {
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    mask = kinds; kill_at = kill; fail_at = fail; fail_with = error; is_lasting = lasting; log_fd = log;
    trace_fd = trace;
    count = 0; was_hit = 0; is_armed = 1;
}

long faults_count(void) { return count; }

int faults_hit(void) { return was_hit; }

static int is_inside(const char *path) {
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

/* Absolute path of a name relative to a folder; NULL if it is outside. */
static const char *place(int folder, const char *name, char *buffer) {
    if (!is_armed || name == NULL) return NULL;
    if (name[0] == '/') {
        snprintf(buffer, PATH_MAX, "%s", name);
    } else {
        char link[64], base[PATH_MAX];
        if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, base, sizeof base - 1);
        if (length < 0) return NULL;
        base[length] = 0;
        snprintf(buffer, PATH_MAX, "%.2000s/%.2000s", base, name);
    }
    return is_inside(buffer) ? buffer : NULL;
}

static const char *place_of(int descriptor, char *buffer) {
    if (!is_armed || descriptor < 0 || descriptor == log_fd || descriptor == trace_fd) return NULL;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return is_inside(buffer) ? buffer : NULL;
}

static ssize_t raw_write(int descriptor, const void *data, size_t size) {
    REAL(write);
    return real(descriptor, data, size);
}

/* Count one operation, and append "kind path" to the trace; -1 with errno if it must fail. */
static int take(int kind, const char *path) {
    if (!(kind & mask)) return 0;
    if (trace_fd >= 0) {
        char line[PATH_MAX + 16];
        int length = snprintf(line, sizeof line, "%d %s\n", kind, path);
        raw_write(trace_fd, line, (size_t)length);
    }
    long at = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (kill_at > 0 && at == kill_at) { kill(getpid(), SIGKILL); pause(); }
    if (fail_at > 0 && (is_lasting ? at >= fail_at : at == fail_at)) {
        was_hit = 1; errno = fail_with; return -1;
    }
    return 0;
}

static void note(const char *format, const char *path, const char *other, long first, const void *data, size_t size) {
    if (log_fd < 0) return;
    char line[2 * PATH_MAX + 64];
    int length = other != NULL ? snprintf(line, sizeof line, format, path, other)
                               : snprintf(line, sizeof line, format, path, first, (long)size);
    raw_write(log_fd, line, (size_t)length);
    if (size) raw_write(log_fd, data, size);
}

#define BEGIN_LOG if (log_fd >= 0) pthread_mutex_lock(&mutex)
#define END_LOG do { int kept = errno; if (log_fd >= 0) pthread_mutex_unlock(&mutex); errno = kept; } while (0)

static int begin_open(int folder, const char *name, int flags, char *buffer, const char **path) {
    *path = place(folder, name, buffer);
    if (*path == NULL) return 0;
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    struct stat found;
    int is_new = writes && (flags & O_CREAT) && lstat(*path, &found) != 0;
    /* a full disk fails only the opening that makes a file */
    if (fail_with == ENOSPC && writes && !is_new) return 0;
    if (take(writes ? OPEN_WRITE : OPEN_READ, *path)) return -1;
    if (is_new) note("create %s %ld %ld\n", *path, NULL, 0, NULL, 0);
    else if (writes && (flags & O_TRUNC)) note("truncate %s %ld %ld\n", *path, NULL, 0, NULL, 0);
    return 0;
}

#define OPEN(symbol) \
    int symbol(const char *name, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        REAL(symbol); \
        char buffer[PATH_MAX]; const char *path; \
        BEGIN_LOG; \
        int result = begin_open(AT_FDCWD, name, flags, buffer, &path) ? -1 : real(name, flags, mode); \
        END_LOG; return result; }
#define OPENAT(symbol) \
    int symbol(int folder, const char *name, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        REAL(symbol); \
        char buffer[PATH_MAX]; const char *path; \
        BEGIN_LOG; \
        int result = begin_open(folder, name, flags, buffer, &path) ? -1 : real(folder, name, flags, mode); \
        END_LOG; return result; }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)

#define READ_CALL(symbol, type, declared, ...) \
    ssize_t symbol declared { \
        REAL(symbol); char buffer[PATH_MAX]; \
        if (place_of(descriptor, buffer) != NULL && take(READ, buffer)) return -1; \
        return real(__VA_ARGS__); }
READ_CALL(read, ssize_t, (int descriptor, void *data, size_t size), descriptor, data, size)
READ_CALL(pread, ssize_t, (int descriptor, void *data, size_t size, off_t at), descriptor, data, size, at)
READ_CALL(pread64, ssize_t, (int descriptor, void *data, size_t size, off64_t at), descriptor, data, size, at)

static int begin_write(int descriptor, const void *data, size_t size, long at) {
    char buffer[PATH_MAX];
    const char *path = place_of(descriptor, buffer);
    if (path == NULL) return 0;
    if (take(WRITE, path)) return -1;
    if (log_fd >= 0) {
        if (at < 0) {
            int flags = fcntl(descriptor, F_GETFL);
            struct stat found;
            at = (flags & O_APPEND) && fstat(descriptor, &found) == 0 ? (long)found.st_size
                                                                      : (long)lseek(descriptor, 0, SEEK_CUR);
        }
        note("write %s %ld %ld\n", path, NULL, at, data, size);
    }
    return 0;
}

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(write);
    BEGIN_LOG;
    ssize_t result = begin_write(descriptor, data, size, -1) ? -1 : real(descriptor, data, size);
    END_LOG; return result;
}

#define PWRITE(symbol, offset) \
    ssize_t symbol(int descriptor, const void *data, size_t size, offset at) { \
        REAL(symbol); \
        BEGIN_LOG; \
        ssize_t result = begin_write(descriptor, data, size, (long)at) ? -1 : real(descriptor, data, size, at); \
        END_LOG; return result; }
PWRITE(pwrite, off_t) PWRITE(pwrite64, off64_t)

#define SYNC_CALL(symbol) \
    int symbol(int descriptor) { \
        REAL(symbol); char buffer[PATH_MAX]; \
        BEGIN_LOG; \
        const char *path = place_of(descriptor, buffer); \
        int result = 0; \
        if (path != NULL && take(SYNC, path)) result = -1; \
        else { \
            if (path == NULL) result = real(descriptor); /* the machine under test keeps its power */ \
            if (path != NULL) note("sync %s %ld %ld\n", path, NULL, 0, NULL, 0); \
        } \
        END_LOG; return result; }
SYNC_CALL(fsync) SYNC_CALL(fdatasync)

#define TRUNCATE_CALL(symbol, offset) \
    int symbol(int descriptor, offset size) { \
        REAL(symbol); char buffer[PATH_MAX]; \
        BEGIN_LOG; \
        const char *path = place_of(descriptor, buffer); \
        int result = path != NULL && take(TRUNCATE, buffer) ? -1 : real(descriptor, size); \
        if (path != NULL && result == 0) note("truncate %s %ld %ld\n", path, NULL, (long)size, NULL, 0); \
        END_LOG; return result; }
TRUNCATE_CALL(ftruncate, off_t) TRUNCATE_CALL(ftruncate64, off64_t)

static int do_rename(int from, const char *source, int to, const char *target) {
    static int (*real)(int, const char *, int, const char *);
    if (real == NULL) real = (__typeof__(real))dlsym(RTLD_NEXT, "renameat");
    char first[PATH_MAX], second[PATH_MAX];
    BEGIN_LOG;
    const char *old = place(from, source, first), *new = place(to, target, second);
    int result = old != NULL && take(RENAME, old) ? -1 : real(from, source, to, target);
    if (old != NULL && new != NULL && result == 0) note("rename %s %s\n", old, new, 0, NULL, 0);
    END_LOG; return result;
}
int rename(const char *source, const char *target) { return do_rename(AT_FDCWD, source, AT_FDCWD, target); }
int renameat(int from, const char *source, int to, const char *target) { return do_rename(from, source, to, target); }

static int do_remove(int folder, const char *name, int flags) {
    static int (*real)(int, const char *, int);
    if (real == NULL) real = (__typeof__(real))dlsym(RTLD_NEXT, "unlinkat");
    char buffer[PATH_MAX];
    BEGIN_LOG;
    const char *path = place(folder, name, buffer);
    int result = path != NULL && take(REMOVE, path) ? -1 : real(folder, name, flags);
    if (path != NULL && result == 0)
        note(flags & AT_REMOVEDIR ? "rmdir %s %ld %ld\n" : "unlink %s %ld %ld\n", path, NULL, 0, NULL, 0);
    END_LOG; return result;
}
int unlink(const char *name) { return do_remove(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return do_remove(AT_FDCWD, name, AT_REMOVEDIR); }
int unlinkat(int folder, const char *name, int flags) { return do_remove(folder, name, flags); }

static int do_mkdir(int folder, const char *name, mode_t mode) {
    static int (*real)(int, const char *, mode_t);
    if (real == NULL) real = (__typeof__(real))dlsym(RTLD_NEXT, "mkdirat");
    char buffer[PATH_MAX];
    BEGIN_LOG;
    const char *path = place(folder, name, buffer);
    int result = path != NULL && take(MKDIR, path) ? -1 : real(folder, name, mode);
    if (path != NULL && result == 0) note("mkdir %s %ld %ld\n", path, NULL, 0, NULL, 0);
    END_LOG; return result;
}
int mkdir(const char *name, mode_t mode) { return do_mkdir(AT_FDCWD, name, mode); }
int mkdirat(int folder, const char *name, mode_t mode) { return do_mkdir(folder, name, mode); }

DIR *opendir(const char *name) {
    REAL(opendir); char buffer[PATH_MAX];
    if (place(AT_FDCWD, name, buffer) != NULL && take(LIST, buffer)) return NULL;
    return real(name);
}
