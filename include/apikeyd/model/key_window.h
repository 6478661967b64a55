/* key_window: the time in which a key may pass, by PostgreSQL's clock.
 *
 * It is half-open: a key passes from `start_us` on, and at `end_us` no more. A window that ends
 * before it starts is never open. Zeros: the key has no window. Every verdict carries its key's
 * window, so an end needs no scan, no timer and no lookup: each answer compares it with the clock.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_KEY_WINDOW_H
#define APIKEYD_KEY_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

struct key_window {
    int64_t start_us; /* µs since 1970 by PostgreSQL's clock; 0: none */
    int64_t end_us;   /* likewise; 0: none */
};

/* Instants are less than this, which is 18 digits long. A start then is never. */
#define KEY_WINDOW_NEVER INT64_C(999999999999999999)

static inline bool key_window_some(const struct key_window *window)
{
    return (window->start_us | window->end_us) != 0;
}

/* Returns whether no time is in the window. */
static inline bool key_window_empty(const struct key_window *window)
{
    return window->end_us != 0 && window->end_us <= window->start_us;
}

/* The times that are in both. */
static inline struct key_window key_window_both(struct key_window a, struct key_window b)
{
    if (b.start_us > a.start_us)
        a.start_us = b.start_us;
    if (a.end_us == 0 || (b.end_us != 0 && b.end_us < a.end_us))
        a.end_us = b.end_us;
    return a;
}

#endif
