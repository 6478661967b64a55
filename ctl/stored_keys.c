/* SPDX-License-Identifier: MIT */
#include "stored_keys.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <apikeyd/base/utf8.h>
#include <apikeyd/config/config_hasher.h>
#include <apikeyd/config/sql_template.h>

static const time_t patience_s = 10;

/* Blocks of 8 KiB, of the table or of all its partitions together. */
enum { BLOCKS_MAX = 1024, ID_SIZE = 64 };

/* Why no key finds a row. BOTH_EMPTY is no fault of the row's: it is nobody's key. */
enum fault { NO_HASH, OTHER_KEY, HASH_IN_FALLBACK, EMPTY, BOTH_EMPTY, FAULTS };

struct look {
    const struct config *config;
    struct key_hasher *hasher; /* NULL: the secrets cannot be read */
    long long parts, blocks;   /* of the table; 0: there is none */
    size_t rows;
    size_t count[FAULTS];
    char first[FAULTS][ID_SIZE]; /* the ID of a row */
};

/* The column's text is empty for NULL, which counts for as much. */
static bool has_raw_key(struct slice fallback)
{
    return fallback.len > 0 && !key_hash_form(fallback);
}

static bool is_hash_of(const struct key_hasher *hasher, struct slice text, struct slice key)
{
    struct key_names names;
    size_t i = 0;

    key_hasher_names(hasher, key, &names);
    while (i < names.hashes && !slice_equal(text, (struct slice){names.hash[i], KEY_HASH_LEN}))
        i++;
    return i < names.hashes;
}

/* As the daemon judges a row (key_row_judge()), for whichever key finds it. Returns FAULTS for a
 * row that is right. */
static enum fault judge(const struct look *look, struct slice key, struct slice fallback)
{
    if (key.len == 0 && has_raw_key(fallback))
        return FAULTS;
    if (key.len == 0 && fallback.len > 0)
        return HASH_IN_FALLBACK;
    if (key.len == 0)
        return look->config->postgres_key_column_fallback[0] ? BOTH_EMPTY : EMPTY;
    if (!key_hash_stored(key))
        return NO_HASH;
    if (has_raw_key(fallback) && look->hasher && !is_hash_of(look->hasher, key, fallback))
        return OTHER_KEY;
    return FAULTS;
}

static struct slice text_of(const PGresult *result, int i, int column)
{
    return (struct slice){PQgetvalue(result, i, column), (size_t)PQgetlength(result, i, column)};
}

/* An ID may be text of any length: as much as has room, and no part of a character, since a report
 * in JSON has no place for such a part. */
static void copy_id(char ret[static ID_SIZE], struct slice id)
{
    size_t len = 0;

    for (size_t step; len < id.len; len += step) {
        step = utf8_sequence_len((struct slice){id.at + len, id.len - len});
        if (step == 0 || len + step >= ID_SIZE)
            break;
    }
    memcpy(ret, id.at, len);
    ret[len] = '\0';
}

static void take_rows(struct look *look, const PGresult *result)
{
    for (int i = 0; i < PQntuples(result); i++) {
        enum fault fault = judge(look, text_of(result, i, 0), text_of(result, i, 1));

        look->rows++;
        if (fault == FAULTS)
            continue;
        if (look->count[fault]++ == 0)
            copy_id(look->first[fault], text_of(result, i, 2));
    }
}

/* What `template` yields, or NULL with the reason in *why. */
static PGresult *ask(PGconn *connection, const struct config *config, const char *template,
                     const char *const *values, int params, struct buffer *why)
{
    struct buffer sql = {0};

    sql_template(&sql, config, template);
    buffer_append(&sql, "", 1);
    PGresult *result = PQexecParams(connection, sql.data, params, NULL, values, NULL, NULL, 0);
    buffer_free(&sql);
    if (PQresultStatus(result) == PGRES_TUPLES_OK)
        return result;
    const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    buffer_text(why, message ? message : PQerrorMessage(connection));
    PQclear(result);
    return NULL;
}

/* How many parts the table has, and how many blocks the largest of them. From here on a statement
 * that waits for long is given up. */
static bool measure(PGconn *connection, struct look *look, struct buffer *why)
{
    static const char sql[] =
        "WITH RECURSIVE tree (oid) AS (SELECT c.oid FROM pg_catalog.pg_class AS c "
        "WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({table_text}) "
        "AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::pg_catalog.\"char\"[]) "
        "UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i "
        "JOIN tree ON tree.oid OPERATOR(pg_catalog.=) i.inhparent) "
        "SELECT coalesce(pg_catalog.max(pg_catalog.pg_relation_size(oid)), 0) "
        "OPERATOR(pg_catalog./) pg_catalog.current_setting('block_size')::pg_catalog.int8, "
        "pg_catalog.count(*), pg_catalog.set_config('statement_timeout', '2s', false), "
        "pg_catalog.set_config('lock_timeout', '1s', false) FROM tree";
    PGresult *result = ask(connection, look->config, sql, NULL, 0, why);

    if (!result)
        return false;
    look->blocks = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    look->parts = strtoll(PQgetvalue(result, 0, 1), NULL, 10);
    PQclear(result);
    return true;
}

/* Block by block: no index is needed, and no lock is held in between. */
static bool read_blocks(PGconn *connection, struct look *look, long long from, long long to,
                        struct buffer *why)
{
    char first[32], end[32];
    const char *const values[] = {first, end};
    struct buffer template = {0};

    snprintf(first, sizeof first, "(%lld,0)", from);
    snprintf(end, sizeof end, "(%lld,0)", to);
    buffer_printf(&template,
                  "SELECT {key}::pg_catalog.text, %s::pg_catalog.text, {id}::pg_catalog.text "
                  "FROM {table} WHERE ctid OPERATOR(pg_catalog.>=) $1::pg_catalog.tid "
                  "AND ctid OPERATOR(pg_catalog.<) $2::pg_catalog.tid",
                  look->config->postgres_key_column_fallback[0] ? "{fallback}" : "NULL");
    buffer_append(&template, "", 1);
    PGresult *result = ask(connection, look->config, template.data, values, 2, why);
    buffer_free(&template);
    if (!result)
        return false;
    take_rows(look, result);
    PQclear(result);
    return true;
}

static time_t now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* False, with the reason in *why, when rows are left. */
static bool read_rows(PGconn *connection, struct look *look, struct buffer *why)
{
    time_t until_s = now_s() + patience_s;

    if (!measure(connection, look, why))
        return false;
    long long step = look->parts > 0 && look->parts < BLOCKS_MAX ? BLOCKS_MAX / look->parts : 1;
    for (long long at = 0; at < look->blocks; at += step) {
        if (now_s() >= until_s) {
            buffer_printf(why, "reading took %lld seconds", (long long)patience_s);
            return false;
        }
        if (!read_blocks(connection, look, at, at + step, why))
            return false;
    }
    return true;
}

static void say_faults(const struct look *look, stored_keys_say *say, void *arg)
{
    static const struct {
        const char *state, *says, *action;
    } faults[FAULTS] = {
        [NO_HASH] = {"in the way", "holds no hash: 64 lower-case hexadecimal digits are expected",
                     "store the HMAC-SHA-256 of the key there"},
        [OTHER_KEY] = {"in the way",
                       "holds the hash of another key than key_column_fallback, or by a secret "
                       "that is not in key_transform_secret_file",
                       "correct one of the columns, or name the secret's file"},
        [HASH_IN_FALLBACK] = {"in the way",
                              "is empty, and key_column_fallback holds 64 hexadecimal digits, "
                              "which may be a stored hash",
                              "fill it in"},
        [EMPTY] = {"in the way", "is empty",
                   "fill it in, or name the column of the keys themselves in "
                   "postgres.key_column_fallback"},
        [BOTH_EMPTY] = {"advice", "is empty, and so is key_column_fallback",
                        "nothing, if these rows are to stay without a key"},
    };

    for (int i = 0; i < FAULTS; i++) {
        struct buffer what = {0};

        if (look->count[i] == 0)
            continue;
        buffer_printf(&what, "no key finds %zu of %zu rows: column %s %s (the first: %s)",
                      look->count[i], look->rows, look->config->postgres_key_column, faults[i].says,
                      look->first[i]);
        buffer_append(&what, "", 1);
        say(arg, faults[i].state, what.data, faults[i].action);
        buffer_free(&what);
    }
}

static void say_left(const struct look *look, const struct buffer *why, stored_keys_say *say,
                     void *arg)
{
    struct buffer what = {0};

    buffer_printf(&what, "only %zu rows were read: %.*s", look->rows, (int)why->len,
                  buffer_held(why).at);
    buffer_append(&what, "", 1);
    say(arg, "advice", what.data,
        "look for other rows in SQL: operations.md, \"Moving to hashed keys\"");
    buffer_free(&what);
}

static bool is_well(const struct look *look)
{
    size_t faults = 0;

    for (int i = 0; i < FAULTS; i++)
        faults += look->count[i];
    return faults == 0;
}

static void say_well(const struct look *look, stored_keys_say *say, void *arg)
{
    char what[96];

    snprintf(what, sizeof what, "each of %zu rows holds what a check can find", look->rows);
    say(arg, "ok", what, "");
}

static void say_unread(const struct buffer *why, stored_keys_say *say, void *arg)
{
    struct buffer what = {0};

    buffer_printf(&what,
                  "postgres.key_transform_secret_file: %.*s; hashes are not compared with keys",
                  (int)why->len, buffer_held(why).at);
    buffer_append(&what, "", 1);
    say(arg, "advice", what.data, "check as a user who may read it");
    buffer_free(&what);
}

void stored_keys_check(PGconn *connection, const struct config *config, stored_keys_say *say,
                       void *arg)
{
    struct look look = {.config = config};
    struct buffer unread = {0}, left = {0};

    if (config->postgres_key_transform == KEY_TRANSFORM_NONE)
        return;
    look.hasher = config_key_hasher(config, &unread, NULL);
    if (!look.hasher)
        say_unread(&unread, say, arg);
    bool all = read_rows(connection, &look, &left);
    say_faults(&look, say, arg);
    if (!all)
        say_left(&look, &left, say, arg);
    else if (look.parts > 0 && is_well(&look))
        say_well(&look, say, arg);
    buffer_free(&unread);
    buffer_free(&left);
    key_hasher_free(look.hasher);
}
