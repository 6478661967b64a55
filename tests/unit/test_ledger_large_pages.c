/* The ledger's tests once more, where a page has 64 KiB, as with some kernels for arm64: the linker
 * puts these functions in the place of the C library's (--wrap). They refuse what such a kernel
 * refuses, and see as large parts of a file as it does. */
/* SPDX-License-Identifier: MIT */
#include "test_ledger.c"

#include <sys/mman.h>

enum { PAGE = 65536 };

long __real_sysconf(int name);
long __wrap_sysconf(int name);
void *__real_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset);
int __real_munmap(void *at, size_t len);
int __wrap_munmap(void *at, size_t len);
int __real_madvise(void *at, size_t len, int advice);
int __wrap_madvise(void *at, size_t len, int advice);
off_t __real_lseek(int fd, off_t offset, int whence);
off_t __wrap_lseek(int fd, off_t offset, int whence);

long __wrap_sysconf(int name)
{
    return name == _SC_PAGESIZE ? PAGE : __real_sysconf(name);
}

static size_t whole_pages(size_t len)
{
    return (len + PAGE - 1) / PAGE * PAGE;
}

/* What lies around a mapping that begins on a large page stays reserved: a few pages for each. */
void *__wrap_mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    if ((uintptr_t)at % PAGE != 0 || offset % PAGE != 0) {
        errno = EINVAL;
        return MAP_FAILED;
    }
    len = whole_pages(len);
    if (!at) {
        char *room = __real_mmap(NULL, len + PAGE, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (room == MAP_FAILED)
            return room;
        at = room + (PAGE - (uintptr_t)room % PAGE) % PAGE;
        flags |= MAP_FIXED;
    }
    return __real_mmap(at, len, protection, flags, fd, offset);
}

int __wrap_munmap(void *at, size_t len)
{
    return __real_munmap(at, whole_pages(len));
}

int __wrap_madvise(void *at, size_t len, int advice)
{
    if ((uintptr_t)at % PAGE != 0) {
        errno = EINVAL;
        return -1;
    }
    return __real_madvise(at, len, advice);
}

/* Data and holes are whole pages: a page is a hole if nothing in it is data. */
off_t __wrap_lseek(int fd, off_t offset, int whence)
{
    off_t at = __real_lseek(fd, offset, whence), data;

    if (at >= 0 && whence == SEEK_DATA)
        return at - at % PAGE > offset ? at - at % PAGE : offset;
    if (at < 0 || whence != SEEK_HOLE)
        return at;
    while ((data = __real_lseek(fd, at, SEEK_DATA)) >= 0 && data - data % PAGE <= at)
        at = __real_lseek(fd, data, SEEK_HOLE);
    return (off_t)whole_pages((size_t)at);
}
