/* link: hears from PostgreSQL which keys have changed.
 *
 * A connection of its own that LISTENs and sends a heartbeat, which confirms that all that was
 * committed before it was sent has been heard of, reads PostgreSQL's clock, and looks whether the
 * trigger is there that notifies; env->grounds has what comes of it. A connection that is lost, or
 * whose heartbeat is late, is made anew; what was notified meanwhile is missed, so the floor rises.
 * It must reach PostgreSQL itself: a pooler drops notifications. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LINK_H
#define APIKEYD_LINK_H

#include "apikeyd/back_env.h"
#include "apikeyd/notification.h"

struct link;

struct link_setup {
    struct back_env *env;
    void (*on_change)(void *arg, const struct notification *notification);
    /* A heartbeat is taking longer than it should. */
    void (*on_overdue)(void *arg);
    void *arg;
};

/* NULL when memory is short. */
struct link *link_new(const struct link_setup *setup);
void link_free(struct link *link);

/* Whether changes are heard of now. */
bool link_up(const struct link *link);

/* What bounds how late a revocation is enforced now, for people. */
const char *link_bound(const struct link *link);

#endif
