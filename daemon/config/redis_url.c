/* SPDX-License-Identifier: MIT */
#include <apikeyd/config/redis_url.h>

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <apikeyd/base/hex.h>

enum { REDIS_PORT = 6379, SENTINEL_PORT = 26379 };

static const char form[] = "unix:///path[?db=N] or redis://[[user]:password@]host[:port][/db], by "
                           "TLS rediss://, is needed";
static const char sentinel_form[] =
    "redis+sentinel://[[user]:password@]host[:port],host[:port]/master[?db=N], by TLS "
    "rediss+sentinel://, is needed, with up to 8 sentinels";
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

/* "?db=N", or nothing. */
static const char *read_query(const char *query, const char *expected, struct redis_url *url)
{
    if (!query)
        return NULL;
    if (strncmp(query, "?db=", 4) != 0)
        return expected;
    return read_number(query + 4, strlen(query + 4), 0, 1000000, &url->db) ? NULL : db_range;
}

static const char *read_unix(const char *rest, struct redis_url *url)
{
    const char *query = strchr(rest, '?');
    size_t len = query ? (size_t)(query - rest) : strlen(rest);

    if (rest[0] != '/')
        return form;
    if (!copy(url->path, sizeof url->path, rest, len))
        return "a socket's path has at most 107 bytes";
    return read_query(query, form, url);
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

/* host[:port], with brackets around an IPv6 address. */
static const char *read_host(const char *text, size_t len, int port, const char *expected,
                             struct redis_host *ret)
{
    const char *close = text[0] == '[' ? memchr(text, ']', len) : NULL;
    const char *colon = memchr(close ? close : text, ':', len - (size_t)(close ? close - text : 0));
    const char *host = close ? text + 1 : text;
    const char *end = close ? close : colon ? colon : text + len;
    const char *rest = close ? close + 1 : end;

    if (len > 0 && text[0] == '[' && !close)
        return expected;
    if (!host_taken(host, (size_t)(end - host)) ||
        !copy(ret->name, sizeof ret->name, host, (size_t)(end - host)))
        return "the host must be a name or an address of 1 to 255 bytes";
    ret->port = port;
    if (rest == text + len)
        return NULL;
    if (rest[0] != ':')
        return expected;
    return read_number(rest + 1, (size_t)(text + len - rest - 1), 1, 65535, &ret->port)
               ? NULL
               : port_range;
}

static const char *read_tcp(const char *rest, struct redis_url *url)
{
    const char *slash = strchr(rest, '/');
    size_t len = slash ? (size_t)(slash - rest) : strlen(rest);
    const char *wrong = read_host(rest, len, REDIS_PORT, form, &url->host[0]);

    url->hosts = 1;
    if (!wrong && slash && slash[1] &&
        !read_number(slash + 1, strlen(slash + 1), 0, 1000000, &url->db))
        wrong = db_range;
    return wrong;
}

/* The characters of names that sentinels take. */
static bool master_taken(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)name[i]) && !strchr(".-_", name[i]))
            return false;
    }
    return len > 0;
}

static const char *read_sentinels(const char *rest, struct redis_url *url)
{
    const char *slash = strchr(rest, '/');
    const char *query = slash ? strchr(slash, '?') : NULL;
    const char *wrong = NULL;

    if (!slash)
        return sentinel_form;
    for (const char *text = rest; !wrong && text <= slash;) {
        size_t len = strcspn(text, ",/");

        if (url->hosts == REDIS_URL_HOSTS_MAX)
            return sentinel_form;
        wrong = read_host(text, len, SENTINEL_PORT, sentinel_form, &url->host[url->hosts++]);
        text += len + 1;
    }
    size_t len = query ? (size_t)(query - slash - 1) : strlen(slash + 1);
    if (!wrong &&
        (!master_taken(slash + 1, len) || !copy(url->master, sizeof url->master, slash + 1, len)))
        wrong = "the master's name, as the sentinels know it, has 1 to 127 letters, digits, dots, "
                "hyphens and underscores";
    return wrong ? wrong : read_query(query, sentinel_form, url);
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
    bool sentinels = !local && (take_scheme(&rest, "redis+sentinel://") ||
                                (url->tls = take_scheme(&rest, "rediss+sentinel://")));

    if (!local && !sentinels) {
        url->tls = take_scheme(&rest, "rediss://");
        if (!url->tls && !take_scheme(&rest, "redis://"))
            return form;
    }
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
    if (local)
        return read_unix(rest, url);
    return sentinels ? read_sentinels(rest, url) : read_tcp(rest, url);
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
