/* attribute_query: the columns of attributes in the statement of a lookup, and in its rows.
 *
 * Four columns of the answer are of one attribute: its text as PostgreSQL prints it, the length of
 * that, a NULL, which has the type of the column, and that type's category, for types that are not
 * PostgreSQL's own. Text that cannot be an attribute is not sent,
 * only its length. What is no attribute, or too long for one, is left out: never cut, and never
 * without a word. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ATTRIBUTE_QUERY_H
#define APIKEYD_ATTRIBUTE_QUERY_H

#include <libpq-fe.h>

#include <apikeyd/config/config.h>
#include <apikeyd/model/attributes.h>
#include <apikeyd/model/digest.h>
#include <apikeyd/thread/back_env.h>

/* Columns of a result, from `first` on. */
enum { ATTRIBUTE_COLUMNS_EACH = 4 };

/* Append the columns of a row of the table by that alias, and NULLs in their places, to a template
 * (sql_template.h). */
void attribute_query_append(struct buffer *text, const struct config *config, char alias);
void attribute_query_append_none(struct buffer *text, const struct config *config);

/* A column that no attribute can be read from. */
struct attribute_misfit {
    const char *column; /* its name, the configuration's; NULL: there is none */
    const char *type;   /* lives forever */
};

struct attribute_misfit attribute_query_misfit(const PGresult *result, int first,
                                               const struct attribute_columns *columns);

/* Returns whether row `i` has the expected form. */
bool attribute_query_valid(const PGresult *result, int i, int first,
                           const struct attribute_columns *columns);

/* What a row has and an answer does not tell. */
struct attribute_faults {
    size_t len;
    struct attribute_fault {
        unsigned column;
        const char *why; /* lives forever */
        size_t bytes;    /* of the value, or of the text of a column that has none */
    } fault[ATTRIBUTES_MAX];
};

/* Read row `i`, without a misfit, and append to the draft. */
void attribute_query_read(const PGresult *result, int i, int first,
                          const struct attribute_columns *columns, struct attributes_draft *draft,
                          struct attribute_faults *ret_faults);

/* What the log has had. Zeros: nothing. */
enum { ATTRIBUTE_LOG_KEYS = 16 };

struct attribute_log {
    int64_t minute_us;                     /* the minute that began then … */
    unsigned lines;                        /* … has had so many lines */
    struct digest key[ATTRIBUTE_LOG_KEYS]; /* the last ones */
    size_t next;
};

/* Count what was left out of a key's answer, and log it: a key's once, unless many others follow,
 * and at most ten keys a minute. */
void attribute_log_faults(struct attribute_log *log, struct back_env *env,
                          const struct digest *digest, const struct attribute_faults *faults);

#endif
