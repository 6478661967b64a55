/* count_parts: which rows of a batch the next statement adds, while PostgreSQL refuses some.
 *
 *     rows of a batch:  | done, in PostgreSQL | refused | next statement | … |
 *                                                       ^ the number then says that all rows before
 *                                                         its end are done
 *
 * A refused statement is halved down to the row at fault. That row is passed over only by a
 * statement that adds rows after it, or when rows before it were added: while PostgreSQL takes no
 * row, the table may be at fault, and the batch waits. It waits too after more than REFUSED_MAX
 * refused rows in a row. Pure. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_COUNT_PARTS_H
#define APIKEYD_COUNT_PARTS_H

#include <apikeyd/ledger/count_batch.h>

enum { REFUSED_MAX = 64 };

struct count_parts {
    size_t rows_max; /* of the next statement; 0: COUNT_CHUNK */
};

/* Returns where the rows of the next statement end. They begin after batch->refused of those that
 * are not done, and may be none. */
size_t count_parts_end(const struct count_parts *parts, const struct count_batch *batch);

/* Returns whether the batch goes in several transactions. */
bool count_parts_several(const struct count_batch *batch);

/* PostgreSQL has refused the rows until `end`, for a fault of one. Returns false when the batch has
 * to wait: then it begins again where it was. */
bool count_parts_refuse(struct count_parts *parts, struct count_batch *batch, size_t end);

/* The first `rows` rows are done. */
void count_parts_take(struct count_parts *parts, struct count_batch *batch, size_t rows);

/* Nothing is known to be done any more. */
void count_parts_begin_again(struct count_batch *batch);

#endif
