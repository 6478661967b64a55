/* SPDX-License-Identifier: MIT */
#include <apikeyd/postgres/pg_id.h>

#include <endian.h>
#include <string.h>

#include <apikeyd/postgres/pg_array.h>

uint32_t pg_id_oid(enum id_type type)
{
    static const uint32_t oid[] = {[ID_UUID] = PG_UUID, [ID_BIGINT] = PG_INT8, [ID_TEXT] = PG_TEXT};

    return oid[type];
}

uint32_t pg_id_array_oid(enum id_type type)
{
    static const uint32_t oid[] = {
        [ID_UUID] = PG_UUID_ARRAY, [ID_BIGINT] = PG_INT8_ARRAY, [ID_TEXT] = PG_TEXT_ARRAY};

    return oid[type];
}

void pg_id_element(struct buffer *array, const struct row_id *id, enum id_type type)
{
    char text[ID_TEXT_MAX];
    size_t text_len;

    switch (type) {
    case ID_UUID:
        pg_array_element(array, &id->head, sizeof id->head);
        break;
    case ID_BIGINT:
        pg_array_int64(array, row_id_to_bigint(id));
        break;
    case ID_TEXT:
        text_len = row_id_to_text(id, type, text);
        pg_array_element(array, text, text_len);
        break;
    }
}

bool pg_id_fits(const PGresult *result, int column, enum id_type type)
{
    uint32_t oid = PQftype(result, column);

    switch (type) {
    case ID_UUID:
        return oid == PG_UUID;
    case ID_BIGINT:
        return oid == PG_INT8 || oid == PG_INT4 || oid == PG_INT2;
    case ID_TEXT:
        break;
    }
    return oid == PG_TEXT || oid == PG_VARCHAR;
}

static bool read_integer(const char *bytes, int len, struct row_id *ret)
{
    uint16_t small;

    switch (len) {
    case 8:
        row_id_from_bigint(pg_get_int64(bytes), ret);
        return true;
    case 4:
        row_id_from_bigint(pg_get_int32(bytes), ret);
        return true;
    case 2:
        memcpy(&small, bytes, sizeof small);
        row_id_from_bigint((int16_t)be16toh(small), ret);
        return true;
    default:
        return false;
    }
}

static bool read_value(const char *bytes, int len, enum id_type type, struct row_id *ret)
{
    switch (type) {
    case ID_UUID:
        if (len != sizeof ret->head)
            return false;
        memcpy(&ret->head, bytes, sizeof ret->head);
        return true;
    case ID_BIGINT:
        return read_integer(bytes, len, ret);
    case ID_TEXT:
        break;
    }
    return row_id_from_text((struct slice){bytes, (size_t)len}, type, ret);
}

bool pg_id_read(const PGresult *result, int row, int column, enum id_type type, struct row_id *ret)
{
    struct row_id id = {0};
    bool read =
        !PQgetisnull(result, row, column) &&
        read_value(PQgetvalue(result, row, column), PQgetlength(result, row, column), type, &id);

    *ret = read ? id : (struct row_id){0};
    return read;
}

const char *pg_type_name(uint32_t oid)
{
    static const struct {
        uint32_t oid;
        const char *name;
    } types[] = {
        {PG_UUID, "uuid"},
        {PG_INT8, "bigint"},
        {PG_INT4, "integer"},
        {PG_INT2, "smallint"},
        {PG_TEXT, "text"},
        {PG_VARCHAR, "varchar"},
        {PG_BPCHAR, "char(n)"},
        {PG_NUMERIC, "numeric"},
        {PG_NAME, "name"},
        {PG_BYTEA, "bytea"},
        {PG_DATE, "date"},
        {PG_TIMESTAMP, "timestamp"},
        {PG_TIMESTAMPTZ, "timestamptz"},
    };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i].oid == oid)
            return types[i].name;
    }
    return "another type";
}
