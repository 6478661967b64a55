/* redis_stream: a bounded stream in Redis: append to its end, or follow it.
 *
 *     writer ──XADD MAXLEN ~ n──▶ [ id entry | id entry | … ] ──XREAD BLOCK──▶ reader
 *
 * Each redis_stream has a connection of its own, because a reader's blocks, and neither may wait
 * for lookups. The connection is a redis_link: it comes back by itself. An entry is one text.
 *
 * Nothing is promised: entries may be lost on the way to Redis, by Redis, or by the bound on the
 * stream's length; they may come late or twice. Writers number their entries if readers need to
 * know. A reader begins with the next entry, goes on where it was after a lost connection, and
 * begins with the next entry again after a silence: then Redis may have forgotten what it knew, and
 * begun with earlier ids. Back thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_STREAM_H
#define APIKEYD_REDIS_STREAM_H

#include <apikeyd/base/slice.h>
#include <apikeyd/thread/back_env.h>

/* A stream is cut to about this many entries at each append. */
enum { REDIS_STREAM_ENTRIES = 10000 };

struct redis_stream;

struct redis_stream_setup {
    struct back_env *env;
    /* For a reader: the next entry, valid during the call. Empty if it is none of a writer's. Must
     * not call the stream's functions. */
    void (*on_entry)(void *arg, struct slice text);
    void *arg;
};

/* NULL when out of memory. There is a redis.url. */
struct redis_stream *redis_stream_new(const struct redis_stream_setup *setup);
void redis_stream_free(struct redis_stream *stream);

/* Append `text` to the stream `name`. False when it cannot be sent now. True says that it was sent:
 * Redis may refuse it, which is counted in relay_lost. */
__attribute__((warn_unused_result)) bool redis_stream_append(struct redis_stream *stream,
                                                             struct slice name, struct slice text);

/* Follow the stream `name` from its next entry on, instead of another. `name` is copied. */
void redis_stream_follow(struct redis_stream *stream, struct slice name);

/* Returns whether Redis can be used now. */
bool redis_stream_usable(const struct redis_stream *stream);

#endif
