/* SPDX-License-Identifier: MIT */
#include <apikeyd/config/redis_url.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <apikeyd/base/hex.h>

static const char form[] = "unix:///path[?db=N] or redis://[[user]:password@]host[:port][/db], by "
                           "TLS rediss://, is needed";
static const char encoding[] = "user and password must be percent-encoded: %40 for @, %3A for :, "
                               "%2F for /, %25 for %; they have at most 127 and 511 bytes";
static const char port_range[] = "the port must be from 1 to 65535";
static const char db_range[] = "the database must be a number from 0 to 1000000";

/* A number from `min` to `max` that is the whole text. */
static bool read_number(const char *text, size_t len, int min, int max, int *ret)
{
    int number = 0;

    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]) || number > max)
            return false;
        number = number * 10 + (text[i] - '0');
    }
    if (len == 0 || number < min || number > max)
        return false;
    *ret = number;
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

/* Copy with %XX decoded. A NUL is refused, because it looks like the end. */
static bool decode(char *ret, size_t size, const char *text, size_t len)
{
    size_t to = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];

        if (c == '%') {
            int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(text[i + 2]) : -1;

            if (low < 0 || high + low == 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c == '@' && text[i] == '@')
            return false; /* this "@" might end the login */
        if (to + 1 >= size)
            return false;
        ret[to++] = c;
    }
    ret[to] = '\0';
    return true;
}

/* The part before "@". */
static const char *read_login(const char *text, size_t len, struct redis_url *url)
{
    const char *colon = memchr(text, ':', len);
    size_t user_len = colon ? (size_t)(colon - text) : len;

    if (!decode(url->user, sizeof url->user, text, user_len))
        return encoding;
    if (colon && !decode(url->password, sizeof url->password, colon + 1, len - user_len - 1))
        return encoding;
    return NULL;
}

static const char *read_unix(const char *rest, struct redis_url *url)
{
    const char *query = strchr(rest, '?');
    size_t len = query ? (size_t)(query - rest) : strlen(rest);

    if (rest[0] != '/')
        return form;
    if (!copy(url->path, sizeof url->path, rest, len))
        return "a socket's path has at most 107 bytes";
    if (!query)
        return NULL;
    if (strncmp(query, "?db=", 4) != 0)
        return form;
    return read_number(query + 4, strlen(query + 4), 0, 1000000, &url->db) ? NULL : db_range;
}

static const char *read_port(const char *text, size_t len, struct redis_url *url)
{
    url->port = 6379;
    if (len == 0)
        return NULL;
    if (text[0] != ':')
        return form;
    return read_number(text + 1, len - 1, 1, 65535, &url->port) ? NULL : port_range;
}

/* Returns whether all characters are those of names and addresses, IPv6 with an interface
 * included. */
static bool host_taken(const char *host, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)host[i]) && !strchr(".-_:%", host[i]))
            return false;
    }
    return len > 0;
}

static const char *read_tcp(const char *rest, struct redis_url *url)
{
    const char *slash = strchr(rest, '/');
    size_t len = slash ? (size_t)(slash - rest) : strlen(rest);
    const char *close = rest[0] == '[' ? memchr(rest, ']', len) : NULL; /* an IPv6 address */
    const char *colon = memchr(close ? close : rest, ':', len - (size_t)(close ? close - rest : 0));
    const char *host = close ? rest + 1 : rest;
    const char *end = close ? close : colon ? colon : rest + len;
    const char *port = close ? close + 1 : end;

    if (rest[0] == '[' && !close)
        return form;
    if (!host_taken(host, (size_t)(end - host)) ||
        !copy(url->host, sizeof url->host, host, (size_t)(end - host)))
        return "the host must be a name or an address of 1 to 255 bytes";
    if (slash && slash[1] && !read_number(slash + 1, strlen(slash + 1), 0, 1000000, &url->db))
        return db_range;
    return read_port(port, (size_t)(rest + len - port), url);
}

/* Returns whether *text starts with `scheme`, and takes that away. */
static bool take_scheme(const char **text, const char *scheme)
{
    size_t len = strlen(scheme);

    if (strncmp(*text, scheme, len) != 0)
        return false;
    *text += len;
    return true;
}

/* Returns NULL or the expected form. */
static const char *read_url(const char *text, struct redis_url *url)
{
    const char *rest = text;
    bool local = take_scheme(&rest, "unix://");

    url->tls = !local && take_scheme(&rest, "rediss://");
    if (!local && !url->tls && !take_scheme(&rest, "redis://"))
        return form;
    const char *slash = strchr(rest, '/');
    const char *at = memrchr(rest, '@', slash ? (size_t)(slash - rest) : strlen(rest));
    if (!local && slash && strchr(slash, '@'))
        return encoding;
    if (at) {
        const char *wrong = read_login(rest, (size_t)(at - rest), url);

        if (wrong)
            return wrong;
        rest = at + 1;
    }
    return local ? read_unix(rest, url) : read_tcp(rest, url);
}

bool redis_url_parse(const char *text, struct redis_url *ret)
{
    struct redis_url url = {0};

    if (read_url(text, &url))
        return false;
    *ret = url;
    return true;
}

const char *redis_url_wrong(const char *text)
{
    struct redis_url url = {0};

    return read_url(text, &url);
}
