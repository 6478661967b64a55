/* SPDX-License-Identifier: MIT */
#include "ledger_map.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The ledger in use, and the one that takes its place. */
enum { MAPS_MAX = 4 };

struct ledger_map {
    _Atomic(char *) bytes; /* NULL: free. Set last, so that the handler sees the rest. */
    struct ledger_map_setup setup;
    atomic_uint faults;
    atomic_size_t borrowed;
};

/* A signal handler gets an address and nothing else, so it has to find the mappings here. This is
 * the one mutable global of the daemon. */
static struct ledger_map maps[MAPS_MAX];
static struct sigaction earlier;

size_t ledger_map_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

size_t ledger_map_up_to_page(size_t at)
{
    const size_t page = ledger_map_page();

    return (at + page - 1) / page * page;
}

static bool put_memory(char *at, size_t len)
{
    return mmap(at, len, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == at;
}

/* Replace the page at `at`, which the file cannot provide. A file that ended lacks the rest of the
 * step too: one mapping for each page could exceed the kernel's limit. Async-signal-safe: system
 * calls and atomics only. (POSIX lists neither mmap nor sysconf; on Linux the one is a system call
 * like the others, and the size of a page a constant.) */
static bool replace_page(struct ledger_map *map, char *bytes, size_t at)
{
    const struct ledger_map_setup *setup = &map->setup;
    size_t page = ledger_map_page();
    size_t from = at - at % page;
    struct stat status;
    bool replaced = false;

    if (fstat(setup->fd, &status) == 0 && (size_t)status.st_size <= from && from >= setup->first) {
        size_t end = ledger_map_up_to_page((size_t)status.st_size);
        size_t step = from - (from - setup->first) % setup->step;
        size_t start = step > end ? ledger_map_up_to_page(step) : end;

        replaced = put_memory(bytes + start, ledger_map_up_to_page(step + setup->step) - start);
    }
    if (!replaced)
        replaced = put_memory(bytes + from, page);
    if (replaced)
        atomic_fetch_add(&map->faults, 1);
    return replaced;
}

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    const int error = errno;
    const uintptr_t at = (uintptr_t)info->si_addr;

    (void)context;
    /* Codes above 0 are the kernel's: the signal does not come from kill(). */
    for (size_t i = 0; info->si_code > 0 && i < MAPS_MAX; i++) {
        char *bytes = atomic_load(&maps[i].bytes);

        if (bytes && at - (uintptr_t)bytes < maps[i].setup.size &&
            replace_page(&maps[i], bytes, at - (uintptr_t)bytes)) {
            errno = error;
            return;
        }
    }
    /* Act as if there were no handler: a fault recurs at once, a signal has to be sent again. */
    sigaction(signal, &earlier, NULL);
    if (info->si_code <= 0)
        raise(signal);
    errno = error;
}

/* A library may have taken the signal over since the last mapping. */
static int guard(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct sigaction current;

    if (sigaction(SIGBUS, NULL, &current) != 0)
        return -errno;
    if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_sigbus)
        return 0;
    earlier = current;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, NULL) == 0 ? 0 : -errno;
}

int ledger_map_new(const struct ledger_map_setup *setup, struct ledger_map **ret)
{
    struct ledger_map *map = maps;
    int error = guard();

    if (error < 0)
        return error;
    while (map < maps + MAPS_MAX && atomic_load(&map->bytes))
        map++;
    if (map == maps + MAPS_MAX)
        return -EMFILE;
    int flags = setup->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
    char *bytes = mmap(NULL, setup->size, PROT_READ | PROT_WRITE, flags, setup->fd, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    map->setup = *setup;
    atomic_store(&map->faults, 0);
    atomic_store(&map->borrowed, 0);
    atomic_store(&map->bytes, bytes);
    *ret = map;
    return 0;
}

void ledger_map_free(struct ledger_map *map)
{
    if (!map)
        return;
    char *bytes = atomic_exchange(&map->bytes, NULL);
    munmap(bytes, map->setup.size);
}

char *ledger_map_bytes(const struct ledger_map *map)
{
    return atomic_load_explicit(&map->bytes, memory_order_relaxed);
}

unsigned ledger_map_faults(const struct ledger_map *map)
{
    return atomic_load_explicit(&map->faults, memory_order_relaxed);
}

bool ledger_map_borrow(struct ledger_map *map, size_t at, size_t len)
{
    if (!put_memory(ledger_map_bytes(map) + at, len))
        return false;
    atomic_fetch_add(&map->borrowed, len);
    return true;
}

bool ledger_map_return(struct ledger_map *map, size_t at, size_t len)
{
    char *from = ledger_map_bytes(map) + at;

    if (mmap(from, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, map->setup.fd, (off_t)at) !=
        from)
        return false;
    atomic_fetch_sub(&map->borrowed, len);
    return true;
}

size_t ledger_map_borrowed(const struct ledger_map *map)
{
    return atomic_load_explicit(&map->borrowed, memory_order_relaxed);
}

bool ledger_map_discard(struct ledger_map *map, size_t at, size_t len)
{
    return madvise(ledger_map_bytes(map) + at, len, MADV_DONTNEED) == 0;
}
