/* SPDX-License-Identifier: MIT */
#include "heartbeat_query.h"

#include <apikeyd/postgres/pg_array.h>

enum {
    FIELD_PID = STORE_FIELDS,
    FIELD_DEFINITION,
    FIELD_QUEUE,
    FIELD_SNAPSHOT,
    FIELD_HAS_UNANNOUNCED,
    FIELD_UNANNOUNCED,
    FIELDS
};

/* The table, its partitions and its children. */
#define DEFINITION_TREE                                                                            \
    "tree(oid) AS (SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n "  \
    "ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "                                              \
    "WHERE c.relname OPERATOR(pg_catalog.=) $2 AND n.nspname OPERATOR(pg_catalog.=) $1 "           \
    "UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i "                                    \
    "JOIN tree ON i.inhparent OPERATOR(pg_catalog.=) tree.oid)"

/* The text of the same rows depends on their order, so each catalog's rows are sorted. */
#define DEFINITION                                                                                 \
    "coalesce(pg_catalog.hashtextextended(pg_catalog.concat_ws('|', "                              \
    "(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', c.oid, c.xmin), ',' ORDER BY c.oid) " \
    "FROM tree JOIN pg_catalog.pg_class AS c ON c.oid OPERATOR(pg_catalog.=) tree.oid), "          \
    "(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attnum, a.xmin), ',' "              \
    "ORDER BY a.attrelid, a.attnum) FROM tree JOIN pg_catalog.pg_attribute AS a "                  \
    "ON a.attrelid OPERATOR(pg_catalog.=) tree.oid), "                                             \
    "(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', t.oid, t.xmin, p.oid, p.xmin, "       \
    "pn.xmin), ',' ORDER BY t.oid) FROM tree JOIN pg_catalog.pg_trigger AS t "                     \
    "ON t.tgrelid OPERATOR(pg_catalog.=) tree.oid "                                                \
    "LEFT JOIN pg_catalog.pg_proc AS p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid "                  \
    "LEFT JOIN pg_catalog.pg_namespace AS pn ON pn.oid OPERATOR(pg_catalog.=) p.pronamespace), "   \
    "(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', i.inhrelid, i.inhparent, i.xmin), "   \
    "',' ORDER BY i.inhrelid, i.inhparent) FROM tree JOIN pg_catalog.pg_inherits AS i "            \
    "ON i.inhparent OPERATOR(pg_catalog.=) tree.oid), "                                            \
    "(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', p.oid, p.xmin), ',' ORDER BY p.oid) " \
    "FROM pg_catalog.pg_proc AS p WHERE p.pronamespace OPERATOR(pg_catalog.=) un.oid), "           \
    "(SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', d.oid, d.xmin), ',' ORDER BY d.oid) " \
    "FROM pg_catalog.pg_attrdef AS d WHERE d.adrelid OPERATOR(pg_catalog.=) u.oid), "              \
    "pg_catalog.concat_ws(' ', u.oid, u.xmin)), 0), 0)"

#define HEAD                                                                                       \
    "WITH RECURSIVE " DEFINITION_TREE " SELECT " STORE_COLUMNS                                     \
    ", pg_catalog.pg_backend_pid(), CASE WHEN st.oid IS NULL THEN 0 ELSE " DEFINITION " END, "     \
    "pg_catalog.pg_notification_queue_usage(), "                                                   \
    "pg_catalog.pg_current_snapshot()::pg_catalog.text, "                                          \
    "coalesce(u.relkind OPERATOR(pg_catalog.=) 'r' AND NOT u.relrowsecurity "                      \
    "AND EXISTS (SELECT FROM pg_catalog.pg_attribute AS a "                                        \
    "WHERE a.attrelid OPERATOR(pg_catalog.=) u.oid "                                               \
    "AND a.attname OPERATOR(pg_catalog.=) 'xid'::pg_catalog.text "                                 \
    "AND a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.xid8'::pg_catalog.regtype) "                \
    "AND (un.nspowner OPERATOR(pg_catalog.=) sd.datdba OR pg_catalog.pg_has_role("                 \
    "un.nspowner, coalesce(st.relowner, sd.datdba), 'MEMBER')) "                                   \
    "AND (u.relowner OPERATOR(pg_catalog.=) sd.datdba OR pg_catalog.pg_has_role("                  \
    "u.relowner, coalesce(st.relowner, sd.datdba), 'MEMBER')) "                                    \
    "AND pg_catalog.has_schema_privilege(un.oid, 'USAGE') "                                        \
    "AND pg_catalog.has_table_privilege(u.oid, 'SELECT'), false), "
#define TAIL                                                                                       \
    " FROM " STORE_FROM " LEFT JOIN (pg_catalog.pg_class AS u JOIN pg_catalog.pg_namespace AS un " \
    "ON un.oid OPERATOR(pg_catalog.=) u.relnamespace) "                                            \
    "ON u.relname OPERATOR(pg_catalog.=) 'unannounced_change'::pg_catalog.text "                   \
    "AND un.nspname OPERATOR(pg_catalog.=) 'apikeyd'::pg_catalog.text"

static const char without_unannounced[] = HEAD "false" TAIL;

/* $3 is a snapshot: transactions that it does not see have ended since. A note that a restored dump
 * or a subscription has brought may name a transaction that this server has not run yet. */
static const char with_unannounced[] =
    HEAD "EXISTS (SELECT FROM apikeyd.unannounced_change AS x "
         "WHERE x.xid OPERATOR(pg_catalog.>=) "
         "pg_catalog.pg_snapshot_xmin($3::pg_catalog.pg_snapshot) "
         "AND NOT pg_catalog.pg_visible_in_snapshot(x.xid, $3::pg_catalog.pg_snapshot) "
         "AND pg_catalog.pg_visible_in_snapshot(x.xid, pg_catalog.pg_current_snapshot()))" TAIL;

void heartbeat_query_bind(struct pg_query *query, const struct config *config, const char *since)
{
    query->params = 2;
    store_query_name_table(query, config);
    if (!since) {
        query->sql = without_unannounced;
    } else {
        query->sql = with_unannounced;
        query->params = 3;
        query->param[2] = (struct pg_param){PG_TEXT, {since, strlen(since)}};
    }
}

static double get_float8(const char *bytes)
{
    int64_t bits = pg_get_int64(bytes);
    double number;

    memcpy(&number, &bits, sizeof number);
    return number;
}

/* A snapshot that is too long is cut to its xmin: changes that it saw above that count as new once
 * more. */
static void keep_snapshot(const char *text, char ret[static SNAPSHOT_SIZE])
{
    int len = (int)strcspn(text, ":");

    if (strlen(text) < SNAPSHOT_SIZE)
        strcpy(ret, text);
    else
        snprintf(ret, SNAPSHOT_SIZE, "%.*s:%.*s:", len, text, len, text);
}

bool heartbeat_query_read(const PGresult *result, struct heartbeat *ret)
{
    static const int len[FIELDS] = {[FIELD_PID] = 4,
                                    [FIELD_DEFINITION] = 8,
                                    [FIELD_QUEUE] = 8,
                                    [FIELD_HAS_UNANNOUNCED] = 1,
                                    [FIELD_UNANNOUNCED] = 1};
    struct heartbeat heartbeat = {0};
    const char *value[FIELDS];

    if (PQnfields(result) != FIELDS ||
        !store_query_read(result, 0, &heartbeat.store, &heartbeat.server_us))
        return false;
    for (int i = STORE_FIELDS; i < FIELDS; i++) {
        value[i] = PQgetvalue(result, 0, i);
        if (len[i] > 0 && PQgetlength(result, 0, i) != len[i])
            return false;
    }
    heartbeat.server_pid = pg_get_int32(value[FIELD_PID]);
    heartbeat.definition = pg_get_int64(value[FIELD_DEFINITION]);
    heartbeat.queue_usage = get_float8(value[FIELD_QUEUE]);
    heartbeat.has_unannounced = value[FIELD_HAS_UNANNOUNCED][0] != 0;
    heartbeat.unannounced = value[FIELD_UNANNOUNCED][0] != 0;
    keep_snapshot(value[FIELD_SNAPSHOT], heartbeat.snapshot);
    *ret = heartbeat;
    return true;
}
