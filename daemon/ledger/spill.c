/* SPDX-License-Identifier: MIT */
#include <apikeyd/ledger/spill.h>

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apikeyd/base/state_file.h>

/* The file: this header, then `len` slots, sorted, of the size that the type of their IDs needs.
 * Version 1 ends before the owner. */
struct spill_header {
    char magic[16];
    uint32_t version; /* the upper half is the enum id_type */
    uint32_t slot_size;
    uint64_t len;
    uint64_t check; /* over the slots */
    uint64_t system;
    uint32_t database, table;
};

enum { HEADER_1_SIZE = offsetof(struct spill_header, system) };

static const char magic[16] = "apikeyd spill\n";

/* FNV-1a over 64-bit words: distinguishes a torn or damaged file from a whole one. */
static uint64_t checksum(const struct usage_slot *slots, size_t size)
{
    const char *bytes = (const char *)slots;
    uint64_t hash = UINT64_C(14695981039346656037);
    uint64_t word;

    for (size_t i = 0; i < size; i += sizeof word) {
        memcpy(&word, &bytes[i], sizeof word);
        hash = (hash ^ word) * UINT64_C(1099511628211);
    }
    return hash;
}

int spill_write(const char *path, const struct usage_batch *batch)
{
    const size_t size = batch->len * usage_slot_size(batch->type);
    struct spill_header header = {
        .version = 2 | (uint32_t)batch->type << 16,
        .slot_size = (uint32_t)usage_slot_size(batch->type),
        .len = batch->len,
        .check = checksum(batch->slots, size),
        .system = batch->owner.system,
        .database = batch->owner.database,
        .table = batch->owner.table,
    };
    const struct slice parts[] = {
        {(const char *)&header, sizeof header},
        {(const char *)batch->slots, size},
    };
    bool replaced;

    memcpy(header.magic, magic, sizeof header.magic);
    return state_file_replace(path, parts, sizeof parts / sizeof parts[0], &replaced);
}

/* 0 when the header has a known version: then *ret_size is its length in that version. */
static int read_header(int fd, enum id_type type, struct spill_header *ret, size_t *ret_size)
{
    const uint32_t version_2 = 2;

    *ret = (struct spill_header){0};
    *ret_size = HEADER_1_SIZE;
    if (!state_file_read_all(fd, ret, HEADER_1_SIZE) ||
        memcmp(ret->magic, magic, sizeof magic) != 0)
        return -EBADMSG;
    if (ret->version == 1 && type == ID_UUID && ret->slot_size == usage_slot_size(type))
        return 0;
    for (enum id_type other = ID_UUID; other <= ID_TEXT; other++) {
        if (other != type && (ret->version == (version_2 | (uint32_t)other << 16) ||
                              (ret->version == 1 && other == ID_UUID)))
            return -EMEDIUMTYPE;
    }
    *ret_size = sizeof *ret;
    return ret->version == (version_2 | (uint32_t)type << 16) &&
                   ret->slot_size == usage_slot_size(type) &&
                   state_file_read_all(fd, (char *)ret + HEADER_1_SIZE, sizeof *ret - HEADER_1_SIZE)
               ? 0
               : -EBADMSG;
}

static int read_open(int fd, int64_t now_us, struct usage_batch *batch, struct usage_judged *judged)
{
    const size_t slot_size = usage_slot_size(batch->type);
    struct spill_header header;
    struct stat status;
    size_t header_size;

    if (fstat(fd, &status) != 0)
        return -errno;
    int error = read_header(fd, batch->type, &header, &header_size);
    if (error < 0)
        return error;
    batch->owner = (struct store_id){header.system, 0, header.database, header.table, 0};
    /* A file cut short still holds the slots before the cut. */
    size_t held = (size_t)(status.st_size - (off_t)header_size) / slot_size;
    size_t len = header.len < held ? (size_t)header.len : held;
    struct usage_slot *slots = calloc(len + 1, slot_size);
    if (!slots)
        return -ENOMEM;
    if (!state_file_read_all(fd, slots, len * slot_size) || len != header.len ||
        checksum(slots, len * slot_size) != header.check)
        error = -EBADMSG;
    for (size_t i = 0; i < len; i++) {
        struct usage_slot *slot = usage_slot_at(slots, i, batch->type);

        /* No daemon writes an empty entry. */
        if (slot->last_used_us == 0)
            judged->dropped++;
        (void)usage_judge(slot, now_us, judged);
    }
    if (!usage_batch_merge(batch, slots, len))
        error = -ENOMEM;
    free(slots);
    return error;
}

int spill_read(const char *path, int64_t now_us, struct usage_batch *batch,
               struct usage_judged *judged)
{
    int fd = state_file_read(path);

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    int error = read_open(fd, now_us, batch, judged);
    close(fd);
    return error;
}

bool spill_aside_path(const char *path, const struct store_id *owner,
                      char ret[static SPILL_PATH_SIZE])
{
    int len = snprintf(ret, SPILL_PATH_SIZE, "%s.%" PRIu64 "-%" PRIu32 "-%" PRIu32, path,
                       owner->system, owner->database, owner->table);

    return len < SPILL_PATH_SIZE;
}

int spill_set_aside(const char *path, int64_t now_us, const struct usage_batch *batch,
                    struct usage_judged *judged)
{
    struct usage_batch all = {.type = batch->type};
    char aside[SPILL_PATH_SIZE];
    int error;

    if (!spill_aside_path(path, &batch->owner, aside))
        return -ENAMETOOLONG;
    error = spill_read(aside, now_us, &all, judged);
    /* Whole entries of a damaged file are kept; a file that cannot be read is not replaced. */
    char renamed[SPILL_PATH_SIZE];
    if (error == -EBADMSG || error == -EMEDIUMTYPE)
        error = all.len > 0 ? 0 : state_file_set_aside(aside, renamed, sizeof renamed);
    if (error == 0 && !usage_batch_merge(&all, batch->slots, batch->len))
        error = -ENOMEM;
    all.owner = batch->owner;
    if (error == 0)
        error = spill_write(aside, &all);
    usage_batch_free(&all);
    return error;
}

int spill_remove(const char *path)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return -errno;
    return 0;
}

int spill_lock(const char *path)
{
    char lock[PATH_MAX];

    if (snprintf(lock, sizeof lock, "%s.lock", path) >= (int)sizeof lock)
        return -ENAMETOOLONG;
    return state_file_lock(lock);
}
