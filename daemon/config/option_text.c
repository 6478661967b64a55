/* SPDX-License-Identifier: MIT */
#include "option_text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <apikeyd/base/address.h>
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

/* Names go into SQL text; only plain identifiers are taken, so that nothing needs escaping but
 * quotes around each part. PostgreSQL would cut a part of more than 63 bytes. */
static bool plain_names(const char *text, size_t parts_max)
{
    enum { NAME_BYTES_MAX = 63 };
    size_t parts = 0;

    for (const char *at = text;; at++) {
        size_t len = 0;

        for (; isalnum((unsigned char)*at) || *at == '_'; at++)
            len++;
        if (len == 0 || len > NAME_BYTES_MAX || isdigit((unsigned char)at[-(ptrdiff_t)len]) ||
            ++parts > parts_max)
            return false;
        if (*at != '.')
            return *at == '\0';
    }
}

static const char *table_wrong(const char *text)
{
    return plain_names(text, 2) ? NULL
                                : "an SQL name of letters, digits and _, of at most 63 bytes, is "
                                  "needed, with or without a schema (api.user_api_key)";
}

static const char *column_wrong(const char *text)
{
    return plain_names(text, 1) ? NULL
                                : "an SQL name of letters, digits and _, of at most 63 bytes, is "
                                  "needed (key_id)";
}

/* A token (RFC 9110, section 5.6.2). */
static const char *header_wrong(const char *text)
{
    for (const char *at = text; *at; at++) {
        if (!isalnum((unsigned char)*at) && !strchr("!#$%&'*+-.^_`|~", *at))
            return "the name of an HTTP header is needed (X-API-Key)";
    }
    return text[0] ? NULL : "the name of an HTTP header is needed (X-API-Key)";
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

/* Where credentials are is asked later: it depends on where the daemon runs. */
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
    [OPTION_COLUMN] = column_wrong,       [OPTION_HEADER] = header_wrong,
    [OPTION_FILE] = file_wrong,           [OPTION_SECRET_FILE] = secret_file_wrong,
    [OPTION_SOCKET] = path_wrong,         [OPTION_ADDRESS] = address_wrong,
    [OPTION_GROUP] = group_wrong,         [OPTION_SECRET_FILES] = secret_files_wrong,
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
