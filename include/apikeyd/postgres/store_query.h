/* store_query: asks a session which store it leads to.
 *
 * The full answer takes a query of its own: for the feed's heartbeats, and for each session of
 * lookups or usage that is new or whose answers have an unknown mark. Every name in the statements
 * is qualified, operators too, because a role may have created others of the same name.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_STORE_QUERY_H
#define APIKEYD_STORE_QUERY_H

#include <apikeyd/config/config.h>
#include <apikeyd/model/store.h>
#include <apikeyd/postgres/pg_connection.h>

/* The select list for the columns that store_query_read() reads from `column` on, and the FROM
 * items that the list needs. $1 is the schema, $2 the table. */
#define STORE_COLUMNS                                                                              \
    "pg_catalog.clock_timestamp(), pg_catalog.pg_postmaster_start_time(), "                        \
    "pg_catalog.pg_is_in_recovery(), sc.system_identifier, "                                       \
    "CASE WHEN pg_catalog.pg_is_in_recovery() THEN '' "                                            \
    "ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END, "                       \
    "sd.oid, sd.datname::pg_catalog.text, coalesce(st.oid, 0::pg_catalog.oid), "                   \
    "coalesce(st.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[]), false), "    \
    "sd.encoding"
#define STORE_FROM                                                                                 \
    "pg_catalog.pg_control_system() AS sc JOIN pg_catalog.pg_database AS sd "                      \
    "ON sd.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() "                          \
    "LEFT JOIN (pg_catalog.pg_class AS st JOIN pg_catalog.pg_namespace AS sn "                     \
    "ON sn.oid OPERATOR(pg_catalog.=) st.relnamespace) "                                           \
    "ON st.relname OPERATOR(pg_catalog.=) $2 AND sn.nspname OPERATOR(pg_catalog.=) $1"
enum { STORE_FIELDS = 10 };

/* Set the first two parameters, which point into `config`. */
void store_query_name_table(struct pg_query *query, const struct config *config);

/* Set the complete query. */
void store_query_bind(struct pg_query *query, const struct config *config);

/* Read row 0 from `column` on. False, leaving both outputs alone, when the row has another form.
 * *ret_server_us is PostgreSQL's clock, µs since 1970. */
bool store_query_read(const PGresult *result, int column, struct store *ret,
                      int64_t *ret_server_us);

/* The mark that every statement of lookups and usage returns, as one column of type record, for
 * sql_template(). */
#define STORE_MARK                                                                                 \
    "ROW(pg_catalog.pg_postmaster_start_time(), pg_catalog.pg_is_in_recovery(), "                  \
    "{table_text}::pg_catalog.regclass::pg_catalog.oid, pg_catalog.current_database(), "           \
    "pg_catalog.row_security_active({table_text}::pg_catalog.regclass::pg_catalog.oid))"

/* The condition that the statement runs where a mark was read, for sql_template(): `started`,
 * `table` and `database` are the names of its three parameters. */
#define STORE_MARK_CONDITION(started, table, database)                                             \
    "pg_catalog.pg_postmaster_start_time() OPERATOR(pg_catalog.=) " started                        \
    " AND {table_text}::pg_catalog.regclass::pg_catalog.oid OPERATOR(pg_catalog.=) " table         \
    " AND pg_catalog.current_database()::pg_catalog.text OPERATOR(pg_catalog.=) " database

/* Set these parameters, from param[first - 1] on. The parameters point into `mark` and `numbers`;
 * the call replaces the bytes of `numbers`. */
void store_mark_bind(struct pg_query *query, int first, const struct store_mark *mark,
                     struct buffer *numbers);

struct store_told {
    struct store_mark mark;
    bool standby;
    bool hidden; /* row security hides rows from this role: a missing row proves nothing */
};

/* Read a column that STORE_MARK made. False when it has another form. */
bool store_mark_read(const char *record, int len, struct store_told *ret);

#endif
