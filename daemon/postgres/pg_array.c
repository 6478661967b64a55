/* SPDX-License-Identifier: MIT */
#include <apikeyd/postgres/pg_array.h>

#include <endian.h>

void pg_put_int32(struct buffer *out, uint32_t number)
{
    uint32_t wire = htobe32(number);

    buffer_append(out, &wire, sizeof wire);
}

void pg_put_int64(struct buffer *out, uint64_t number)
{
    uint64_t wire = htobe64(number);

    buffer_append(out, &wire, sizeof wire);
}

int32_t pg_get_int32(const char *bytes)
{
    uint32_t wire;

    memcpy(&wire, bytes, sizeof wire);
    return (int32_t)be32toh(wire);
}

int64_t pg_get_int64(const char *bytes)
{
    uint64_t wire;

    memcpy(&wire, bytes, sizeof wire);
    return (int64_t)be64toh(wire);
}

void pg_array_begin(struct buffer *out, uint32_t element_type, size_t len)
{
    pg_put_int32(out, 1); /* dimensions */
    pg_put_int32(out, 0); /* no nulls */
    pg_put_int32(out, element_type);
    pg_put_int32(out, (uint32_t)len);
    pg_put_int32(out, 1); /* lower bound */
}

void pg_array_element(struct buffer *out, const void *bytes, size_t len)
{
    pg_put_int32(out, (uint32_t)len);
    buffer_append(out, bytes, len);
}

void pg_array_int64(struct buffer *out, int64_t number)
{
    pg_put_int32(out, sizeof number);
    pg_put_int64(out, (uint64_t)number);
}
