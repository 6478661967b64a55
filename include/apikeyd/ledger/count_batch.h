/* count_batch: how often keys were allowed or refused, on the way to PostgreSQL, each use once.
 *
 * Each run of a daemon has a series: an id that no other run has, and numbers for the halves that
 * the front thread fills, one after the other. What a half counts does not change after the front
 * thread has handed it over, or has died. So series and number name it for ever, wherever its
 * copies are: in the ledger, in the file of waiting batches, in a backup of either. PostgreSQL
 * notes up to which number of each series the counts are added, in the transaction that adds them.
 * A batch that comes again is then known, and not added again.
 *
 *     series:   | half 1 | half 2 | half 3 | half 4 | half 5 (in use)
 *     batches:  | 1 … 2           | 3      | 4      |
 *                                 ^ the number that PostgreSQL notes: what stands before is added
 *
 * A batch is what one half counts, or what several halves in a row do. Batches that PostgreSQL may
 * have been sent are not merged any more: its number would stand in the middle of the result.
 *
 * A batch with more than COUNT_CHUNK rows, or with rows that PostgreSQL refuses, is added in
 * several transactions. A number is therefore a half's number, times 2^24, plus how many rows of
 * the next batch are added. The rows are sorted, so that they are the same ones whenever the batch
 * is made from the same half or file.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_COUNT_BATCH_H
#define APIKEYD_COUNT_BATCH_H

#include <stddef.h>
#include <sys/queue.h>

#include <apikeyd/base/buffer.h>
#include <apikeyd/ledger/ledger_half.h>
#include <apikeyd/model/store.h>

struct series_id {
    uint8_t bytes[16]; /* zeros: nothing is counted */
};

static inline bool series_known(const struct series_id *id)
{
    const struct series_id none = {0};

    return memcmp(id, &none, sizeof none) != 0;
}

/* A new id, which no other run has (a random UUID, RFC 9562). */
struct series_id series_new(void);

/* A file format: without padding. */
struct count_row {
    struct row_id id;
    uint32_t hour; /* in which the bucket begins, since 1970 */
    uint64_t uses;
    uint32_t verdict; /* enum verdict_kind */
    uint32_t unused;
};

_Static_assert(sizeof(struct count_row) == 56, "count rows are a file format");

/* Of a transaction, in rows, at most. */
enum { COUNT_CHUNK = 10000 };

struct count_batch {
    struct series_id series;
    uint64_t first, last;  /* numbers of the halves whose counts it has */
    struct store_id owner; /* the store to which the counts belong; zeros: not known yet */
    enum id_type type;
    struct count_row *rows; /* sorted by id, hour and verdict, each once */
    size_t len;
    TAILQ_ENTRY(count_batch) in_list;

    /* For the writer. */
    bool found;      /* made by an earlier run, which may have sent it */
    bool sent;       /* PostgreSQL may have it: it is merged no more */
    bool only_known; /* rows of keys that have gone are left out */
    uint64_t safe;   /* the `last` with which the file of waiting batches has it; 0: not there */
    bool in_image;   /* the bytes that are being written to that file have it */
    size_t done;     /* the rows that PostgreSQL has */
    size_t refused;  /* the rows after these that PostgreSQL refuses, each by itself */
    bool in_parts;   /* it has refused the batch as a whole */
    bool in_doubt;   /* how a statement with it has ended is not known */
    uint64_t after;  /* the number that PostgreSQL had noted before it; 0: not known */
    int64_t kept_until_us; /* monotonic; PostgreSQL has all of it */
};

TAILQ_HEAD(count_list, count_batch);

/* What the half counts, in *ret; NULL if that is nothing. The half must not be the front thread's.
 * Returns false when out of memory. */
__attribute__((warn_unused_result)) bool count_batch_from_half(const struct ledger_half *half,
                                                               const struct series_id *series,
                                                               struct count_batch **ret);

/* Add what a later batch of the same series and owner counts, and free that. Neither was sent.
 * False, and nothing has changed, when that makes more than `rows_max` rows, or out of memory. */
__attribute__((warn_unused_result)) bool
count_batch_merge(struct count_batch *batch, struct count_batch *later, size_t rows_max);

/* Returns the number that PostgreSQL notes with the first `rows` rows of the batch. */
uint64_t count_batch_number(const struct count_batch *batch, size_t rows);

/* Returns the sum of all uses. */
uint64_t count_batch_uses(const struct count_batch *batch);

/* Returns whether `outer` has all that `inner` has. A half that was being emptied when the daemon
 * was killed counts less than the copy of it in a file. Of equal batches each one makes up for the
 * other. */
bool count_batch_contains(const struct count_batch *outer, const struct count_batch *inner);

void count_batch_free(struct count_batch *batch);

/* Remove batches that others of the list contain (copies, or what they were before a merge), and
 * put those of one series in the order of their numbers. */
void count_list_prune(struct count_list *list);
size_t count_list_rows(const struct count_list *list);
void count_list_free(struct count_list *list);

/* The file of waiting batches.
 *
 * It is written whole (temporary file, fsync, rename). These calls block on the disk. */

/* Append the file's bytes. */
void count_file_image(const struct count_list *list, struct buffer *image);

/* 0, or -errno with the file as it was. */
__attribute__((warn_unused_result)) int count_file_write(const char *path, struct slice image);

/* Add the file's batches to the list. 0, also when there is no file; -EBADMSG when it is damaged or
 * -EMEDIUMTYPE when its IDs are of another type: then none is added; or another -errno, including
 * those of state_file_read(). */
__attribute__((warn_unused_result)) int count_file_read(const char *path, enum id_type type,
                                                        struct count_list *list);

/* The name of that file beside the spill file or the ledger. False when it would be too long. */
enum { COUNT_PATH_SIZE = 4096 };
__attribute__((warn_unused_result)) bool count_file_path(const char *beside,
                                                         char ret[static COUNT_PATH_SIZE]);

#endif
