/* Shifts the clocks that a process reads, by what a control file says: two int64_t, for the wall
 * clock and for the monotonic ones, in microseconds. For clocks.py. */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static const volatile int64_t *shift_us;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void open_control(void)
{
    const char *path = getenv("CLOCKS");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

    if (page != MAP_FAILED)
        shift_us = page;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
}

/* PostgreSQL reads the wall clock by this. */
int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;
    int status = clock_gettime(CLOCK_REALTIME, &now);

    (void)zone;
    ret->tv_sec = now.tv_sec;
    ret->tv_usec = now.tv_nsec / 1000;
    return status;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int status = real(clock, ret);
    int64_t us = 0;

    if (shift_us && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        us = shift_us[0];
    if (shift_us &&
        (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME))
        us = shift_us[1];
    int64_t ns = (int64_t)ret->tv_sec * 1000000000 + ret->tv_nsec + us * 1000;
    ret->tv_sec = ns / 1000000000;
    ret->tv_nsec = ns % 1000000000;
    return status;
}
