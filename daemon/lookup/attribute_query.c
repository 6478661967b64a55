/* SPDX-License-Identifier: MIT */
#include "attribute_query.h"

#include <apikeyd/clock/clock.h>
#include <apikeyd/postgres/pg_array.h>
#include <apikeyd/postgres/pg_id.h>
#include <apikeyd/wire/attribute_text.h>

/* The columns of one attribute. */
enum { PRINTED, LENGTH, TYPED, CATEGORY };

/* Longer text is not sent. Text that JSON's or an array's signs make longer than its value is not
 * as long as this, if the value fits. */
#define PRINTED_MAX "8192"

/* PostgreSQL would refuse the whole statement for text of a database without an encoding that is no
 * UTF-8, so its bytes are sent as they are. */
#define ENCODING                                                                                   \
    "CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) "                           \
    "'SQL_ASCII'::pg_catalog.name "                                                                \
    "THEN 'SQL_ASCII'::pg_catalog.name ELSE 'UTF8'::pg_catalog.name END"

/* concat() prints any type, by the type's own output function and as nothing else: a cast may be
 * the table owner's. */
void attribute_query_append(struct buffer *text, const struct config *config, char alias)
{
    for (size_t i = 0; i < config->postgres_attribute_columns.len; i++)
        buffer_printf(text,
                      ", CASE WHEN %c.{attribute_%zu} IS NOT NULL "
                      "AND pg_catalog.octet_length(pg_catalog.concat(%c.{attribute_%zu})) "
                      "OPERATOR(pg_catalog.<=) " PRINTED_MAX
                      " THEN pg_catalog.convert_to(pg_catalog.concat(%c.{attribute_%zu}), " ENCODING
                      ") END, "
                      "CASE WHEN %c.{attribute_%zu} IS NOT NULL "
                      "THEN pg_catalog.octet_length(pg_catalog.concat(%c.{attribute_%zu})) END, "
                      "CASE WHEN false THEN %c.{attribute_%zu} END, "
                      "(SELECT y.typcategory FROM pg_catalog.pg_type AS y "
                      "WHERE y.oid OPERATOR(pg_catalog.=) "
                      "pg_catalog.pg_typeof(CASE WHEN false THEN %c.{attribute_%zu} END))",
                      alias, i, alias, i, alias, i, alias, i, alias, i, alias, i, alias, i);
}

void attribute_query_append_none(struct buffer *text, const struct config *config)
{
    for (size_t i = 0; i < config->postgres_attribute_columns.len; i++)
        buffer_text(text, ", NULL, NULL, NULL, NULL");
}

/* OIDs as in pg_type.dat. A domain counts as what it was made from. */
static bool form_of(Oid type, enum attribute_form *ret)
{
    static const struct {
        Oid type;
        enum attribute_form form;
    } forms[] = {
        {PG_TEXT, ATTRIBUTE_TEXT},
        {PG_VARCHAR, ATTRIBUTE_TEXT},
        {PG_NAME, ATTRIBUTE_TEXT},
        {PG_BPCHAR, ATTRIBUTE_PADDED},
        {16 /* boolean */, ATTRIBUTE_BOOLEAN},
        {PG_INT2, ATTRIBUTE_TEXT},
        {PG_INT4, ATTRIBUTE_TEXT},
        {PG_INT8, ATTRIBUTE_TEXT},
        {700 /* real */, ATTRIBUTE_TEXT},
        {701 /* double precision */, ATTRIBUTE_TEXT},
        {PG_NUMERIC, ATTRIBUTE_TEXT},
        {PG_UUID, ATTRIBUTE_TEXT},
        {114 /* json */, ATTRIBUTE_JSON},
        {3802 /* jsonb */, ATTRIBUTE_JSON},
        {PG_TEXT_ARRAY, ATTRIBUTE_LIST},
        {1015 /* varchar[] */, ATTRIBUTE_LIST},
    };

    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (forms[i].type == type) {
            *ret = forms[i].form;
            return true;
        }
    }
    return false;
}

static int place_of(int first, size_t column)
{
    return first + (int)column * ATTRIBUTE_COLUMNS_EACH;
}

/* Whether a column's type that is not PostgreSQL's own is an enum, or a kind of text, as citext is:
 * the rows tell. Without a row nothing is to be read. */
static bool is_text_of_others(const PGresult *result, int place)
{
    enum { OWN_MAX = 16383 /* FirstNormalObjectId - 1 */ };

    if (PQftype(result, place + TYPED) <= OWN_MAX)
        return false;
    for (int i = 0; i < PQntuples(result); i++) {
        if (!PQgetisnull(result, i, place + CATEGORY))
            return strchr("ES", PQgetvalue(result, i, place + CATEGORY)[0]) != NULL;
    }
    return true;
}

struct attribute_misfit attribute_query_misfit(const PGresult *result, int first,
                                               const struct attribute_columns *columns)
{
    enum attribute_form form;

    for (size_t i = 0; i < columns->len; i++) {
        Oid type = PQftype(result, place_of(first, i) + TYPED);

        if (!form_of(type, &form) && !is_text_of_others(result, place_of(first, i)))
            return (struct attribute_misfit){columns->column[i].name, pg_type_name(type)};
    }
    return (struct attribute_misfit){0};
}

bool attribute_query_valid(const PGresult *result, int i, int first,
                           const struct attribute_columns *columns)
{
    for (size_t column = 0; column < columns->len; column++) {
        int length = place_of(first, column) + LENGTH;
        int category = place_of(first, column) + CATEGORY;

        if ((!PQgetisnull(result, i, length) && PQgetlength(result, i, length) != 4) ||
            (!PQgetisnull(result, i, category) && PQgetlength(result, i, category) != 1))
            return false;
    }
    return true;
}

/* Why a value of so many bytes is none. */
static const char *why_not(enum attribute_value found)
{
    switch (found) {
    case ATTRIBUTE_IS_NO_SCALAR:
        return "it is a JSON object, or an array of anything but strings";
    case ATTRIBUTE_IS_NO_LIST:
        return "an element of the list is an array, is empty or has a blank in it, and a blank "
               "separates elements";
    case ATTRIBUTE_IS_NO_TEXT:
        return "it is no UTF-8 text";
    case ATTRIBUTE_IS_VALUE:
    case ATTRIBUTE_IS_NULL:
        break;
    }
    return NULL;
}

static void note(struct attribute_faults *faults, size_t column, const char *why, size_t bytes)
{
    faults->fault[faults->len++] = (struct attribute_fault){(unsigned)column, why, bytes};
}

/* Read one column that is not NULL. `value` is empty. */
static void read_column(const PGresult *result, int i, int place, size_t column,
                        struct buffer *value, struct attributes_draft *draft,
                        struct attribute_faults *faults)
{
    static const char too_long[] = "a value has at most 255 bytes";
    size_t len = (size_t)pg_get_int32(PQgetvalue(result, i, place + LENGTH));
    enum attribute_form form = ATTRIBUTE_TEXT;

    if (PQgetisnull(result, i, place + PRINTED)) {
        note(faults, column, too_long, len);
        return;
    }
    (void)form_of(PQftype(result, place + TYPED), &form);
    struct slice printed = {PQgetvalue(result, i, place + PRINTED),
                            (size_t)PQgetlength(result, i, place + PRINTED)};
    enum attribute_value found = attribute_text_read(form, printed, value);
    if (why_not(found))
        note(faults, column, why_not(found), len);
    else if (found == ATTRIBUTE_IS_VALUE &&
             !attributes_append(draft, (unsigned)column, buffer_held(value)))
        note(faults, column,
             value->len > ATTRIBUTE_VALUE_MAX
                 ? too_long
                 : "all values of a key together have at most 1024 bytes",
             value->len);
}

void attribute_query_read(const PGresult *result, int i, int first,
                          const struct attribute_columns *columns, struct attributes_draft *draft,
                          struct attribute_faults *ret_faults)
{
    struct buffer value = {0};

    ret_faults->len = 0;
    for (size_t column = 0; column < columns->len; column++) {
        int place = place_of(first, column);

        if (PQgetisnull(result, i, place + LENGTH))
            continue;
        buffer_consume(&value, value.len);
        read_column(result, i, place, column, &value, draft, ret_faults);
    }
    buffer_free(&value);
}

static bool may_log(struct attribute_log *log, const struct digest *digest, int64_t now_us)
{
    enum { MINUTE_US = 60000000, LINES_MAX = 10 };

    for (size_t i = 0; i < ATTRIBUTE_LOG_KEYS; i++) {
        if (digest_equal(&log->key[i], digest))
            return false;
    }
    if (log->minute_us == 0 || now_us - log->minute_us >= MINUTE_US) {
        log->minute_us = now_us;
        log->lines = 0;
    }
    if (log->lines == LINES_MAX)
        return false;
    log->lines++;
    log->key[log->next] = *digest;
    log->next = (log->next + 1) % ATTRIBUTE_LOG_KEYS;
    return true;
}

void attribute_log_faults(struct attribute_log *log, struct back_env *env,
                          const struct digest *digest, const struct attribute_faults *faults)
{
    char fingerprint[FINGERPRINT_SIZE];

    env->metrics.value[METRIC_ATTRIBUTES_LEFT_OUT] += faults->len;
    if (faults->len == 0 || !may_log(log, digest, clock_monotonic_us()))
        return;
    digest_fingerprint(digest, fingerprint);
    for (size_t i = 0; i < faults->len; i++)
        log_warning(&env->log,
                    "%s: column %s has %zu bytes and is left out of this key's attributes: %s "
                    "(logged once for each key, of at most ten keys a minute; see "
                    "attributes_left_out)",
                    fingerprint,
                    env->config->postgres_attribute_columns.column[faults->fault[i].column].name,
                    faults->fault[i].bytes, faults->fault[i].why);
}
