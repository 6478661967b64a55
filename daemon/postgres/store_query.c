/* SPDX-License-Identifier: MIT */
#include <apikeyd/postgres/store_query.h>

#include <stdlib.h>

#include <apikeyd/postgres/pg_array.h>

enum {
    FIELD_CLOCK,
    FIELD_STARTED,
    FIELD_STANDBY,
    FIELD_SYSTEM,
    FIELD_WAL_FILE,
    FIELD_DATABASE,
    FIELD_DATABASE_NAME,
    FIELD_TABLE,
    FIELD_PLAIN,
    FIELD_ENCODING
};

/* Of pg_database.encoding: no encoding at all (pg_wchar.h). */
enum { PG_SQL_ASCII = 0 };

/* A WAL file's name begins with its timeline, in hex (PostgreSQL manual, "Backup Control
 * Functions"). */
enum { TIMELINE_HEX_LEN = 8 };

/* "schema.table"; a table without a schema is in schema public. */
void store_query_name_table(struct pg_query *query, const struct config *config)
{
    const char *name = config->postgres_table;
    const char *dot = strchr(name, '.');
    const char *table = dot ? dot + 1 : name;
    struct slice schema = {dot ? name : "public", dot ? (size_t)(dot - name) : strlen("public")};

    query->param[0] = (struct pg_param){PG_TEXT, schema};
    query->param[1] = (struct pg_param){PG_TEXT, {table, strlen(table)}};
}

void store_query_bind(struct pg_query *query, const struct config *config)
{
    query->sql = "SELECT " STORE_COLUMNS " FROM " STORE_FROM;
    query->params = 2;
    store_query_name_table(query, config);
}

static uint32_t timeline_of(const char *wal_file)
{
    char hex[TIMELINE_HEX_LEN + 1] = "";

    memcpy(hex, wal_file, strnlen(wal_file, TIMELINE_HEX_LEN));
    return (uint32_t)strtoul(hex, NULL, 16);
}

bool store_query_read(const PGresult *result, int column, struct store *ret, int64_t *ret_server_us)
{
    static const int len[STORE_FIELDS] = {
        [FIELD_CLOCK] = 8,    [FIELD_STARTED] = 8, [FIELD_STANDBY] = 1, [FIELD_SYSTEM] = 8,
        [FIELD_DATABASE] = 4, [FIELD_TABLE] = 4,   [FIELD_PLAIN] = 1,   [FIELD_ENCODING] = 4};
    struct store store = {0};
    const char *value[STORE_FIELDS];

    if (PQntuples(result) != 1 || PQnfields(result) < column + STORE_FIELDS)
        return false;
    for (int i = 0; i < STORE_FIELDS; i++) {
        value[i] = PQgetvalue(result, 0, column + i);
        if (len[i] > 0 && PQgetlength(result, 0, column + i) != len[i])
            return false;
    }
    store.mark.started_us = pg_get_int64(value[FIELD_STARTED]) + PG_EPOCH_US;
    store.mark.table = (uint32_t)pg_get_int32(value[FIELD_TABLE]);
    snprintf(store.mark.database, sizeof store.mark.database, "%s", value[FIELD_DATABASE_NAME]);
    store.id.system = (uint64_t)pg_get_int64(value[FIELD_SYSTEM]);
    store.id.timeline = timeline_of(value[FIELD_WAL_FILE]);
    store.id.database = (uint32_t)pg_get_int32(value[FIELD_DATABASE]);
    store.id.table = store.mark.table;
    store.id.started_us = store.mark.started_us;
    store.standby = value[FIELD_STANDBY][0] != 0;
    store.plain = value[FIELD_PLAIN][0] != 0;
    store.bytes = pg_get_int32(value[FIELD_ENCODING]) == PG_SQL_ASCII;
    *ret = store;
    *ret_server_us = pg_get_int64(value[FIELD_CLOCK]) + PG_EPOCH_US;
    return true;
}

void store_mark_bind(struct pg_query *query, int first, const struct store_mark *mark,
                     struct buffer *numbers)
{
    enum { STARTED_SIZE = 8, TABLE_SIZE = 4 };
    struct pg_param *param = &query->param[first - 1];

    buffer_consume(numbers, numbers->len);
    pg_put_int64(numbers, (uint64_t)(mark->started_us - PG_EPOCH_US));
    pg_put_int32(numbers, mark->table);
    struct slice held = buffer_held(numbers);
    param[0] = (struct pg_param){PG_TIMESTAMPTZ, {held.at, STARTED_SIZE}};
    param[1] = (struct pg_param){PG_OID, {held.at + STARTED_SIZE, TABLE_SIZE}};
    param[2] = (struct pg_param){PG_TEXT, {mark->database, strlen(mark->database)}};
}

/* Take the next field of a record in binary form: type, length, bytes (record_send()). */
static bool take_field(struct slice *record, struct slice *ret)
{
    enum { HEAD = 8 };

    if (record->len < HEAD)
        return false;
    int32_t len = pg_get_int32(record->at + 4);
    if (len < 0 || (size_t)len > record->len - HEAD)
        return false;
    *ret = (struct slice){record->at + HEAD, (size_t)len};
    record->at += HEAD + (size_t)len;
    record->len -= HEAD + (size_t)len;
    return true;
}

bool store_mark_read(const char *record, int len, struct store_told *ret)
{
    enum { STARTED, STANDBY, TABLE, DATABASE, HIDDEN, FIELDS };
    static const size_t expected[FIELDS] = {8, 1, 4, 0, 1};
    struct slice rest = {record, (size_t)len};
    struct slice field[FIELDS];
    struct store_told told = {0};

    if (len < 4 || pg_get_int32(record) != FIELDS)
        return false;
    rest.at += 4;
    rest.len -= 4;
    for (int i = 0; i < FIELDS; i++) {
        if (!take_field(&rest, &field[i]) || (expected[i] > 0 && field[i].len != expected[i]))
            return false;
    }
    if (field[DATABASE].len >= sizeof told.mark.database)
        return false;
    told.mark.started_us = pg_get_int64(field[STARTED].at) + PG_EPOCH_US;
    told.mark.table = (uint32_t)pg_get_int32(field[TABLE].at);
    memcpy(told.mark.database, field[DATABASE].at, field[DATABASE].len);
    told.standby = field[STANDBY].at[0] != 0;
    told.hidden = field[HIDDEN].at[0] != 0;
    *ret = told;
    return true;
}
