/* quota_book: how often keys with a quota were used in this month, as far as this host knows.
 *
 *     uses = the table's sum, when it was last read     all hosts', as far as they had written
 *          + what this host has counted and the sum     own
 *            did not have
 *
 * Own uses are counted in rounds: a round is what one half of the ledger counts. A sum comes with
 * the number of rounds that were in the table when the sum was read. Then the uses of the round
 * under way, or of that one and the one before, are added to the sum. A sum that was under way for
 * longer is not used; the next one will be.
 *
 * A fixed table of one line a key. When the places for a key are taken, the key among them that was
 * not used for longest goes. Its uses that the table does not have yet are then missing in its next
 * sum, and no longer in the sum after that. Uses are by the row's ID, so that two keys of one row
 * have one quota. The book allocates once and reads no clock. One thread owns it.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_QUOTA_BOOK_H
#define APIKEYD_QUOTA_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <apikeyd/model/row_id.h>

struct quota_uses {
    struct row_id id;
    uint16_t month;        /* of the uses, as in month.h; 0: the place is free */
    uint16_t asked_round;  /* the end of the last round in which a sum was asked for, … */
    uint64_t uses;         /* in that month */
    uint32_t own;          /* of them: this host's in `round` … */
    uint32_t earlier;      /* … and in the round before */
    uint32_t round;        /* the last one for which the key was looked up */
    uint32_t asked_s : 30; /* … and when, monotonic */
    uint32_t known : 1;    /* the table's sum of that month is in `uses` */
    uint32_t asked : 1;    /* a sum is under way */
};

_Static_assert(sizeof(struct quota_uses) == 64, "a key is one line");

/* What the table has. */
struct quota_sum {
    struct row_id id;
    uint32_t month;
    uint32_t rounds; /* of this host that are in the sum: those before the one of this number */
    uint64_t uses;
};

struct quota_book;

/* For `keys` keys, a power of two. NULL when out of memory. */
struct quota_book *quota_book_new(size_t keys, enum id_type type, uint64_t seed);
void quota_book_free(struct quota_book *book);

/* Returns the uses of a key in the month, in this round; 0 if it has no place. */
uint64_t quota_book_look(struct quota_book *book, const struct row_id *id, uint32_t month,
                         bool *ret_known);

/* Returns the key's place, as of this month and round. It is valid until the next call. */
struct quota_uses *quota_book_get(struct quota_book *book, const struct row_id *id, uint32_t month,
                                  uint32_t round);

/* The key is used once, in the month and round for which the place was asked. */
static inline void quota_uses_count(struct quota_uses *uses)
{
    uses->uses++;
    uses->own++;
}

/* Returns whether the table's sum may be due: as a rule once in a round. */
static inline bool quota_uses_stale(const struct quota_uses *uses)
{
    return !uses->known || uses->asked_round != (uint16_t)uses->round;
}

/* Returns whether a sum that may be due is to be asked for: none is under way, or it has been for a
 * minute. The caller tells when it is asked for. */
bool quota_uses_due(const struct quota_uses *uses, uint32_t now_s);
void quota_uses_asked(struct quota_uses *uses, uint32_t now_s);

/* The sum has come, in this round. */
void quota_book_take(struct quota_book *book, const struct quota_sum *sum, uint32_t round);

/* Returns how many keys have lost their places to others. */
uint64_t quota_book_evictions(const struct quota_book *book);

#endif
