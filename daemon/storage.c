/* SPDX-License-Identifier: MIT */
#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include <apikeyd/base/state_file.h>
#include <apikeyd/clock/clock.h>

static void tell_judged(const char *option, const char *path, const struct usage_judged *judged,
                        const struct log *log)
{
    if (judged->clamped > 0)
        log_warning(
            log,
            "%s %s: %zu uses are later than now, because a clock was ahead; such uses count as now",
            option, path, judged->clamped);
    if (judged->uncounted > 0)
        log_warning(log,
                    "%s %s: %" PRIu64 " uses in the damaged file are not counted, as they may have "
                    "been",
                    option, path, judged->uncounted);
    if (judged->dropped > 0)
        log_warning(log, "%s %s: %zu entries are damaged; the daemon skips them", option, path,
                    judged->dropped);
}

static void add_judged(struct usage_judged *sum, const struct usage_judged *judged)
{
    sum->clamped += judged->clamped;
    sum->dropped += judged->dropped;
    sum->uncounted += judged->uncounted;
}

static void tell_counts(const char *beside, int error, const struct log *log)
{
    const char *why = state_file_fault(error);

    if (error == -EBADMSG)
        why = "it is damaged, and was set aside; its counts are not added";
    else if (error == -EMEDIUMTYPE)
        why = "it holds IDs of another type than postgres.id_type, and was set aside";
    log_warning(log, "%s.counts: %s", beside, why);
}

static bool open_ledger(struct storage *storage, const struct config *config, const struct log *log)
{
    const char *path = config->usage_ledger;
    struct ledger_report report;
    struct series_id series = {0};

    if (config->usage_counts != USAGE_COUNTS_OFF)
        series = series_new();
    int error = ledger_open(path, (enum id_type)config->postgres_id_type, &series, clock_wall_us(),
                            &storage->ledger, &report);

    if (error == -EWOULDBLOCK) {
        log_error(log, "usage.ledger %s: another daemon uses it; give each its own", path);
        return false;
    }
    if (error < 0) {
        log_error(log, "usage.ledger %s: %s", path, strerror(-error));
        return false;
    }
    if (report.set_aside)
        log_warning(log, "usage.ledger %s: %s; the file was set aside as %s, and %s", path,
                    report.damage, report.aside_path,
                    report.unread ? "is not read" : "its whole entries are used");
    if (report.error < 0)
        log_warning(log,
                    "usage.ledger %s: %s; usage is kept in memory, and is lost if the daemon is "
                    "killed; tried again every second",
                    path, state_file_fault(report.error));
    if (report.on_disk)
        log_warning(log, "usage.ledger %s: not on tmpfs; answers may wait for its disk", path);
    if (report.counts_error < 0)
        tell_counts(path, report.counts_error, log);
    tell_judged("usage.ledger", path, &report.judged, log);
    add_judged(&storage->judged, &report.judged);
    return true;
}

/* Two daemons with one spill file would remove each other's usage. If the folder cannot be locked,
 * no spill file can be written there, and the first write logs that. */
static bool lock_spill(struct storage *storage, const struct config *config, const struct log *log)
{
    const char *path = config->usage_spill;
    int fd = spill_lock(path);

    if (fd == -EWOULDBLOCK) {
        log_error(log, "usage.spill %s: another daemon uses it; give each its own", path);
        return false;
    }
    if (fd < 0)
        log_warning(log, "usage.spill %s: cannot be locked: %s", path, state_file_fault(fd));
    storage->spill_lock_fd = fd;
    return true;
}

/* A spill file that cannot be read stays where it is and does not prevent the start. */
static void read_spill(struct storage *storage, const struct config *config, const struct log *log)
{
    const char *path = config->usage_spill;
    char aside[4096];
    struct usage_judged judged = {0};

    storage->spilled.type = (enum id_type)config->postgres_id_type;
    int error = spill_read(path, clock_wall_us(), &storage->spilled, &judged);

    tell_judged("usage.spill", path, &judged, log);
    add_judged(&storage->judged, &judged);
    if (storage->spilled.len > 0)
        log_info(log, "usage.spill %s: last_used of %zu keys is still to be written", path,
                 storage->spilled.len);
    if (error == 0)
        return;
    const char *why = error == -EBADMSG ? "it is damaged" : state_file_fault(error);
    if (error == -EMEDIUMTYPE)
        why = "it holds IDs of another type than postgres.id_type";
    /* Another user's file may be in use by that user's daemon. */
    if (error != -EPERM && state_file_set_aside(path, aside, sizeof aside) == 0) {
        storage->spill = SPILL_SET_ASIDE;
        log_warning(log, "usage.spill %s: %s; the file was set aside as %s%s", path, why, aside,
                    error == -EBADMSG ? ", and its whole entries are used" : "");
    } else {
        storage->spill = SPILL_OFF_LIMITS;
        log_warning(log,
                    "usage.spill %s: %s, and is left as it is; pending usage will stay in the "
                    "ledger only",
                    path, why);
    }
}

/* Nobody adds them in this run: they wait where they outlive the machine. */
static void keep_counts(const struct storage *storage, const char *path,
                        const struct config *config, const struct log *log)
{
    struct buffer image = {0};

    count_file_image(&storage->counts, &image);
    int error = count_file_write(path, buffer_held(&image));
    buffer_free(&image);
    if (error < 0)
        tell_counts(config->usage_spill, error, log);
}

/* Counts wait in the ledger, in the file beside it, and in the one beside the spill file. */
static void read_counts(struct storage *storage, const struct config *config, const struct log *log)
{
    char path[COUNT_PATH_SIZE], aside[COUNT_PATH_SIZE];
    const struct count_batch *batch;
    uint64_t uses = 0;
    int error = 0;

    ledger_take_counts(storage->ledger, &storage->counts);
    bool named = count_file_path(config->usage_spill, path);
    if (named)
        error = count_file_read(path, (enum id_type)config->postgres_id_type, &storage->counts);
    /* This run will write, or remove, a file of that name. */
    if (error < 0)
        (void)!state_file_set_aside(path, aside, sizeof aside);
    if (error < 0)
        tell_counts(config->usage_spill, error, log);
    count_list_prune(&storage->counts);
    TAILQ_FOREACH(batch, &storage->counts, in_list)
    {
        uses += count_batch_uses(batch);
    }
    if (named && uses > 0 && config->usage_counts == USAGE_COUNTS_OFF)
        keep_counts(storage, path, config, log);
    if (uses > 0)
        log_info(log, "usage: counts of %" PRIu64 " uses are still to be added%s", uses,
                 config->usage_counts != USAGE_COUNTS_OFF
                     ? ", unless they have been"
                     : ", and wait in files until usage.counts is on again");
}

/* Usage in the spill file may belong to another store than the ledger's: it waits for that
 * store. */
static void match_owners(struct storage *storage, const struct config *config,
                         const struct log *log)
{
    const struct store_id *owner = ledger_owner(storage->ledger);
    const char *path = config->usage_spill;
    const struct store_id no_store = {0};
    struct usage_judged judged = {0};
    int error;

    if (!store_id_known(&storage->spilled.owner))
        storage->spilled.owner = *owner;
    if (!store_id_known(owner) && storage->spilled.len > 0)
        (void)!ledger_set_owner(storage->ledger, &storage->spilled.owner, &no_store);
    if (storage->spilled.len == 0 || store_id_same_table(owner, &storage->spilled.owner))
        return;
    error = spill_set_aside(path, clock_wall_us(), &storage->spilled, &judged);
    add_judged(&storage->judged, &judged);
    if (error == 0)
        error = spill_remove(path);
    if (error < 0) {
        storage->spill = SPILL_OFF_LIMITS;
        log_warning(log, "usage.spill %s: it belongs to another database, and stays: %s", path,
                    strerror(-error));
    } else {
        log_warning(log,
                    "usage.spill %s: it belongs to another database; set aside until that is "
                    "back",
                    path);
    }
    usage_batch_free(&storage->spilled);
}

bool storage_open(struct storage *storage, const struct config *config, const struct log *log)
{
    TAILQ_INIT(&storage->counts);
    if (!open_ledger(storage, config, log) || !lock_spill(storage, config, log))
        return false;
    ledger_gather(storage->ledger);
    read_spill(storage, config, log);
    match_owners(storage, config, log);
    read_counts(storage, config, log);
    return true;
}

void storage_close(struct storage *storage)
{
    ledger_close(storage->ledger);
    usage_batch_free(&storage->spilled);
    if (storage->counts.tqh_last)
        count_list_free(&storage->counts);
    if (storage->spill_lock_fd >= 0)
        close(storage->spill_lock_fd);
}
