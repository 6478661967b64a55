/* buffer: bytes that grow at one end and leave at the other. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_BUFFER_H
#define APIKEYD_BUFFER_H

#include <apikeyd/base/slice.h>

/*    data        start           start+len        cap
 *    |  consumed  |  bytes held   |  room          |     */
struct buffer {
    char *data;
    size_t start;
    size_t len;
    size_t cap;
};

/* Make room for `more` bytes behind those held; returns where they go. When out of memory the
 * process ends: a daemon that cannot hold one reply can do nothing better. */
char *buffer_reserve(struct buffer *buffer, size_t more);

void buffer_append(struct buffer *buffer, const void *bytes, size_t len);

/* Append a string. */
void buffer_text(struct buffer *buffer, const char *text);

/* printf to the end of the buffer. */
__attribute__((format(printf, 2, 3))) void buffer_printf(struct buffer *buffer, const char *format,
                                                         ...);

/* Drop the first `len` bytes held. */
void buffer_consume(struct buffer *buffer, size_t len);

void buffer_free(struct buffer *buffer);

/* Room that is lent to the connection being served. Borrow: `buffer` gets the room of `spare`,
 * unless it holds more than `max` bytes. Return: `spare` gets the room back, unless that has become
 * larger than `max`, and `buffer` keeps only the bytes held. The bytes held move along and leave no
 * copy behind. */
void buffer_borrow(struct buffer *buffer, struct buffer *spare, size_t max);
void buffer_give_back(struct buffer *buffer, struct buffer *spare, size_t max);

static inline struct slice buffer_held(const struct buffer *buffer)
{
    return (struct slice){buffer->data ? buffer->data + buffer->start : "", buffer->len};
}

#endif
