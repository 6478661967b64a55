/* pg_array: one-dimensional arrays in PostgreSQL's binary format.
 *
 * Any bytes can be an element and nothing has to be escaped. The format is that of array_recv()
 * in PostgreSQL: dimensions, a null flag, the element type, the length and lower bound, then each
 * element's length and bytes. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_ARRAY_H
#define APIKEYD_PG_ARRAY_H

#include <stdint.h>

#include <apikeyd/base/buffer.h>

/* Type OIDs as in pg_type.dat; they never change. */
enum {
    PG_BYTEA = 17,
    PG_NAME = 19,
    PG_INT8 = 20,
    PG_INT2 = 21,
    PG_INT4 = 23,
    PG_TEXT = 25,
    PG_OID = 26,
    PG_TEXT_ARRAY = 1009,
    PG_INT8_ARRAY = 1016,
    PG_BPCHAR = 1042,
    PG_VARCHAR = 1043,
    PG_DATE = 1082,
    PG_TIMESTAMP = 1114,
    PG_TIMESTAMPTZ = 1184,
    PG_TIMESTAMPTZ_ARRAY = 1185,
    PG_INTERVAL = 1186,
    PG_NUMERIC = 1700,
    PG_UUID = 2950,
    PG_UUID_ARRAY = 2951,
};

/* PostgreSQL counts time from 2000-01-01. */
#define PG_EPOCH_US INT64_C(946684800000000)

void pg_put_int32(struct buffer *out, uint32_t number);
void pg_put_int64(struct buffer *out, uint64_t number);
int32_t pg_get_int32(const char *bytes);
int64_t pg_get_int64(const char *bytes);

/* The header; `len` elements follow. */
void pg_array_begin(struct buffer *out, uint32_t element_type, size_t len);
void pg_array_element(struct buffer *out, const void *bytes, size_t len);
void pg_array_int64(struct buffer *out, int64_t number);

#endif
