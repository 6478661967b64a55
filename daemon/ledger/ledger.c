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
    ledger->owners = (struct ledger_owners){*owner, *left};
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

        if (slot->last_used_us != 0 && !ledger_half_record(half, &id, slot->last_used_us, &hint))
            return false;
    }
    return true;
}

void ledger_gather(struct ledger *ledger)
{
    struct ledger_half *half = &ledger->file->half[0];

    if (append(&ledger->file->half[1], half->slots, half->used))
        ledger_half_clear(half);
}

int ledger_open(const char *path, enum id_type type, int64_t now_us, struct ledger **ret,
                struct ledger_report *ret_report)
{
    struct ledger_report report = {0};
    struct usage_batch saved = {.type = type};
    struct ledger *ledger = calloc(1, sizeof *ledger);
    int error = -ENOMEM;

    if (!ledger)
        return error;
    ledger->found.type = type;
    ledger->path = strdup(path);
    if (ledger->path)
        error = ledger_file_open(path, now_us, &ledger->file, &ledger->owners, &saved, &report);
    if (error < 0 && error != -EWOULDBLOCK && ledger->path) {
        report.error = error;
        ledger->owners = (struct ledger_owners){0};
        error = ledger_file_new_memory(type, &ledger->file);
    }
    if (error == 0 && report.set_aside)
        (void)!ledger_file_note_owners(ledger->file, &ledger->owners); /* of the saved entries */
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
        ledger->owners = owners;
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
    free(ledger->path);
    free(ledger);
}
