/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/http_chunked.h>

enum {
    LINE_MAX_BYTES = 1024, /* of a size with its extensions, or of a trailer's field */
    DIGITS_MAX = 8,
};

/* Take the line at `at`, without its end. *ret_end is where the next one starts. */
static enum http_parsed take_line(struct slice body, size_t at, struct slice *ret, size_t *ret_end)
{
    const char *start = body.at + at;
    const char *end = at < body.len ? memchr(start, '\n', body.len - at) : NULL;

    if (!end)
        return body.len - at > LINE_MAX_BYTES ? HTTP_BROKEN : HTTP_INCOMPLETE;
    if (end == start || end[-1] != '\r' || memchr(start, '\r', (size_t)(end - 1 - start)))
        return HTTP_BROKEN;
    *ret = (struct slice){start, (size_t)(end - 1 - start)};
    *ret_end = (size_t)(end + 1 - body.at);
    return HTTP_COMPLETE;
}

/* Extensions stand behind a semicolon, and mean nothing here. */
static bool read_size(struct slice line, size_t *ret)
{
    size_t size = 0, digits = 0;

    for (; digits < line.len && line.at[digits] != ';'; digits++) {
        static const char hex[] = "0123456789abcdef";
        char lower = (char)(line.at[digits] | 0x20);
        const char *digit = memchr(hex, line.at[digits] >= 'A' ? lower : line.at[digits], 16);

        if (!digit || digits == DIGITS_MAX)
            return false;
        size = size * 16 + (size_t)(digit - hex);
    }
    *ret = size;
    return digits > 0;
}

/* Scan one chunk: its size, its data, the end of its line. */
static enum http_parsed scan_chunk(struct http_chunked *scan, struct slice body)
{
    struct slice line;
    size_t size, start;
    enum http_parsed parsed = take_line(body, scan->at, &line, &start);

    if (parsed != HTTP_COMPLETE)
        return parsed;
    if (!read_size(line, &size))
        return HTTP_BROKEN;
    if (size == 0) {
        scan->trailer = true;
        scan->at = start;
        return HTTP_COMPLETE;
    }
    scan->due = size;
    scan->wanted = start + size + 2;
    if (body.len < scan->wanted)
        return HTTP_INCOMPLETE;
    if (memcmp(body.at + start + size, "\r\n", 2) != 0)
        return HTTP_BROKEN;
    scan->at = scan->wanted;
    scan->data += size;
    scan->due = 0;
    return HTTP_COMPLETE;
}

enum http_parsed http_chunked_scan(struct http_chunked *scan, struct slice body,
                                   const char **ret_why)
{
    enum http_parsed parsed = HTTP_COMPLETE;
    struct slice line = {NULL, 1};

    while (parsed == HTTP_COMPLETE && !scan->trailer)
        parsed = scan_chunk(scan, body);
    while (parsed == HTTP_COMPLETE && line.len > 0)
        parsed = take_line(body, scan->at, &line, &scan->at);
    if (parsed == HTTP_INCOMPLETE && scan->wanted <= body.len)
        scan->wanted = body.len + 1;
    if (parsed == HTTP_BROKEN)
        *ret_why = "the chunks of the body are malformed";
    return parsed;
}

void http_chunked_data(struct slice body, struct buffer *out)
{
    struct slice line;
    size_t at = 0, size = 0;

    while (take_line(body, at, &line, &at) == HTTP_COMPLETE && read_size(line, &size) && size > 0) {
        buffer_append(out, body.at + at, size);
        at += size + 2;
    }
}
