/* SPDX-License-Identifier: MIT */
#include "redis_reply.h"

#include <errno.h>
#include <stdlib.h>

#include <hiredis/hiredis.h>

enum { DEPTH_MAX = 7 };

struct redis_reader {
    redisReader *parser;
    size_t pending; /* bytes that were fed since the last reply ended */
    bool too_long;  /* a part was refused for its length */
    struct redis_reply root;
    size_t text_len, elements;
    struct redis_reply element[REDIS_ELEMENTS_MAX];
    char text[REDIS_REPLY_MAX];
};

/* hiredis 1.0 counts elements by another type than 0.14. */
#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/* Whether arrays stand in arrays more often than in any reply to the daemon. hiredis has had no
 * bound of its own since 1.0. */
static bool is_too_deep(const redisReadTask *task)
{
    unsigned depth = 0;

    for (; task; task = task->parent)
        depth++;
    return depth > DEPTH_MAX;
}

/* Returns the place for the part that `task` has read. A new reply starts with all of the room. */
static struct redis_reply *place(const redisReadTask *task, enum redis_reply_kind kind)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply *reply = &reader->root;

    if (task->parent) {
        const struct redis_reply *array = task->parent->obj;

        reply = &array->element[task->idx];
    } else {
        reader->text_len = 0;
        reader->elements = 0;
    }
    *reply = (struct redis_reply){.kind = kind};
    return reply;
}

static void *on_text(const redisReadTask *task, char *bytes, size_t len)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply *reply;

    if (task->type != REDIS_REPLY_STRING && task->type != REDIS_REPLY_STATUS &&
        task->type != REDIS_REPLY_ERROR)
        return NULL;
    reply = place(task, task->type == REDIS_REPLY_STRING   ? REPLY_STRING
                        : task->type == REDIS_REPLY_STATUS ? REPLY_STATUS
                                                           : REPLY_ERROR);
    reader->too_long = len > sizeof reader->text - reader->text_len;
    if (reader->too_long)
        return NULL;
    char *text = reader->text + reader->text_len;
    memcpy(text, bytes, len);
    reader->text_len += len;
    reply->text = (struct slice){text, len};
    return reply;
}

static void *on_array(const redisReadTask *task, element_count len)
{
    struct redis_reader *reader = task->privdata;
    struct redis_reply *reply;

    if (task->type != REDIS_REPLY_ARRAY || is_too_deep(task))
        return NULL;
    reply = place(task, REPLY_ARRAY);
    reader->too_long = (size_t)len > REDIS_ELEMENTS_MAX - reader->elements;
    if (reader->too_long)
        return NULL;
    reply->len = (size_t)len;
    reply->element = reader->element + reader->elements;
    reader->elements += reply->len;
    return reply;
}

static void *on_integer(const redisReadTask *task, long long number)
{
    struct redis_reply *reply = place(task, REPLY_INTEGER);

    reply->integer = number;
    return reply;
}

static void *on_nil(const redisReadTask *task)
{
    return place(task, REPLY_NIL);
}

/* The reader owns all memory. */
static void on_free(void *reply)
{
    (void)reply;
}

#if HIREDIS_MAJOR >= 1
/* RESP3, which was not asked for. */
static void *on_double(const redisReadTask *task, double number, char *text, size_t len)
{
    (void)task, (void)number, (void)text, (void)len;
    return NULL;
}

static void *on_bool(const redisReadTask *task, int value)
{
    (void)task, (void)value;
    return NULL;
}
#endif

static redisReplyObjectFunctions functions = {
    .createString = on_text,
    .createArray = on_array,
    .createInteger = on_integer,
    .createNil = on_nil,
    .freeObject = on_free,
#if HIREDIS_MAJOR >= 1
    .createDouble = on_double,
    .createBool = on_bool,
#endif
};

void redis_reply_quote(const struct redis_reply *error, char *ret, size_t size)
{
    size_t len = error->text.len < size / 2 ? error->text.len : size / 2;

    for (size_t i = 0; i < len; i++) {
        char c = error->text.at[i];

        ret[i] = (char)((unsigned char)c < ' ' || c == 0x7f ? ' ' : c);
    }
    ret[len] = '\0';
}

struct redis_reader *redis_reader_new(void)
{
    struct redis_reader *reader = malloc(sizeof *reader);

    if (!reader)
        return NULL;
    reader->pending = 0;
    reader->too_long = false;
    reader->parser = redisReaderCreateWithFunctions(&functions);
    if (!reader->parser) {
        free(reader);
        return NULL;
    }
    reader->parser->privdata = reader;
    return reader;
}

void redis_reader_free(struct redis_reader *reader)
{
    if (reader)
        redisReaderFree(reader->parser);
    free(reader);
}

bool redis_reader_feed(struct redis_reader *reader, const void *bytes, size_t len)
{
    reader->pending += len;
    return redisReaderFeed(reader->parser, bytes, len) == REDIS_OK;
}

int redis_reader_take(struct redis_reader *reader, const struct redis_reply **ret)
{
    void *reply = NULL;

    if (redisReaderGetReply(reader->parser, &reply) != REDIS_OK)
        return reader->too_long ? -EMSGSIZE : -EPROTO;
    if (!reply)
        return reader->pending > REDIS_REPLY_MAX ? -EMSGSIZE : 0;
    reader->pending = reader->parser->len - reader->parser->pos;
    *ret = reply;
    return 1;
}
