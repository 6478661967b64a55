/* SPDX-License-Identifier: MIT */
#include "option_text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apikeyd/base/address.h>
#include <apikeyd/base/utf8.h>
#include <apikeyd/config/config_hasher.h>
#include <apikeyd/config/redis_url.h>

static bool printable(const char *text)
{
    for (const char *at = text; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return false;
    }
    return true;
}

static bool is_utf8(const char *text)
{
    return utf8_valid_text((struct slice){text, strlen(text)});
}

/* Any characters, as all names are quoted in SQL; PostgreSQL would cut a part that is longer. */
static bool table_parts_fit(const char *text)
{
    size_t schema = strcspn(text, ".");
    const char *table = text[schema] ? text + schema + 1 : text;
    size_t len = strlen(table);

    return schema > 0 && schema <= OPTION_NAME_MAX && len > 0 && len <= OPTION_NAME_MAX &&
           !strchr(table, '.');
}

static const char *table_wrong(const char *text)
{
    return is_utf8(text) && table_parts_fit(text) ? NULL
                                                  : "a table's name in UTF-8, of at most 63 bytes "
                                                    "and without dots, is needed, with or "
                                                    "without a schema (api.user_api_key)";
}

static const char *column_wrong(const char *text)
{
    return text[0] && is_utf8(text) ? NULL : "a column's name in UTF-8 is needed (key_id)";
}

/* Returns whether the text is an offset from Greenwich, as in UTC+9 or +09:00. PostgreSQL takes it
 * as POSIX does: to the west, unlike everybody else. A number alone it counts to the east. */
static bool is_offset(const char *text)
{
    if (strncasecmp(text, "UTC", 3) == 0 || strncasecmp(text, "GMT", 3) == 0)
        text += 3;
    else if (!strchr(text, ':'))
        return false;
    return text[strspn(text, "+-0:")] != '\0' && strspn(text, "+-:0123456789") == strlen(text);
}

/* PostgreSQL judges the rest: its list of zones is its own. */
static const char *zone_wrong(const char *text)
{
    static const char expected[] = "the name of a time zone is needed (UTC, Asia/Seoul)";

    if (is_offset(text))
        return "PostgreSQL counts such hours to the west of Greenwich; name a place (Asia/Seoul)";
    for (const char *at = text; *at; at++) {
        if (!isalnum((unsigned char)*at) && !strchr("/_+-:<>,.", *at))
            return expected;
    }
    return text[0] ? NULL : expected;
}

static const char *path_wrong(const char *text)
{
    if (text[0] != '/')
        return "an absolute path is needed, one that starts with /";
    if (text[strlen(text) - 1] == '/')
        return "a file is needed, not a directory: the path ends with /";
    return NULL;
}

static const char *file_wrong(const char *text)
{
    const char *wrong = path_wrong(text);

    if (!wrong && strlen(strrchr(text, '/') + 1) > OPTION_FILE_NAME_MAX)
        return "the file's name has at most 127 bytes, as names with more behind it are made of it";
    return wrong;
}

/* The folder of credentials depends on where the daemon runs, so a later check looks there. */
static const char *secret_file_wrong(const char *text)
{
    if (!strchr(text, '/'))
        return strcmp(text, ".") == 0 || strcmp(text, "..") == 0 ? "a file is needed" : NULL;
    return text[0] == '/'
               ? path_wrong(text)
               : "an absolute path, or the name of a credential without any /, is needed";
}

static const char *secret_files_wrong(const char *text)
{
    char file[KEY_SECRETS_MAX][SECRET_FILE_SIZE];
    size_t commas = 0;

    for (const char *at = text; *at; at++)
        commas += *at == ',';
    if (commas >= KEY_SECRETS_MAX)
        return "at most 4 files are taken";
    size_t len = secret_files_split(text, file);
    if (len != commas + 1)
        return "files with commas in between are needed, and one is missing";
    for (size_t i = 0; i < len; i++) {
        if (!file[i][0])
            return "files with commas in between are needed, and one is missing";
        const char *wrong = secret_file_wrong(file[i]);
        if (wrong)
            return wrong;
    }
    return NULL;
}

static const char *address_wrong(const char *text)
{
    struct sockaddr_storage parsed;
    socklen_t len;

    if (text[0] == '/')
        return path_wrong(text);
    return address_parse(text, &parsed, &len)
               ? NULL
               : "an absolute path, or a numeric address and a port from 1 to 65535 "
                 "(127.0.0.1:8080, [::1]:8080) is needed";
}

static const char *group_wrong(const char *text)
{
    return strpbrk(text, " :,/") ? "the name of one group is needed" : NULL;
}

/* An IPv6 address has no brackets. */
static const char *host_wrong(const char *text)
{
    struct in6_addr address;

    if (strchr(text, ':') && inet_pton(AF_INET6, text, &address) == 1)
        return NULL;
    for (const char *at = text; *at; at++) {
        if (!isalnum((unsigned char)*at) && (at == text || !strchr(".-_", *at)))
            return "a host's name or its address is needed, without a port (redis.example)";
    }
    return NULL;
}

static const char *processor_wrong(const char *text)
{
    bool number = text[0] && strlen(text) <= 4 && strspn(text, "0123456789") == strlen(text);

    if (strcmp(text, "last") == 0 || (number && strtol(text, NULL, 10) < OPTION_PROCESSORS))
        return NULL;
    return "the number of one processor, from 0 to 8191, or last is needed (1)";
}

static const char *prefix_wrong(const char *text)
{
    return strchr(text, ' ') ? "no blank is taken" : NULL;
}

static const char *anything(const char *text)
{
    (void)text;
    return NULL;
}

static const char *(*const wrong_of[])(const char *text) = {
    [OPTION_PREFIX] = prefix_wrong,       [OPTION_DSN] = anything,
    [OPTION_REDIS_URL] = redis_url_wrong, [OPTION_TABLE] = table_wrong,
    [OPTION_COLUMN] = column_wrong,       [OPTION_ZONE] = zone_wrong,
    [OPTION_FILE] = file_wrong,           [OPTION_SECRET_FILE] = secret_file_wrong,
    [OPTION_SOCKET] = path_wrong,         [OPTION_SECRET_FILES] = secret_files_wrong,
    [OPTION_ADDRESS] = address_wrong,     [OPTION_GROUP] = group_wrong,
    [OPTION_PROCESSOR] = processor_wrong, [OPTION_HOST] = host_wrong,
};

const char *option_text_wrong(const struct option *option, const char *text, char *scratch,
                              size_t scratch_size)
{
    size_t len = strlen(text);

    if (len == 0 && option->min == 0)
        return NULL;
    if (len > (size_t)option->max) {
        snprintf(scratch, scratch_size, "at most %lld bytes are taken, and these are %zu",
                 (long long)option->max, len);
        return scratch;
    }
    if (!printable(text))
        return "control characters are not taken";
    return wrong_of[option->type](text);
}
