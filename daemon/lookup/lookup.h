/* lookup: one lookup on its way through the back thread. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LOOKUP_H
#define APIKEYD_LOOKUP_H

#include <sys/queue.h>

#include <apikeyd/model/mailbox.h>

#include "key_query.h"

struct explanation;

/* A lookup is in exactly one list: waiting, in a Redis batch, or in a PostgreSQL batch. */
struct lookup {
    TAILQ_ENTRY(lookup) in_list;
    struct lookup_request request;
    struct key_names names; /* of the key, as the stores were asked last */
    bool not_by_fallback;   /* the key cannot stand in the server's encoding */
    int64_t deadline_us;    /* while waiting for a connection to PostgreSQL */
    size_t batch_max;       /* bound of its next batch; 0: only the configured bound */
    size_t losses;          /* connections that broke under it */
    /* From Redis, used when PostgreSQL does not answer; or UNAVAILABLE. Its attributes are its own:
     * lookup_keep(). */
    struct verdict old;
    struct key_finding finding; /* of the batch under way */
    uint64_t ask;               /* EXPLAIN only, like the next field */
    struct explanation *explanation;
};
TAILQ_HEAD(lookup_list, lookup);

/* Keep a verdict for longer than its attributes live. */
static inline void lookup_keep(struct verdict *place, const struct verdict *verdict)
{
    struct attributes attributes = attributes_copy(verdict->attributes);

    attributes_free(&place->attributes);
    *place = *verdict;
    place->attributes = attributes;
}

static inline struct slice lookup_key(const struct lookup *lookup)
{
    return (struct slice){lookup->request.key, lookup->request.key_len};
}

static inline struct lookup *lookup_list_take(struct lookup_list *list)
{
    struct lookup *lookup = TAILQ_FIRST(list);

    if (lookup)
        TAILQ_REMOVE(list, lookup, in_list);
    return lookup;
}

#endif
