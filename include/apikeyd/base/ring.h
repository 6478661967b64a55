/* ring: one producer thread, one consumer thread, messages of one size.
 *
 * The ring uses C11 acquire/release on two indexes and nothing else. A message is copied in and
 * out, so no pointer to a slot ever leaves the ring. The consumer sees, after the pop, all that the
 * producer wrote before the push.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RING_H
#define APIKEYD_RING_H

#include <stdbool.h>
#include <stddef.h>

struct ring;

/* Room for at least `slots` messages of `message_size` bytes; NULL when out of memory. */
struct ring *ring_new(size_t slots, size_t message_size);
void ring_free(struct ring *ring);

/* Producer. Copies the first `len` bytes of a message in; false unless more than `keep_free` slots
 * are free. */
bool ring_push(struct ring *ring, const void *message, size_t len, size_t keep_free);

/* Consumer. False when the ring is empty. The slot is wiped: keys do not linger in it. */
bool ring_pop(struct ring *ring, void *ret_message);

#endif
