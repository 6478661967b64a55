/* link: hears from PostgreSQL which keys have changed.
 *
 * A connection of its own that LISTENs and sends a heartbeat, which confirms that all that was
 * committed before it was sent has been heard of, reads PostgreSQL's clock, and looks after the
 * triggers that notify; env->grounds has what comes of it. A connection that is lost, or whose
 * heartbeat is late, is made anew; what was notified meanwhile is missed, so the floor rises. So
 * it does when the triggers have been touched, as they may have been off for a while. It must
 * reach PostgreSQL itself: a pooler drops notifications. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LINK_H
#define APIKEYD_LINK_H

#include "apikeyd/back_env.h"
#include "apikeyd/digest.h"

struct link;

struct link_setup {
    struct back_env *env;
    /* A key, or with NULL any key, was changed at `changed_at_us`; TIME_NEVER: that is not known.
     */
    void (*on_change)(void *arg, const struct digest *digest, int64_t changed_at_us);
    /* A heartbeat is taking longer than it should, or is the first to be answered on a new
     * connection: the time to see whether lookups are answered. */
    void (*on_doubt)(void *arg);
    void *arg;
};

/* NULL when memory is short. */
struct link *link_new(const struct link_setup *setup);
void link_free(struct link *link);

/* The configuration has changed. */
void link_configure(struct link *link);

/* Whether changes are heard of now. */
bool link_up(const struct link *link);

/* What bounds how late a revocation is enforced now, for people. */
const char *link_bound(const struct link *link);

#endif
