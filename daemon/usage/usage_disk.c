/* SPDX-License-Identifier: MIT */
#include "usage_disk.h"

#include <errno.h>
#include <sys/stat.h>

#include <apikeyd/clock/clock.h>

static int set_aside(struct usage_move *move)
{
    for (int i = 0; i < MOVE_STORES; i++) {
        if (move->batch.len == 0 || !store_id_known(&move->aside[i]))
            continue;
        struct usage_batch batch = move->batch;
        batch.owner = move->aside[i];
        int error = spill_set_aside(move->spill, clock_wall_us(), &batch, &move->judged);
        if (error < 0)
            return error;
    }
    return 0;
}

void usage_move_run(struct job *job)
{
    struct usage_move *move = (struct usage_move *)job;
    char path[SPILL_PATH_SIZE];

    move->aside_error = set_aside(move);
    if (move->aside_error < 0)
        return;
    if (move->look && spill_aside_path(move->spill, &move->owner, path))
        move->look_error = spill_read(path, clock_wall_us(), &move->back, &move->judged);
}

static int carry_out(const struct usage_settle *settle)
{
    switch (settle->order) {
    case SPILL_WRITE:
        return spill_write(settle->spill, &settle->batch);
    case SPILL_REMOVE:
        return spill_remove(settle->spill);
    case SPILL_FORBIDDEN:
        return -EACCES;
    case SPILL_LEAVE:
        break;
    }
    return 0;
}

/* The file beside the spill file outlives the machine, the one beside the ledger the daemon. A file
 * that cannot be removed has batches that are found to be added when it is read. */
static int settle_counts(const struct usage_settle *settle)
{
    char disk[COUNT_PATH_SIZE], memory[COUNT_PATH_SIZE];
    bool named = count_file_path(settle->spill, disk) && count_file_path(settle->ledger, memory);
    int error = named ? 0 : -ENAMETOOLONG;

    if (error < 0 || settle->counts_order == COUNTS_LEAVE)
        return error;
    if (settle->counts_order == COUNTS_WRITE)
        error = count_file_write(disk, buffer_held(&settle->counts));
    else
        (void)!spill_remove(disk);
    if (error < 0)
        return count_file_write(memory, buffer_held(&settle->counts)) == 0 ? 0 : error;
    (void)!spill_remove(memory);
    return 0;
}

void usage_settle_run(struct job *job)
{
    struct usage_settle *settle = (struct usage_settle *)job;
    char path[SPILL_PATH_SIZE];
    struct stat status;

    settle->counts_error = settle_counts(settle);
    settle->error = carry_out(settle);
    if (settle->order != SPILL_LEAVE)
        settle->spill_size = stat(settle->spill, &status) == 0 ? (int64_t)status.st_size : 0;
    if (settle->error < 0 && settle->order != SPILL_REMOVE) {
        settle->kept = settle->half && settle->counts_error == 0 &&
                       ledger_half_keep(settle->half, &settle->batch);
        return;
    }
    if (settle->drop_aside && spill_aside_path(settle->spill, &settle->batch.owner, path))
        (void)!spill_remove(path);
    if (settle->half && settle->counts_error == 0)
        ledger_half_clear(settle->half);
}
