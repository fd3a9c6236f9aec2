/* Have one system call on files under a folder fail, or kill or stop the process there.

   Loaded by LD_PRELOAD into `nursery.py`, which arms it after each fork. Calls are counted from 0,
   all functions alike; with nothing armed nothing changes. With a log, each call on the folder
   writes a line: its function's name, the bytes it is given and the end of its path.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { NONE, FAIL, FAIL_ON, SHORT, TORN, KILL, TORN_KILL, STOP };

#define MOST 4096
static char prefix[4096], known[MOST][64], held[MOST];
static int action, error_number, log_file = -1;
static long nth = -1, calls;
static pid_t armed;

void faults_arm(const char *folder, int what, long call, int number, int log)
{
    strncpy(prefix, folder, sizeof prefix - 1);
    action = what; nth = call; error_number = number; log_file = log; calls = 0;
    armed = getpid();
}

static int is_ours(const char *path)
{
    return armed == getpid() && path && *prefix && !strncmp(path, prefix, strlen(prefix));
}

static int is_held(int file)
{
    return file >= 0 && file < MOST && held[file] && armed == getpid();
}

static void hold(int file, const char *path)
{
    if (file < 0 || file >= MOST) return;
    size_t length = strlen(path);
    held[file] = 1;
    strcpy(known[file], path + (length > 60 ? length - 60 : 0));
}

/* What the call that comes now is to do. */
static int due_of(const char *name, const char *path, long size)
{
    long call = __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
    if (log_file >= 0) {
        char line[160];
        int length = snprintf(line, sizeof line, "%s %ld %s\n", name, size, path);
        syscall(SYS_write, log_file, line, length);
    }
    if (nth < 0 || call < nth || (call > nth && action != FAIL_ON)) return NONE;
    /* A disk that is full, or broken, stays so. */
    if (action == FAIL_ON) return strcmp(name, "write") && strcmp(name, "fsync") ? NONE : FAIL_ON;
    if (action == KILL) syscall(SYS_kill, getpid(), SIGKILL);
    if (action == STOP) { syscall(SYS_kill, getpid(), SIGSTOP); return NONE; }
    return action;
}

static int due(const char *name, const char *path) { return due_of(name, path, 0); }

#define REAL(name) static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name)
#define MAY_FAIL(name, path) do { int what = due(name, path); \
    if (what == FAIL || what == FAIL_ON) { errno = error_number; return -1; } } while (0)

#define OPEN(symbol) \
    int symbol(const char *path, int flags, ...) \
    { \
        REAL(symbol); \
        va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
        if (!is_ours(path)) return real(path, flags, mode); \
        MAY_FAIL("open", path); \
        int file = real(path, flags, mode); hold(file, path); return file; \
    }
OPEN(open)
OPEN(open64)

/* Of a write there may be half. */
#define WRITE(symbol, parameters, all, half) \
    ssize_t symbol parameters \
    { \
        REAL(symbol); \
        if (!is_held(file)) return real all; \
        int what = due_of("write", known[file], size); \
        if (what == FAIL || what == FAIL_ON) { errno = error_number; return -1; } \
        if (what == NONE) return real all; \
        ssize_t written = real half; \
        if (what == TORN_KILL) syscall(SYS_kill, getpid(), SIGKILL); \
        if (what == TORN) { errno = error_number; return -1; } \
        return written; \
    }
WRITE(write, (int file, const void *data, size_t size), (file, data, size), (file, data, size / 2))
WRITE(pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at),
      (file, data, size / 2, at))
WRITE(pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at),
      (file, data, size / 2, at))

#define ON_FILE(type, symbol, name, parameters, all) \
    type symbol parameters \
    { \
        REAL(symbol); \
        if (is_held(file)) MAY_FAIL(name, known[file]); \
        return real all; \
    }
ON_FILE(ssize_t, read, "read", (int file, void *data, size_t size), (file, data, size))
ON_FILE(ssize_t, pread, "read", (int file, void *data, size_t size, off_t at),
        (file, data, size, at))
ON_FILE(ssize_t, pread64, "read", (int file, void *data, size_t size, off64_t at),
        (file, data, size, at))
ON_FILE(int, fsync, "fsync", (int file), (file))
ON_FILE(int, ftruncate, "ftruncate", (int file, off_t size), (file, size))
ON_FILE(int, ftruncate64, "ftruncate", (int file, off64_t size), (file, size))
ON_FILE(int, flock, "flock", (int file, int how), (file, how))

/* A close that fails has closed all the same, as on Linux. */
int close(int file)
{
    REAL(close);
    if (!is_held(file)) return real(file);
    int what = due("close", known[file]), ended = real(file);
    held[file] = 0;
    if (what == FAIL || what == FAIL_ON) { errno = error_number; return -1; }
    return ended;
}

#define ON_PATH(symbol, name, parameters, all) \
    int symbol parameters \
    { \
        REAL(symbol); \
        if (is_ours(path)) MAY_FAIL(name, path); \
        return real all; \
    }
ON_PATH(rename, "rename", (const char *path, const char *target), (path, target))
ON_PATH(unlink, "unlink", (const char *path), (path))
ON_PATH(mkdir, "mkdir", (const char *path, mode_t mode), (path, mode))
