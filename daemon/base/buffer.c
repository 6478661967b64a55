/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/buffer.h>

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <apikeyd/base/out_of_memory.h>

enum {
    BUFFER_MIN = 256,
    PRINTF_MIN = 128, /* the first attempt has this room, before the length is known */
};

/* realloc() could leave a copy behind, and requests hold keys. */
static void grow(struct buffer *buffer, size_t cap)
{
    char *data = malloc(cap);

    if (!data)
        out_of_memory();
    if (buffer->len > 0) {
        memcpy(data, buffer->data, buffer->len);
        explicit_bzero(buffer->data, buffer->len);
    }
    free(buffer->data);
    buffer->data = data;
    buffer->cap = cap;
}

char *buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->cap - buffer->start - buffer->len >= more)
        return buffer->data + buffer->start + buffer->len;
    if (buffer->start > 0) {
        memmove(buffer->data, buffer->data + buffer->start, buffer->len);
        explicit_bzero(buffer->data + buffer->len, buffer->start);
        buffer->start = 0;
    }
    if (buffer->cap - buffer->len < more) {
        size_t cap = buffer->cap < BUFFER_MIN ? BUFFER_MIN : buffer->cap;

        while (cap - buffer->len < more)
            cap *= 2;
        grow(buffer, cap);
    }
    return buffer->data + buffer->len;
}

void buffer_append(struct buffer *buffer, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    char *room = buffer_reserve(buffer, len);
    assert(room); /* buffer_reserve() ends the process when out of memory */
    memcpy(room, bytes, len);
    buffer->len += len;
}

void buffer_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, text, strlen(text));
}

void buffer_printf(struct buffer *buffer, const char *format, ...)
{
    char *room = buffer_reserve(buffer, PRINTF_MIN);
    size_t size = buffer->cap - (size_t)(room - buffer->data);
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(room, size, format, args);
    va_end(args);
    if (len < 0)
        return;
    if ((size_t)len >= size) {
        va_start(args, format);
        vsnprintf(buffer_reserve(buffer, (size_t)len + 1), (size_t)len + 1, format, args);
        va_end(args);
    }
    buffer->len += (size_t)len;
}

void buffer_consume(struct buffer *buffer, size_t len)
{
    buffer->len -= len;
    buffer->start = buffer->len == 0 ? 0 : buffer->start + len;
}

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void buffer_borrow(struct buffer *buffer, struct buffer *spare, size_t max)
{
    struct buffer own = *buffer;

    if (!spare->data || own.len > max)
        return;
    *buffer = *spare;
    *spare = (struct buffer){0};
    if (own.len > 0) {
        buffer_append(buffer, own.data + own.start, own.len);
        explicit_bzero(own.data + own.start, own.len);
    }
    free(own.data);
}

void buffer_give_back(struct buffer *buffer, struct buffer *spare, size_t max)
{
    struct buffer kept = {0};

    if (spare->data || buffer->cap > max) {
        if (buffer->len == 0)
            buffer_free(buffer);
        return;
    }
    if (buffer->len > 0) {
        buffer_append(&kept, buffer->data + buffer->start, buffer->len);
        explicit_bzero(buffer->data + buffer->start, buffer->len);
    }
    buffer_consume(buffer, buffer->len);
    *spare = *buffer;
    *buffer = kept;
}
