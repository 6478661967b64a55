/* SPDX-License-Identifier: MIT */
#include <apikeyd/ledger/ledger.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apikeyd/base/state_file.h>

#include "ledger_file.h"

struct ledger {
    char *path;
    struct ledger_owners owners;
    struct ledger_file *file; /* in use */
    struct ledger_file *next; /* at hand, its half 0 empty; or NULL */
    bool next_given;          /* the front thread may have its half */
    struct usage_batch found; /* saved from damaged files, and in `file` not yet */
    struct series_id series;  /* zeros: uses are not counted */
    uint64_t number;          /* the last one given to a half */
    struct count_list counts; /* found, and not yet taken */
};

struct ledger_half *ledger_half(struct ledger *ledger, int index)
{
    return &ledger->file->half[index];
}

const struct store_id *ledger_owner(const struct ledger *ledger)
{
    return &ledger->owners.owner;
}

const struct store_id *ledger_left(const struct ledger *ledger)
{
    return &ledger->owners.left;
}

int ledger_set_owner(struct ledger *ledger, const struct store_id *owner,
                     const struct store_id *left)
{
    ledger->owners = (struct ledger_owners){*owner, *left, ledger->series};
    /* The front thread may be about to use the next file. */
    if (ledger->next)
        (void)!ledger_file_note_owners(ledger->next, &ledger->owners);
    return ledger_file_note_owners(ledger->file, &ledger->owners);
}

enum ledger_state ledger_look(const struct ledger *ledger)
{
    return ledger_file_look(ledger->file, ledger->path);
}

/* Append without hints; the drain merges duplicates. False when the half is full: the rest stays in
 * memory only. */
static bool append(struct ledger_half *half, const struct usage_slot *slots, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const struct usage_slot *slot = usage_slot_at(slots, i, half->type);
        const struct row_id id = usage_slot_id(slot, half->type);
        uint32_t hint = UINT32_MAX;

        if (usage_slot_is_use(slot) && !ledger_half_record(half, &id, slot->last_used_us, 0, &hint))
            return false;
    }
    return true;
}

void ledger_gather(struct ledger *ledger)
{
    struct ledger_half *half = &ledger->file->half[0];

    if (append(&ledger->file->half[1], half->slots, half->used))
        ledger_half_clear(half);
    (void)!ledger_give(ledger, half);
}

void ledger_take_counts(struct ledger *ledger, struct count_list *list)
{
    TAILQ_CONCAT(list, &ledger->counts, in_list);
}

const struct series_id *ledger_series(const struct ledger *ledger)
{
    return &ledger->series;
}

static int number_half(struct ledger *ledger, struct ledger_file *file, struct ledger_half *half)
{
    if (!series_known(&ledger->series))
        return 0;
    half->number = ++ledger->number;
    return ledger_file_note_owners(file, &ledger->owners);
}

int ledger_give(struct ledger *ledger, struct ledger_half *half)
{
    return number_half(ledger, ledger->file, half);
}

int ledger_begin_series(struct ledger *ledger, const struct series_id *series)
{
    ledger->series = ledger->owners.series = *series;
    ledger->number = 0;
    for (int i = 0; i < LEDGER_HALVES; i++)
        ledger->file->half[i].number = ++ledger->number;
    return ledger_file_note_owners(ledger->file, &ledger->owners);
}

/* Make batches of what the halves count, in the order of their numbers. */
static bool find_counts(const struct ledger_file *file, const struct ledger_owners *owners,
                        struct count_list *list)
{
    int first = file->half[0].number > file->half[1].number;

    for (int i = 0; i < LEDGER_HALVES; i++) {
        struct count_batch *batch;

        if (!count_batch_from_half(&file->half[i ^ first], &owners->series, &batch))
            return false;
        if (!batch)
            continue;
        batch->owner = owners->owner;
        batch->found = batch->sent = true;
        TAILQ_INSERT_TAIL(list, batch, in_list);
    }
    return true;
}

/* Read the batches in the file beside the ledger. One that cannot be read is renamed: this run will
 * write, or remove, a file of that name. */
static int read_waiting(const char *path, enum id_type type, struct count_list *list)
{
    char aside[COUNT_PATH_SIZE];
    int error = count_file_read(path, type, list);

    if (error < 0)
        (void)!state_file_set_aside(path, aside, sizeof aside);
    return error;
}

static int write_waiting(const char *path, const struct count_list *list)
{
    struct buffer image = {0};

    count_file_image(list, &image);
    int error = count_file_write(path, buffer_held(&image));
    buffer_free(&image);
    return error;
}

/* What the file at the ledger's name counts belongs to the series of another run: write it to the
 * file beside the ledger, and only then number the halves in this run's series. A process that is
 * killed on the way leaves a half that counts what that file has too, by the same name, or less. */
static int claim(struct ledger *ledger, struct ledger_file *file, const struct ledger_owners *found,
                 struct ledger_report *report)
{
    struct count_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
    char path[COUNT_PATH_SIZE];

    if (!count_file_path(ledger->path, path))
        return -ENAMETOOLONG;
    report->counts_error = read_waiting(path, file->type, &waiting);
    const struct count_batch *last = TAILQ_LAST(&waiting, count_list);
    if (series_known(&found->series) && !find_counts(file, found, &waiting)) {
        count_list_free(&waiting);
        return -ENOMEM;
    }
    bool more = last != TAILQ_LAST(&waiting, count_list);
    count_list_prune(&waiting);
    int error = more ? write_waiting(path, &waiting) : 0;
    if (error < 0)
        report->counts_error = error;
    TAILQ_CONCAT(&ledger->counts, &waiting, in_list);
    for (int i = 0; i < LEDGER_HALVES; i++) {
        ledger_half_forget_counts(&file->half[i]);
        file->half[i].number = 0;
    }
    if (series_known(&ledger->series) || series_known(&found->series))
        return ledger_file_note_owners(file, &ledger->owners);
    return 0;
}

int ledger_open(const char *path, enum id_type type, const struct series_id *series, int64_t now_us,
                struct ledger **ret, struct ledger_report *ret_report)
{
    struct ledger_report report = {0};
    struct usage_batch saved = {.type = type};
    struct ledger *ledger = calloc(1, sizeof *ledger);
    struct ledger_owners found = {0};
    int error = -ENOMEM;

    if (!ledger)
        return error;
    TAILQ_INIT(&ledger->counts);
    ledger->found.type = type;
    ledger->series = *series;
    ledger->path = strdup(path);
    if (ledger->path)
        error = ledger_file_open(path, now_us, &ledger->file, &found, &saved, &report);
    if (error < 0 && error != -EWOULDBLOCK && ledger->path) {
        report.error = error;
        found = (struct ledger_owners){0};
        error = ledger_file_new_memory(type, &ledger->file);
    }
    ledger->owners = (struct ledger_owners){found.owner, found.left, *series};
    if (error == 0 && report.set_aside)
        (void)!ledger_file_note_owners(ledger->file, &ledger->owners); /* of the saved entries */
    if (error == 0)
        error = claim(ledger, ledger->file, &found, &report);
    if (error == 0)
        (void)append(&ledger->file->half[1], saved.slots, saved.len);
    usage_batch_free(&saved);
    if (error < 0) {
        ledger_close(ledger);
        return error;
    }
    *ret = ledger;
    *ret_report = report;
    return 0;
}

/* Unlink the file if it is the one in use and broken. The mapping holds its remaining entries. */
static int make_way(const struct ledger *ledger, enum ledger_state state)
{
    if (state != LEDGER_BROKEN || !ledger_file_is_named(ledger->file, ledger->path))
        return 0;
    return unlink(ledger->path) == 0 ? 0 : -errno;
}

/* A new file may hold usage of another database. That usage waits in a file beside it. */
static int keep_foreign(const struct ledger *ledger, const struct store_id *owner,
                        const struct ledger_file *file, struct ledger_report *report)
{
    if (file->half[0].used + file->half[1].used == 0 || !store_id_known(&ledger->owners.owner) ||
        !store_id_known(owner) || store_id_same_table(&ledger->owners.owner, owner))
        return 0;
    int error = state_file_set_aside(ledger->path, report->aside_path, sizeof report->aside_path);
    if (error < 0)
        return error;
    report->damage = "it holds usage of another database";
    report->set_aside = true;
    return -ESTALE;
}

static int open_next(struct ledger *ledger, int64_t now_us, struct ledger_report *report)
{
    struct ledger_owners owners = {0};
    struct ledger_file *file = NULL;
    int error = ledger_file_open(ledger->path, now_us, &file, &owners, &ledger->found, report);

    if (error == 0)
        error = keep_foreign(ledger, &owners.owner, file, report);
    if (error == 0 && !store_id_known(&ledger->owners.owner))
        ledger->owners = (struct ledger_owners){owners.owner, owners.left, ledger->series};
    if (error == 0)
        error = claim(ledger, file, &owners, report);
    if (error == 0)
        error = ledger_file_note_owners(file, &ledger->owners);
    if (error < 0) {
        ledger_file_close(file);
        return error;
    }
    /* The back thread gets its entries; the front thread gets an empty half. */
    (void)append(&file->half[1], ledger->found.slots, ledger->found.len);
    (void)append(&file->half[1], file->half[0].slots, file->half[0].used);
    ledger_half_clear(&file->half[0]);
    (void)!number_half(ledger, file, &file->half[0]);
    ledger->next = file;
    return 0;
}

bool ledger_renew(struct ledger *ledger, int64_t now_us, struct ledger_report *ret_report)
{
    enum ledger_state state = ledger_look(ledger);

    *ret_report = (struct ledger_report){0};
    if (ledger->next_given)
        return true;
    if (ledger->next && ledger_file_look(ledger->next, ledger->path) <= LEDGER_CROWDED)
        return true;
    ledger_file_close(ledger->next);
    ledger->next = NULL;
    if (state <= LEDGER_CROWDED)
        return false;
    ret_report->error = make_way(ledger, state);
    if (ret_report->error == 0)
        ret_report->error = open_next(ledger, now_us, ret_report);
    return ledger->next != NULL;
}

struct ledger_half *ledger_fresh_half(struct ledger *ledger)
{
    ledger->next_given = ledger->next != NULL;
    return ledger->next ? &ledger->next->half[0] : NULL;
}

struct ledger_half *ledger_succeed(struct ledger *ledger, struct usage_batch *pending)
{
    struct ledger_half *half = &ledger->next->half[1];

    if (!usage_batch_merge(pending, half->slots, half->used))
        return NULL;
    (void)append(half, pending->slots, pending->len);
    ledger_file_close(ledger->file);
    ledger->file = ledger->next;
    ledger->next = NULL;
    ledger->next_given = false;
    usage_batch_free(&ledger->found);
    (void)!ledger_file_note_owners(ledger->file, &ledger->owners);
    return half;
}

void ledger_close(struct ledger *ledger)
{
    if (!ledger)
        return;
    ledger_file_close(ledger->file);
    ledger_file_close(ledger->next);
    usage_batch_free(&ledger->found);
    count_list_free(&ledger->counts);
    free(ledger->path);
    free(ledger);
}
