/* SPDX-License-Identifier: MIT */
#include "apikeyd/redis_url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A number up to `most` that ends the text. */
static bool read_number(const char *text, int most, int *ret)
{
    char *end;
    long number = strtol(text, &end, 10);

    if (!isdigit((unsigned char)text[0]) || *end || number > most)
        return false;
    *ret = (int)number;
    return true;
}

static bool copy(char *ret, size_t size, const char *text, size_t len)
{
    if (len >= size)
        return false;
    memcpy(ret, text, len);
    ret[len] = '\0';
    return true;
}

static bool parse_unix(const char *rest, struct redis_url *url)
{
    const char *query = strchr(rest, '?');
    size_t len = query ? (size_t)(query - rest) : strlen(rest);

    if (rest[0] != '/' || !copy(url->path, sizeof url->path, rest, len))
        return false;
    return !query || (strncmp(query, "?db=", 4) == 0 && read_number(query + 4, 1000000, &url->db));
}

static bool parse_tcp(const char *rest, struct redis_url *url)
{
    const char *at = strchr(rest, '@');
    const char *slash;
    const char *colon;

    if (at) {
        size_t len = (size_t)(at - rest);

        if (memchr(rest, ':', len) || !copy(url->user, sizeof url->user, rest, len))
            return false;
        rest = at + 1;
    }
    slash = strchr(rest, '/');
    if (slash && slash[1] && !read_number(slash + 1, 1000000, &url->db))
        return false;
    size_t len = slash ? (size_t)(slash - rest) : strlen(rest);
    if (rest[0] == '[') { /* an IPv6 address */
        const char *close = memchr(rest, ']', len);

        if (!close || !copy(url->host, sizeof url->host, rest + 1, (size_t)(close - rest - 1)))
            return false;
        len -= (size_t)(close + 1 - rest);
        rest = close + 1;
        colon = len > 0 ? rest : NULL;
    } else {
        colon = memchr(rest, ':', len);
        if (!copy(url->host, sizeof url->host, rest, colon ? (size_t)(colon - rest) : len))
            return false;
    }
    url->port = 6379;
    if (colon) {
        char port[8];

        if (*colon != ':' ||
            !copy(port, sizeof port, colon + 1, (size_t)(rest + len - colon - 1)) ||
            !read_number(port, 65535, &url->port))
            return false;
    }
    return url->host[0] != '\0';
}

bool redis_url_parse(const char *text, struct redis_url *ret)
{
    struct redis_url url = {0};
    bool parsed;

    if (strncmp(text, "unix://", 7) == 0)
        parsed = parse_unix(text + 7, &url);
    else
        parsed = strncmp(text, "redis://", 8) == 0 && parse_tcp(text + 8, &url);
    if (parsed)
        *ret = url;
    return parsed;
}
