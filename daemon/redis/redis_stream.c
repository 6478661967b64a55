/* SPDX-License-Identifier: MIT */
#include <apikeyd/redis/redis_stream.h>

#include <stdio.h>
#include <stdlib.h>

#include <event2/event_struct.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/timer.h>
#include <apikeyd/wire/resp_reply.h>

#include "redis_link.h"

enum { NAME_SIZE = 256, ID_SIZE = 48, FAILURES_MAX = 3 };

/* A reply has five elements an entry (redis_reply.h). */
#define READ_COUNT "256"
#define BLOCK_MS "1000"
#define ENTRIES_MAX "10000"
_Static_assert(REDIS_STREAM_ENTRIES == 10000, "ENTRIES_MAX is the same as text");

static const char next_entry[] = "$";

static const int64_t retry_us = 50000;     /* how soon a reader sees that Redis is back */
static const int64_t refused_us = 1000000; /* from a refused XREAD to the next one */
static const int64_t silence_us = 3000000;

struct redis_stream {
    struct redis_stream_setup setup;
    struct redis_link *link;
    struct buffer request; /* the one that is being made */
    /* A reader's: */
    struct event timer;
    char name[NAME_SIZE]; /* "": none */
    char id[ID_SIZE];     /* of the last entry, or "$" */
    unsigned round;       /* counts changes of the name: replies of an earlier one are dropped */
    unsigned asked_round;
    bool reading;      /* an XREAD is under way */
    unsigned failures; /* of XREAD, in a row */
    int64_t heard_us;  /* the last entry, or the beginning */
};

static struct slice word(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static bool send_words(struct redis_stream *stream, const struct slice *words, size_t len,
                       void (*done)(void *arg, const struct redis_reply *reply))
{
    resp_array(&stream->request, len);
    for (size_t i = 0; i < len; i++)
        resp_bulk(&stream->request, words[i]);
    struct slice request = buffer_held(&stream->request);
    bool sent = redis_link_send(stream->link, request, done, stream);
    buffer_consume(&stream->request, request.len);
    return sent;
}

static void on_appended(void *arg, const struct redis_reply *reply)
{
    struct redis_stream *stream = arg;

    if (reply && reply->kind != REPLY_ERROR) {
        redis_link_worked(stream->link, REDIS_WRITE);
        return;
    }
    stream->setup.env->metrics.value[METRIC_RELAY_LOST]++;
    if (reply)
        redis_link_refused(stream->link, REDIS_WRITE, reply);
}

bool redis_stream_append(struct redis_stream *stream, struct slice name, struct slice text)
{
    const struct slice words[] = {word("XADD"),      name,      word("MAXLEN"), word("~"),
                                  word(ENTRIES_MAX), word("*"), word("e"),      text};

    return redis_link_may(stream->link, REDIS_WRITE) && !redis_link_half_full(stream->link) &&
           send_words(stream, words, sizeof words / sizeof words[0], on_appended);
}

static void begin_anew(struct redis_stream *stream)
{
    memcpy(stream->id, next_entry, sizeof next_entry);
    stream->heard_us = clock_monotonic_us();
}

/* [id, [field, text, …]]. Without an id there is nothing to go on from. */
static bool take_entry(struct redis_stream *stream, const struct redis_reply *entry)
{
    struct slice none = {"", 0};

    if (entry->kind != REPLY_ARRAY || entry->len != 2 || entry->element[0].kind != REPLY_STRING ||
        entry->element[0].text.len >= sizeof stream->id)
        return false;
    struct slice id = entry->element[0].text;
    const struct redis_reply *pair = &entry->element[1];
    bool fine =
        pair->kind == REPLY_ARRAY && pair->len == 2 && pair->element[1].kind == REPLY_STRING;
    memcpy(stream->id, id.at, id.len);
    stream->id[id.len] = '\0';
    stream->heard_us = clock_monotonic_us();
    stream->setup.on_entry(stream->setup.arg, fine ? pair->element[1].text : none);
    return true;
}

/* [[name, [entry, …]]], or nil when nothing has come. */
static bool take_entries(struct redis_stream *stream, const struct redis_reply *reply)
{
    const struct redis_reply *entries;

    if (reply->kind == REPLY_NIL)
        return true;
    if (reply->kind != REPLY_ARRAY || reply->len != 1 || reply->element[0].kind != REPLY_ARRAY ||
        reply->element[0].len != 2)
        return false;
    entries = &reply->element[0].element[1];
    bool fine = entries->kind == REPLY_ARRAY;
    for (size_t i = 0; fine && i < entries->len; i++)
        fine = take_entry(stream, &entries->element[i]);
    return fine;
}

static void read_on(struct redis_stream *stream);

/* The reply, or the connection's end, may be the next entry's fault: then it is left out. */
static void on_failed(struct redis_stream *stream, const struct redis_reply *reply)
{
    if (++stream->failures >= FAILURES_MAX)
        begin_anew(stream);
    timer_start(&stream->timer, reply ? refused_us : retry_us);
    if (reply && reply->kind == REPLY_ERROR)
        redis_link_refused(stream->link, REDIS_READ, reply);
    else if (reply)
        redis_link_failed(stream->link, REDIS_READ, "its replies to XREAD are no entries");
}

static void on_read(void *arg, const struct redis_reply *reply)
{
    struct redis_stream *stream = arg;
    bool current = stream->asked_round == stream->round;

    stream->reading = false;
    if (!reply || reply->kind == REPLY_ERROR || (current && !take_entries(stream, reply))) {
        on_failed(stream, reply);
        return;
    }
    redis_link_worked(stream->link, REDIS_READ);
    stream->failures = 0;
    if (current && clock_monotonic_us() - stream->heard_us > silence_us)
        begin_anew(stream);
    read_on(stream);
}

/* Ask for what comes after the last entry. */
static void read_on(struct redis_stream *stream)
{
    const struct slice words[] = {word("XREAD"),      word("COUNT"),   word(READ_COUNT),
                                  word("BLOCK"),      word(BLOCK_MS),  word("STREAMS"),
                                  word(stream->name), word(stream->id)};

    if (!stream->name[0] || stream->reading)
        return;
    stream->asked_round = stream->round;
    stream->reading = redis_link_may(stream->link, REDIS_READ) &&
                      send_words(stream, words, sizeof words / sizeof words[0], on_read);
    if (!stream->reading)
        timer_start(&stream->timer, retry_us);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    read_on(arg);
}

struct redis_stream *redis_stream_new(const struct redis_stream_setup *setup)
{
    static const struct redis_link_role role = {
        .name = "redis (change feed)",
        .without = "changes do not go this way",
    };
    struct redis_stream *stream = calloc(1, sizeof *stream);

    if (!stream)
        return NULL;
    stream->setup = *setup;
    event_assign(&stream->timer, setup->env->base, -1, 0, on_timer, stream);
    stream->link = redis_link_new(setup->env, &role);
    if (!stream->link) {
        free(stream);
        return NULL;
    }
    return stream;
}

void redis_stream_free(struct redis_stream *stream)
{
    if (!stream)
        return;
    redis_link_free(stream->link);
    event_del(&stream->timer);
    buffer_free(&stream->request);
    free(stream);
}

void redis_stream_follow(struct redis_stream *stream, struct slice name)
{
    if (name.len >= sizeof stream->name)
        return;
    memcpy(stream->name, name.at, name.len);
    stream->name[name.len] = '\0';
    stream->round++;
    begin_anew(stream);
    read_on(stream);
}

bool redis_stream_usable(const struct redis_stream *stream)
{
    return redis_link_may(stream->link, REDIS_READ);
}
