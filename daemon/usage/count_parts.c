/* SPDX-License-Identifier: MIT */
#include "count_parts.h"

static size_t rows_max(const struct count_parts *parts)
{
    return parts->rows_max > 0 ? parts->rows_max : COUNT_CHUNK;
}

size_t count_parts_end(const struct count_parts *parts, const struct count_batch *batch)
{
    size_t from = batch->done + batch->refused;

    return batch->len - from < rows_max(parts) ? batch->len : from + rows_max(parts);
}

bool count_parts_several(const struct count_batch *batch)
{
    return batch->len > COUNT_CHUNK || batch->in_parts;
}

bool count_parts_refuse(struct count_parts *parts, struct count_batch *batch, size_t end)
{
    size_t rows = end - batch->done - batch->refused;

    batch->in_parts = true;
    if (rows > 1) {
        parts->rows_max = rows / 2;
        return true;
    }
    batch->refused += rows;
    parts->rows_max = 0;
    bool takes_others = batch->done > 0 || batch->refused < batch->len;
    if (rows == 1 && batch->refused <= REFUSED_MAX && takes_others)
        return true;
    batch->refused = 0;
    return false;
}

void count_parts_take(struct count_parts *parts, struct count_batch *batch, size_t rows)
{
    batch->done = rows;
    batch->refused = 0;
    parts->rows_max = rows_max(parts) < COUNT_CHUNK / 2 ? rows_max(parts) * 2 : 0;
}

void count_parts_begin_again(struct count_batch *batch)
{
    batch->done = batch->refused = 0;
}
