/* SPDX-License-Identifier: MIT */
#include <apikeyd/ledger/count_batch.h>

#include <stdlib.h>
#include <string.h>

/* A half's number, in PostgreSQL's; see the header. */
enum { NUMBER_SHIFT = 24 };

/* The last step of a half is never used. */
_Static_assert(HALF_SLOTS <= 1 << NUMBER_SHIFT, "the rows of a half have numbers");

struct series_id series_new(void)
{
    struct series_id id;

    arc4random_buf(id.bytes, sizeof id.bytes);
    id.bytes[6] = (uint8_t)(0x40 | (id.bytes[6] & 0x0f));
    id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3f));
    return id;
}

static int by_what(const void *a, const void *b)
{
    const struct count_row *left = a, *right = b;
    int order = row_id_order(&left->id, &right->id);

    if (order == 0)
        order = (left->hour > right->hour) - (left->hour < right->hour);
    if (order == 0)
        order = (left->verdict > right->verdict) - (left->verdict < right->verdict);
    return order;
}

/* Sort the rows, and add up those that count the same. Returns how many are left. */
static size_t add_up(struct count_row *rows, size_t len)
{
    size_t out = 0;

    if (len == 0)
        return 0;
    qsort(rows, len, sizeof *rows, by_what);
    for (size_t i = 1; i < len; i++) {
        if (by_what(&rows[out], &rows[i]) == 0)
            rows[out].uses += rows[i].uses;
        else
            rows[++out] = rows[i];
    }
    return out + 1;
}

static bool counts(const struct usage_slot *slot)
{
    return slot->last_used_us != 0 && usage_slot_hour(slot) != 0;
}

bool count_batch_from_half(const struct ledger_half *half, const struct series_id *series,
                           struct count_batch **ret)
{
    struct count_batch *batch;
    size_t len = 0;

    *ret = NULL;
    for (uint32_t i = 0; i < half->used; i++)
        len += counts(ledger_half_slot(half, i));
    if (len == 0 || half->number == 0)
        return true;
    batch = calloc(1, sizeof *batch);
    if (batch)
        batch->rows = calloc(len, sizeof *batch->rows);
    if (!batch || !batch->rows) {
        count_batch_free(batch);
        return false;
    }
    batch->series = *series;
    batch->first = batch->last = half->number;
    batch->type = half->type;
    for (uint32_t i = 0; i < half->used && batch->len < len; i++) {
        const struct usage_slot *slot = ledger_half_slot(half, i);

        if (counts(slot))
            batch->rows[batch->len++] = (struct count_row){
                .id = usage_slot_id(slot, half->type),
                .hour = usage_slot_hour(slot),
                .uses = slot->count & COUNT_USES,
                .verdict = (uint32_t)(slot->count >> COUNT_VERDICT_SHIFT),
            };
    }
    batch->len = add_up(batch->rows, batch->len);
    *ret = batch;
    return true;
}

bool count_batch_merge(struct count_batch *batch, struct count_batch *later, size_t rows_max)
{
    size_t len = batch->len + later->len;
    struct count_row *rows = calloc(len, sizeof *rows);

    if (!rows)
        return false;
    memcpy(rows, batch->rows, batch->len * sizeof *rows);
    memcpy(rows + batch->len, later->rows, later->len * sizeof *rows);
    len = add_up(rows, len);
    if (len > rows_max) {
        free(rows);
        return false;
    }
    free(batch->rows);
    batch->rows = rows;
    batch->len = len;
    batch->last = later->last;
    count_batch_free(later);
    return true;
}

uint64_t count_batch_number(const struct count_batch *batch, size_t rows)
{
    if (rows >= batch->len)
        return batch->last << NUMBER_SHIFT;
    return ((batch->last - 1) << NUMBER_SHIFT) + rows;
}

uint64_t count_batch_uses(const struct count_batch *batch)
{
    uint64_t uses = 0;

    for (size_t i = 0; i < batch->len; i++)
        uses += batch->rows[i].uses;
    return uses;
}

void count_batch_free(struct count_batch *batch)
{
    if (!batch)
        return;
    free(batch->rows);
    free(batch);
}

bool count_batch_contains(const struct count_batch *outer, const struct count_batch *inner)
{
    if (memcmp(&outer->series, &inner->series, sizeof outer->series) != 0 ||
        outer->first > inner->first || inner->last > outer->last)
        return false;
    return outer->first < inner->first || inner->last < outer->last ||
           count_batch_uses(outer) >= count_batch_uses(inner);
}

/* Put batches of one series in the order of their numbers. */
static void sort(struct count_list *list)
{
    struct count_list sorted = TAILQ_HEAD_INITIALIZER(sorted);

    for (struct count_batch *batch; (batch = TAILQ_FIRST(list));) {
        struct count_batch *other;

        TAILQ_REMOVE(list, batch, in_list);
        TAILQ_FOREACH(other, &sorted, in_list)
        {
            if (memcmp(&batch->series, &other->series, sizeof batch->series) == 0 &&
                batch->first < other->first)
                break;
        }
        if (other)
            TAILQ_INSERT_BEFORE(other, batch, in_list);
        else
            TAILQ_INSERT_TAIL(&sorted, batch, in_list);
    }
    TAILQ_CONCAT(list, &sorted, in_list);
}

void count_list_prune(struct count_list *list)
{
    struct count_batch *batch = TAILQ_FIRST(list);

    while (batch) {
        struct count_batch *next = TAILQ_NEXT(batch, in_list), *other;

        TAILQ_FOREACH(other, list, in_list)
        {
            if (other != batch && count_batch_contains(other, batch))
                break;
        }
        if (other) {
            TAILQ_REMOVE(list, batch, in_list);
            count_batch_free(batch);
        }
        batch = next;
    }
    sort(list);
}

size_t count_list_rows(const struct count_list *list)
{
    const struct count_batch *batch;
    size_t rows = 0;

    TAILQ_FOREACH(batch, list, in_list)
    {
        rows += batch->len;
    }
    return rows;
}

void count_list_free(struct count_list *list)
{
    for (struct count_batch *batch; (batch = TAILQ_FIRST(list));) {
        TAILQ_REMOVE(list, batch, in_list);
        count_batch_free(batch);
    }
}
