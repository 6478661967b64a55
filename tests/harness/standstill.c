/* standstill: makes a call of one thread stand still, or fail, while a file says so.
 *
 * Preloaded into the daemon under test. The file named by $STANDSTILL holds lines of
 *
 *     <thread> <call> <what> <errno>
 *
 * where <thread> is "main" for the process's first one, a thread's name, or "*"; <what> is part of
 * the path of the descriptor, or of the name to be resolved, or "*"; with <errno> 0 the call waits
 * until the line is gone. A thread that begins to wait writes "<thread> <call>" to
 * $STANDSTILL.standing.
 */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static bool matches(const char *pattern, const char *text)
{
    return strcmp(pattern, "*") == 0 || strstr(text, pattern);
}

/* The errno that the call is to have, 0 to wait, or -1: neither. */
static int ordered(const char *thread, const char *call, const char *what)
{
    const char *path = getenv("STANDSTILL");
    char text[2048], *rest = NULL;
    int fd = path && strcmp(program_invocation_short_name, "apikeyd") == 0
                 ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC)
                 : -1;

    if (fd < 0)
        return -1;
    long len = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    text[len > 0 ? len : 0] = '\0';
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char by[32], name[32], of[256];
        int error;

        if (sscanf(line, "%31s %31s %255s %d", by, name, of, &error) == 4 &&
            (strcmp(by, "*") == 0 || strcmp(by, thread) == 0) && strcmp(name, call) == 0 &&
            matches(of, what))
            return error;
    }
    return -1;
}

static void tell(const char *thread, const char *call)
{
    char path[512], line[80];
    int len = snprintf(line, sizeof line, "%s %s\n", thread, call);

    snprintf(path, sizeof path, "%s.standing", getenv("STANDSTILL"));
    int fd =
        (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) {
        syscall(SYS_write, fd, line, (size_t)len);
        syscall(SYS_close, fd);
    }
}

/* True: the call fails, and errno is set. */
static bool stand_still(const char *call, const char *what)
{
    const struct timespec a_moment = {.tv_nsec = 5000000};
    char thread[17] = "main";
    int saved = errno;
    bool told = false;
    int order;

    if (getpid() != (int)syscall(SYS_gettid))
        prctl(PR_GET_NAME, thread);
    while ((order = ordered(thread, call, what)) == 0) {
        if (!told)
            tell(thread, call);
        told = true;
        nanosleep(&a_moment, NULL);
    }
    errno = order > 0 ? order : saved;
    return order > 0;
}

static bool stand_still_at(const char *call, int fd)
{
    char link[40], path[512];

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long len = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    path[len > 0 ? len : 0] = '\0';
    return stand_still(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t len)
{
    return stand_still_at("write", fd) ? -1 : REAL(write)(fd, bytes, len);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return stand_still_at("write", fd) ? -1 : REAL(writev)(fd, parts, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    return stand_still_at("write", fd) ? -1 : REAL(pwrite)(fd, bytes, len, offset);
}

/* They write by themselves. */
int dprintf(int fd, const char *format, ...)
{
    va_list args;
    bool fails = stand_still_at("write", fd);

    va_start(args, format);
    int len = fails ? -1 : vdprintf(fd, format, args);
    va_end(args);
    return len;
}

int __dprintf_chk(int fd, int flag, const char *format, ...);
int __dprintf_chk(int fd, int flag, const char *format, ...)
{
    va_list args;
    bool fails = stand_still_at("write", fd);

    (void)flag;
    va_start(args, format);
    int len = fails ? -1 : vdprintf(fd, format, args);
    va_end(args);
    return len;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    return stand_still_at("sendmsg", fd) ? -1 : REAL(sendmsg)(fd, message, flags);
}

/* OpenSSL reads certificates by it. */
FILE *fopen(const char *path, const char *mode)
{
    return stand_still("fopen", path) ? NULL : REAL(fopen)(path, mode);
}

FILE *fopen64(const char *path, const char *mode)
{
    return stand_still("fopen", path) ? NULL : REAL(fopen64)(path, mode);
}

int fsync(int fd)
{
    return stand_still_at("fsync", fd) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    return stand_still_at("fdatasync", fd) ? -1 : REAL(fdatasync)(fd);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return stand_still_at("fallocate", fd) ? -1 : REAL(fallocate)(fd, mode, offset, len);
}

int rename(const char *from, const char *to)
{
    return stand_still("rename", to) ? -1 : REAL(rename)(from, to);
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **ret)
{
    return stand_still("getaddrinfo", node ? node : "")
               ? EAI_AGAIN
               : REAL(getaddrinfo)(node, service, hints, ret);
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout_ms)
{
    return stand_still("epoll_wait", "") ? -1 : REAL(epoll_wait)(fd, events, most, timeout_ms);
}

int poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    return stand_still("poll", "") ? -1 : REAL(poll)(fds, count, timeout_ms);
}
