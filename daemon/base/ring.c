/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/ring.h>

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that the caches of two processors may pass between them as one. arm64's differ, and GCC
 * names the most of any. */
#ifdef __GCC_DESTRUCTIVE_SIZE
enum { CACHE_LINE = __GCC_DESTRUCTIVE_SIZE };
#else
enum { CACHE_LINE = 64 };
#endif

/* Only one side writes an index, and each index has a cache line of its own. Both count up forever
 * and are masked on use, so full and empty need no flag. */
struct ring {
    alignas(CACHE_LINE) atomic_size_t head; /* producer: the next slot to fill */
    alignas(CACHE_LINE) atomic_size_t tail; /* consumer: the next slot to take */
    alignas(CACHE_LINE) size_t mask;
    size_t message_size;
    unsigned char *slot;
};

struct ring *ring_new(size_t slots, size_t message_size)
{
    struct ring *ring = aligned_alloc(CACHE_LINE, sizeof *ring);
    size_t size = 2;

    if (!ring)
        return NULL;
    while (size < slots)
        size *= 2;
    memset(ring, 0, sizeof *ring);
    ring->mask = size - 1;
    ring->message_size = message_size;
    ring->slot = calloc(size, message_size);
    if (!ring->slot) {
        free(ring);
        return NULL;
    }
    return ring;
}

void ring_free(struct ring *ring)
{
    if (ring)
        free(ring->slot);
    free(ring);
}

bool ring_push(struct ring *ring, const void *message, size_t len, size_t keep_free)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t used = head - atomic_load_explicit(&ring->tail, memory_order_acquire);

    if (used + keep_free > ring->mask)
        return false;
    memcpy(ring->slot + (head & ring->mask) * ring->message_size, message, len);
    atomic_store_explicit(&ring->head, head + 1, memory_order_release);
    return true;
}

bool ring_pop(struct ring *ring, void *ret_message)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    unsigned char *slot = ring->slot + (tail & ring->mask) * ring->message_size;

    if (tail == atomic_load_explicit(&ring->head, memory_order_acquire))
        return false;
    memcpy(ret_message, slot, ring->message_size);
    explicit_bzero(slot, ring->message_size);
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}
