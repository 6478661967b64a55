/* SPDX-License-Identifier: MIT */
#include "relay.h"

#include <stdlib.h>

#include <apikeyd/redis/redis_stream.h>
#include <apikeyd/wire/feed_entry.h>

#include "feed_name.h"

struct relay {
    struct back_env *env;
    struct redis_stream *stream;
    uint64_t id; /* of this run */
    int64_t epoch, number;
    bool begun; /* this epoch has been confirmed once: before that there is nothing to go on from */
    char name_text[FEED_NAME_SIZE];
    struct slice name;
};

struct relay *relay_new(struct back_env *env)
{
    struct relay *relay = calloc(1, sizeof *relay);

    if (!relay)
        return NULL;
    relay->env = env;
    relay->epoch = 1;
    arc4random_buf(&relay->id, sizeof relay->id);
    relay->stream = redis_stream_new(&(struct redis_stream_setup){.env = env});
    if (!relay->stream) {
        free(relay);
        return NULL;
    }
    return relay;
}

void relay_free(struct relay *relay)
{
    if (!relay)
        return;
    redis_stream_free(relay->stream);
    free(relay);
}

static void append(struct relay *relay, struct feed_entry entry)
{
    uint64_t *value = relay->env->metrics.value;
    char text[FEED_ENTRY_SIZE];

    if (!relay->begun)
        return;
    entry.relay = relay->id;
    entry.epoch = relay->epoch;
    entry.number = ++relay->number;
    size_t len = feed_entry_encode(relay->name, &entry, relay->env->redis_secret, text);
    if (len > 0 && redis_stream_append(relay->stream, relay->name, (struct slice){text, len}))
        value[METRIC_RELAY_ENTRIES]++;
    else
        value[METRIC_RELAY_LOST]++;
}

void relay_changed(struct relay *relay, const struct digest *digest, int64_t server_us)
{
    struct feed_entry entry = {.kind = FEED_ENTRY_ALL, .server_us = server_us};

    if (!relay)
        return;
    if (digest) {
        entry.kind = FEED_ENTRY_KEY;
        entry.digest = *digest;
    }
    append(relay, entry);
}

void relay_missing(struct relay *relay)
{
    if (relay)
        append(relay, (struct feed_entry){.kind = FEED_ENTRY_MISSING});
}

/* Another table, or other columns, have another stream: there an epoch begins. */
static void enter_stream(struct relay *relay, const struct relay_confirmation *confirmation)
{
    char text[FEED_NAME_SIZE];
    struct slice name =
        feed_name(relay->env->config, confirmation->expected, confirmation->store, text);

    if (relay->begun && !slice_equal(name, relay->name))
        relay_down(relay);
    memcpy(relay->name_text, text, sizeof text);
    relay->name = (struct slice){relay->name_text, name.len};
    relay->begun = true;
}

void relay_confirmed(struct relay *relay, const struct relay_confirmation *confirmation)
{
    if (!relay)
        return;
    enter_stream(relay, confirmation);
    append(relay, (struct feed_entry){
                      .kind = FEED_ENTRY_CONFIRMED,
                      .server_us = confirmation->server_us,
                      .timeline = confirmation->store->timeline,
                      .started_us = confirmation->store->started_us,
                      .gap = confirmation->gap,
                      .delay_us = confirmation->delay_us,
                  });
}

void relay_down(struct relay *relay)
{
    if (!relay || !relay->begun)
        return;
    relay->epoch++;
    relay->number = 0;
    relay->begun = false;
}
