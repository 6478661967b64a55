/* SPDX-License-Identifier: MIT */
#include <apikeyd/ledger/spill.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apikeyd/base/state_file.h>

/* The file: this header, then `len` slots, sorted. Version 1 ends before the owner. */
struct spill_header {
    char magic[16];
    uint32_t version;
    uint32_t slot_size;
    uint64_t len;
    uint64_t check; /* over the slots */
    uint64_t system;
    uint32_t database, table;
};

enum { HEADER_1_SIZE = offsetof(struct spill_header, system) };

static const char magic[16] = "apikeyd spill\n";

/* FNV-1a over 64-bit words: distinguishes a torn or damaged file from a whole one. */
static uint64_t checksum(const struct usage_slot *slots, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < len; i++) {
        uint64_t word[4];

        memcpy(word, &slots[i], sizeof word);
        for (size_t k = 0; k < 4; k++)
            hash = (hash ^ word[k]) * UINT64_C(1099511628211);
    }
    return hash;
}

static int write_all(int fd, const void *bytes, size_t len)
{
    for (const char *at = bytes; len > 0;) {
        ssize_t written = write(fd, at, len);

        if (written < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        at += written;
        len -= (size_t)written;
    }
    return 0;
}

/* A rename is on disk once its directory is. */
static int sync_directory(const char *path)
{
    char copy[PATH_MAX];
    int error = 0;

    snprintf(copy, sizeof copy, "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fsync(fd) != 0)
        error = -errno;
    close(fd);
    return error;
}

int spill_write(const char *path, const struct usage_batch *batch)
{
    struct spill_header header = {
        .version = 2,
        .slot_size = sizeof(struct usage_slot),
        .len = batch->len,
        .check = checksum(batch->slots, batch->len),
        .system = batch->owner.system,
        .database = batch->owner.database,
        .table = batch->owner.table,
    };
    char temporary[PATH_MAX];
    int error;

    memcpy(header.magic, magic, sizeof header.magic);
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return -ENAMETOOLONG;
    /* A crash may have left this file, or something else has its name: never write through it. */
    if (unlink(temporary) != 0 && errno != ENOENT)
        return -errno;
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    error = write_all(fd, &header, sizeof header);
    if (error == 0)
        error = write_all(fd, batch->slots, batch->len * sizeof *batch->slots);
    if (error == 0 && fsync(fd) != 0)
        error = -errno;
    if (close(fd) != 0 && error == 0)
        error = -errno;
    if (error == 0 && rename(temporary, path) != 0)
        error = -errno;
    if (error < 0) {
        unlink(temporary);
        return error;
    }
    return sync_directory(path);
}

static bool read_all(int fd, void *bytes, size_t len)
{
    for (char *at = bytes; len > 0;) {
        ssize_t got = read(fd, at, len);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += got;
        len -= (size_t)got;
    }
    return true;
}

/* Returns whether the header has a known version; *ret_size is its length in that version. */
static bool read_header(int fd, struct spill_header *ret, size_t *ret_size)
{
    *ret = (struct spill_header){0};
    *ret_size = HEADER_1_SIZE;
    if (!read_all(fd, ret, HEADER_1_SIZE) || memcmp(ret->magic, magic, sizeof magic) != 0 ||
        ret->slot_size != sizeof(struct usage_slot))
        return false;
    if (ret->version == 1)
        return true;
    *ret_size = sizeof *ret;
    return ret->version == 2 &&
           read_all(fd, (char *)ret + HEADER_1_SIZE, sizeof *ret - HEADER_1_SIZE);
}

static int read_open(int fd, int64_t now_us, struct usage_batch *batch, struct usage_judged *judged)
{
    struct spill_header header;
    struct stat status;
    size_t header_size;
    int error = 0;

    if (fstat(fd, &status) != 0)
        return -errno;
    if (!read_header(fd, &header, &header_size))
        return -EBADMSG;
    batch->owner = (struct store_id){header.system, 0, header.database, header.table, 0};
    /* A file cut short still holds the slots before the cut. */
    size_t held = (size_t)(status.st_size - (off_t)header_size) / sizeof(struct usage_slot);
    size_t len = header.len < held ? (size_t)header.len : held;
    struct usage_slot *slots = calloc(len + 1, sizeof *slots);
    if (!slots)
        return -ENOMEM;
    if (!read_all(fd, slots, len * sizeof *slots) || len != header.len ||
        checksum(slots, len) != header.check)
        error = -EBADMSG;
    for (size_t i = 0; i < len; i++) {
        /* No daemon writes an empty entry. */
        if (slots[i].last_used_us == 0)
            judged->dropped++;
        (void)usage_judge(&slots[i], now_us, judged);
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
    struct usage_batch all = {0};
    char aside[SPILL_PATH_SIZE];
    int error;

    if (!spill_aside_path(path, &batch->owner, aside))
        return -ENAMETOOLONG;
    error = spill_read(aside, now_us, &all, judged);
    /* Whole entries of a damaged file are kept; a file that cannot be read is not replaced. */
    char renamed[SPILL_PATH_SIZE];
    if (error == -EBADMSG)
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
