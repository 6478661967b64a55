/* SPDX-License-Identifier: MIT */
#include <apikeyd/postgres/pg_dsn.h>

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libpq-fe.h>

#include <apikeyd/base/edit_distance.h>

#include "pg_password_file.h"

/* The keyword of libpq that `word` is or nearly is, or NULL. */
static const char *keyword_like(const char *word)
{
    const char *like = NULL;
    size_t nearest_distance = EDIT_DISTANCE_TYPO + 1;
    PQconninfoOption *options = PQconninfoParse("", NULL);

    for (PQconninfoOption *at = options; at && at->keyword; at++) {
        size_t distance = edit_distance(word, at->keyword);

        if (distance < nearest_distance) {
            like = at->keyword; /* static storage of libpq's */
            nearest_distance = distance;
        }
    }
    PQconninfoFree(options);
    return like;
}

/* Returns the text between the first two quotes. */
static void quoted_word(const char *message, char *ret, size_t size)
{
    const char *open = strchr(message, '"');
    size_t len = open ? strcspn(open + 1, "\"") : 0;

    snprintf(ret, size, "%.*s", (int)len, open ? open + 1 : "");
}

/* Append libpq's message up to its first quotation of the string; quoted single characters may
 * stay. A quoted word stays only if it is nearly a keyword: then it is not part of an unquoted
 * password. */
static void tell(const char *message, struct buffer *why)
{
    char word[64];

    quoted_word(message, word, sizeof word);
    const char *like = keyword_like(word);
    if (strlen(word) > 1 && like) {
        buffer_printf(why, "libpq does not know \"%s\"; did you mean \"%s\"?", word, like);
        return;
    }
    buffer_text(why, "libpq says: ");
    for (const char *at = message; *at && *at != '\n'; at++) {
        bool sign = at[0] == '"' && ispunct((unsigned char)at[1]) && at[2] == '"';

        if (at[0] == '"' && !sign) {
            buffer_text(why, "\"***\" (not shown: it may be of a password)");
            return;
        }
        buffer_append(why, at, sign ? 3 : 1);
        at += sign ? 2 : 0;
    }
}

static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options->keyword; options++) {
        if (strcmp(options->keyword, keyword) == 0)
            return options->val ? options->val : "";
    }
    return "";
}

static size_t entries(const char *list)
{
    size_t count = list[0] != '\0';

    for (; *list; list++)
        count += *list == ',';
    return count;
}

static bool port_list(const char *list)
{
    for (const char *at = list; *at;) {
        char *end;
        long port = strtol(at, &end, 10);

        if (*at == ',') { /* the default one */
            at++;
            continue;
        }
        if (!isdigit((unsigned char)*at) || port < 1 || port > 65535 || (*end && *end != ','))
            return false;
        at = *end ? end + 1 : end;
    }
    return true;
}

/* "" is libpq's default. */
static bool one_of(const char *value, const char *const *choices)
{
    for (; value[0] && *choices; choices++) {
        if (strcmp(value, *choices) == 0)
            return true;
    }
    return !value[0];
}

/* Checks that PQconninfoParse() leaves to the connect, which would come too late. */
static const char *value_wrong(const PQconninfoOption *options)
{
    static const char *const modes[] = {"disable",   "allow",       "prefer", "require",
                                        "verify-ca", "verify-full", NULL};
    static const char *const sessions[] = {"any",     "read-write",     "read-only", "primary",
                                           "standby", "prefer-standby", NULL};
    const char *port = value_of(options, "port");
    size_t hosts = entries(value_of(options, "host"));
    size_t addresses = entries(value_of(options, "hostaddr"));
    const char *timeout = value_of(options, "connect_timeout");

    if (!port_list(port))
        return "port: numbers from 1 to 65535, with commas in between, are needed";
    if (hosts > 0 && addresses > 0 && hosts != addresses)
        return "host and hostaddr: as many of one as of the other are needed";
    if (entries(port) > 1 && hosts + addresses > 0 &&
        entries(port) != (addresses > 0 ? addresses : hosts))
        return "port: one, or as many as hosts, are needed";
    if (!one_of(value_of(options, "sslmode"), modes))
        return "sslmode: one of disable, allow, prefer, require, verify-ca, verify-full is needed";
    if (!one_of(value_of(options, "target_session_attrs"), sessions))
        return "target_session_attrs: one of any, read-write, read-only, primary, standby, "
               "prefer-standby is needed";
    if (timeout[strspn(timeout, "-0123456789")] != '\0')
        return "connect_timeout: a whole number is needed";
    return NULL;
}

/* A string without "=" or "://" is the name of a database. */
bool pg_dsn_check(const char *dsn, struct buffer *why)
{
    char *message = NULL;

    if (!strchr(dsn, '=') && !strstr(dsn, "://"))
        return true;
    PQconninfoOption *options = PQconninfoParse(dsn, &message);
    const char *wrong = options ? value_wrong(options) : NULL;
    if (!options)
        tell(message ? message : "out of memory", why);
    else if (wrong)
        buffer_text(why, wrong);
    PQfreemem(message);
    PQconninfoFree(options);
    return options && !wrong;
}

bool pg_dsn_names_database(const char *dsn)
{
    static const char *const variables[] = {"PGHOST", "PGHOSTADDR", "PGDATABASE", "PGSERVICE"};

    if (dsn[strspn(dsn, " \t")] != '\0')
        return true;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        const char *value = getenv(variables[i]);

        if (value && value[0])
            return true;
    }
    return false;
}

/* The reason why libpq cannot use the file, or NULL. */
static const char *file_wrong(const char *path)
{
    struct stat status;

    if (stat(path, &status) != 0 || access(path, R_OK) != 0)
        return strerror(errno);
    return S_ISREG(status.st_mode) ? NULL : "a regular file is needed";
}

/* The environment counts where the string is silent. */
static const char *file_named(const PQconninfoOption *options, const char *keyword,
                              const char **ret_by)
{
    while (options->keyword && strcmp(options->keyword, keyword) != 0)
        options++;
    *ret_by = keyword;
    if (options->keyword && options->val && options->val[0])
        return options->val;
    const char *value = options->envvar ? getenv(options->envvar) : NULL;
    if (value)
        *ret_by = options->envvar;
    return value ? value : "";
}

bool pg_dsn_check_files(const char *dsn, struct buffer *why)
{
    static const char *const keywords[] = {"passfile", "sslcert", "sslkey", "sslrootcert",
                                           "sslcrl"};
    PQconninfoOption *options = PQconninfoParse(dsn, NULL);
    const char *wrong = NULL;

    for (size_t i = 0; options && !wrong && i < sizeof keywords / sizeof keywords[0]; i++) {
        const char *by, *path = file_named(options, keywords[i], &by);

        if (path[0] == '/')
            wrong = i == 0 ? pg_password_file_wrong(path) : file_wrong(path);
        if (wrong)
            buffer_printf(why, "%s %s: %s", by, path, wrong);
    }
    PQconninfoFree(options);
    return !wrong;
}
