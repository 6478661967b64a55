/* SPDX-License-Identifier: MIT */
#include "apikeyd/ledger.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "apikeyd/state_file.h"

enum {
    HEADER_SIZE = 4096,
    HALF_SLOTS = 1 << 24, /* 512 MiB of a sparse file: 16 M keys used between two flushes */
    GROW_SLOTS = 1 << 14, /* 512 KiB at a time: the front thread waits for this */
};

static const int64_t half_size = (int64_t)HALF_SLOTS * (int64_t)sizeof(struct usage_slot);
static const int64_t file_size = HEADER_SIZE + LEDGER_HALVES * half_size;

struct ledger_header {
    char magic[16];
    uint32_t version;
    uint32_t slot_size;
    uint32_t half_slots;
    uint32_t database, table; /* the owner's, as is: */
    uint32_t left_database;   /* the earlier owner's, as are: */
    uint64_t system;
    uint64_t left_system;
    uint32_t left_table;
    uint32_t check; /* over the fields before it */
};

/* Version 2 had no earlier owner. */
struct ledger_header_2 {
    char magic[16];
    uint32_t version;
    uint32_t slot_size;
    uint32_t half_slots;
    uint32_t database, table;
    uint32_t unused;
    uint64_t system;
    uint32_t check;
    uint32_t unused2;
};

/* Version 1 had no owner. */
struct ledger_header_1 {
    char magic[16];
    uint32_t version;
    uint32_t slot_size;
    uint32_t half_slots;
    uint32_t check;
};

struct ledger {
    int fd;
    char *map;
    struct store_id owner, left;
    struct ledger_half half[LEDGER_HALVES];
};

/* FNV-1a: the header is damaged or it is not; nobody is kept out by this. */
static uint32_t checksum(const void *bytes, size_t len)
{
    const unsigned char *byte = bytes;
    uint32_t hash = UINT32_C(2166136261);

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ byte[i]) * UINT32_C(16777619);
    return hash;
}

static struct ledger_header_1 make_header_1(void)
{
    struct ledger_header_1 header = {
        .magic = "apikeyd ledger\n",
        .version = 1,
        .slot_size = sizeof(struct usage_slot),
        .half_slots = HALF_SLOTS,
    };

    header.check = checksum(&header, offsetof(struct ledger_header_1, check));
    return header;
}

static struct ledger_header_2 make_header_2(const struct store_id *owner)
{
    struct ledger_header_2 header = {
        .magic = "apikeyd ledger\n",
        .version = 2,
        .slot_size = sizeof(struct usage_slot),
        .half_slots = HALF_SLOTS,
        .database = owner->database,
        .table = owner->table,
        .system = owner->system,
    };

    header.check = checksum(&header, offsetof(struct ledger_header_2, check));
    return header;
}

static struct ledger_header make_header(const struct store_id *owner, const struct store_id *left)
{
    struct ledger_header header = {
        .magic = "apikeyd ledger\n",
        .version = 3,
        .slot_size = sizeof(struct usage_slot),
        .half_slots = HALF_SLOTS,
        .database = owner->database,
        .table = owner->table,
        .left_database = left->database,
        .system = owner->system,
        .left_system = left->system,
        .left_table = left->table,
    };

    header.check = checksum(&header, offsetof(struct ledger_header, check));
    return header;
}

struct ledger_half *ledger_half(struct ledger *ledger, int index)
{
    return &ledger->half[index];
}

/* Have the file system promise room for more slots, so that storing into them cannot fault. */
static bool grow(struct ledger_half *half)
{
    if (half->reserved + GROW_SLOTS > HALF_SLOTS)
        return false;
    int64_t from = half->offset + (int64_t)half->reserved * (int64_t)sizeof(struct usage_slot);
    if (fallocate(half->fd, 0, from, GROW_SLOTS * (int64_t)sizeof(struct usage_slot)) != 0)
        return false;
    half->reserved += GROW_SLOTS;
    return true;
}

/* The time is stored last: a slot without one does not count. (A killed process loses no store
 * that it has made; only the compiler must keep the order.) */
static void store(struct usage_slot *slot, const struct uuid *api_key_id, int64_t last_used_us,
                  uint64_t count)
{
    slot->api_key_id = *api_key_id;
    slot->count = count;
    atomic_signal_fence(memory_order_release);
    *(volatile int64_t *)&slot->last_used_us = last_used_us;
}

bool ledger_half_record(struct ledger_half *half, const struct uuid *api_key_id, int64_t now_us,
                        uint32_t *hint)
{
    assert(half->slots);
    if (*hint < half->used) {
        struct usage_slot *slot = &half->slots[*hint];

        if (uuid_order(&slot->api_key_id, api_key_id) == 0) {
            if (now_us > slot->last_used_us)
                *(volatile int64_t *)&slot->last_used_us = now_us;
            slot->count++;
            return true;
        }
    }
    if (half->used == half->reserved && !grow(half))
        return false;
    store(&half->slots[half->used], api_key_id, now_us, 1);
    *hint = half->used++;
    return true;
}

/* Return empty slots to the file system. */
static bool punch(const struct ledger_half *half, uint32_t from, uint32_t slots)
{
    int64_t slot_size = sizeof(struct usage_slot);

    return fallocate(half->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     half->offset + (int64_t)from * slot_size, (int64_t)slots * slot_size) == 0;
}

/* Return to the file system what this round did not need: memory follows demand, a round late. */
static void give_back(struct ledger_half *half, uint32_t needed)
{
    uint32_t kept = (needed / GROW_SLOTS + 1) * GROW_SLOTS;

    /* Step by step: the front thread may have to wait for one, when it grows the other half. */
    while (half->reserved >= kept + GROW_SLOTS &&
           punch(half, half->reserved - GROW_SLOTS, GROW_SLOTS))
        half->reserved -= GROW_SLOTS;
}

void ledger_half_clear(struct ledger_half *half)
{
    uint32_t needed = half->used;

    /* From the end: a process killed on the way leaves slots without a gap. */
    while (half->used > 0)
        *(volatile int64_t *)&half->slots[--half->used].last_used_us = 0;
    give_back(half, needed);
}

/* What the file holds of a half: slots are appended, so the first empty one ends it, and behind
 * that everything must be zero. Returns whether all of it is as this code writes it. */
static bool scan_half(struct ledger_half *half, int64_t allocated_slots, int64_t now_us)
{
    uint32_t used = 0;
    bool whole = true;

    assert(half->slots);
    while (used < allocated_slots && half->slots[used].last_used_us != 0) {
        if (!usage_time_plausible(half->slots[used].last_used_us, now_us))
            whole = false;
        used++;
    }
    half->used = used;
    for (int64_t i = used; i < allocated_slots; i++) {
        if (half->slots[i].last_used_us != 0)
            whole = false;
    }
    return whole;
}

/* How many slots of a half lie in allocated parts of the (sparse) file. */
static int64_t allocated_slots(int fd, int64_t offset)
{
    int64_t end = offset + half_size;
    int64_t last = offset;

    for (int64_t at = offset; at < end;) {
        int64_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 || data >= end)
            break;
        int64_t hole = lseek(fd, data, SEEK_HOLE);
        last = hole < 0 || hole > end ? end : hole;
        at = last;
    }
    return (last - offset) / (int64_t)sizeof(struct usage_slot);
}

/* Map a file whose size is right. */
static int map_file(struct ledger *ledger)
{
    ledger->map = mmap(NULL, (size_t)file_size, PROT_READ | PROT_WRITE, MAP_SHARED, ledger->fd, 0);
    if (ledger->map == MAP_FAILED) {
        ledger->map = NULL;
        return -errno;
    }
    for (int i = 0; i < LEDGER_HALVES; i++) {
        struct ledger_half *half = &ledger->half[i];

        half->fd = ledger->fd;
        half->offset = HEADER_SIZE + i * half_size;
        half->slots = (struct usage_slot *)(void *)(ledger->map + half->offset);
        half->used = 0;
        half->reserved = 0;
    }
    return 0;
}

static int write_header(struct ledger *ledger)
{
    struct ledger_header header = make_header(&ledger->owner, &ledger->left);

    errno = 0;
    if (pwrite(ledger->fd, &header, sizeof header, 0) != sizeof header)
        return errno ? -errno : -ENOSPC;
    return 0;
}

const struct store_id *ledger_owner(const struct ledger *ledger)
{
    return &ledger->owner;
}

const struct store_id *ledger_left(const struct ledger *ledger)
{
    return &ledger->left;
}

int ledger_set_owner(struct ledger *ledger, const struct store_id *owner,
                     const struct store_id *left)
{
    ledger->owner = *owner;
    ledger->left = *left;
    return write_header(ledger);
}

/* Make an empty file a ledger. The header comes last: a file without one is a damaged one that
 * holds nothing. */
static int format_file(struct ledger *ledger)
{
    int error;

    if (ftruncate(ledger->fd, file_size) != 0)
        return -errno;
    error = write_header(ledger);
    return error < 0 ? error : map_file(ledger);
}

/* Read the owners out of a header of any version; false when it is none. */
static bool read_owners(const struct ledger_header *header, struct store_id *ret_owner,
                        struct store_id *ret_left)
{
    const struct ledger_header_1 expected_1 = make_header_1();
    struct ledger_header_2 header_2;
    struct store_id owner = {header->system, 0, header->database, header->table, 0};
    struct store_id left = {header->left_system, 0, header->left_database, header->left_table, 0};

    memcpy(&header_2, header, sizeof header_2);
    const struct ledger_header_2 expected_2 = make_header_2(&owner);
    const struct ledger_header expected = make_header(&owner, &left);
    if (memcmp(header, &expected_1, sizeof expected_1) == 0)
        owner = left = (struct store_id){0};
    else if (memcmp(&header_2, &expected_2, sizeof header_2) == 0)
        left = (struct store_id){0};
    else if (memcmp(header, &expected, sizeof *header) != 0)
        return false;
    *ret_owner = owner;
    *ret_left = left;
    return true;
}

/* What is wrong with the file's size and header, or NULL. Sets the ledger's owners. */
static const char *header_damage(struct ledger *ledger)
{
    struct ledger_header header;
    struct stat status;

    if (fstat(ledger->fd, &status) != 0 ||
        pread(ledger->fd, &header, sizeof header, 0) != sizeof header)
        return "its header cannot be read";
    if (!read_owners(&header, &ledger->owner, &ledger->left))
        return "its header is not one of this version";
    return status.st_size == file_size ? NULL : "its size does not fit its header";
}

/* Open `path` and lock it, again and again until the locked file is the one of that name. */
static int open_locked(const char *path)
{
    for (;;) {
        struct stat ours, named;
        int fd = state_file_open(path);

        if (fd < 0)
            return fd;
        if (fstat(fd, &ours) == 0 && stat(path, &named) == 0 && ours.st_ino == named.st_ino &&
            ours.st_dev == named.st_dev)
            return fd;
        close(fd);
    }
}

/* Read whatever slots of a damaged file can be believed. Its size may be anything, so it is read
 * and not mapped. */
static void salvage(int fd, int64_t now_us, struct usage_batch *ret)
{
    struct usage_slot slots[512];
    off_t at = HEADER_SIZE;

    for (off_t data; (data = lseek(fd, at, SEEK_DATA)) >= 0;) {
        at = data - (data - HEADER_SIZE) % (off_t)sizeof slots[0];
        ssize_t len = pread(fd, slots, sizeof slots, at);
        if (len < (ssize_t)sizeof slots[0])
            return;
        size_t kept = 0;
        for (size_t i = 0; i < (size_t)len / sizeof slots[0]; i++) {
            if (usage_time_plausible(slots[i].last_used_us, now_us))
                slots[kept++] = slots[i];
        }
        if (!usage_batch_merge(ret, slots, kept))
            return;
        at += len - len % (off_t)sizeof slots[0];
    }
}

/* The file at `path` is damaged: rename it, put a new one in its place and copy what can be
 * believed. The new file is locked before it has the name. */
static int replace(struct ledger *ledger, const char *path, int64_t now_us,
                   struct ledger_report *report)
{
    struct usage_batch saved = {0};
    int old_fd = ledger->fd;
    int error;

    salvage(old_fd, now_us, &saved);
    error = state_file_set_aside(path, report->aside_path, sizeof report->aside_path);
    if (error < 0)
        goto done;
    report->set_aside = true;
    if (ledger->map)
        munmap(ledger->map, (size_t)file_size);
    ledger->map = NULL;
    int fd = open_locked(path);
    if (fd < 0) {
        error = fd;
        goto done;
    }
    ledger->fd = fd;
    close(old_fd);
    error = format_file(ledger);
    for (size_t i = 0; error == 0 && i < saved.len; i++) {
        uint32_t hint = UINT32_MAX;

        if (!ledger_half_record(&ledger->half[1], &saved.slots[i].api_key_id,
                                saved.slots[i].last_used_us, &hint))
            error = -ENOSPC;
    }

done:
    usage_batch_free(&saved);
    return error;
}

/* Find out what the halves of an existing file hold. */
static const char *scan(struct ledger *ledger, int64_t now_us)
{
    for (int i = 0; i < LEDGER_HALVES; i++) {
        struct ledger_half *half = &ledger->half[i];
        int64_t allocated = allocated_slots(ledger->fd, half->offset);

        if (!scan_half(half, allocated, now_us))
            return "it holds entries that this daemon does not write";
        /* Reserved anew from the first whole step on: what is reserved already costs nothing. */
        half->reserved = half->used - half->used % GROW_SLOTS;
        while (half->reserved < half->used && grow(half))
            ;
        if (half->reserved < half->used)
            half->reserved = half->used;
        /* What an earlier process had room for. */
        (void)punch(half, half->reserved, HALF_SLOTS - half->reserved);
    }
    return NULL;
}

int ledger_open(const char *path, int64_t now_us, struct ledger **ret,
                struct ledger_report *ret_report)
{
    struct ledger_report report = {0};
    struct stat status;
    struct statfs fs;
    struct ledger *ledger = calloc(1, sizeof *ledger);
    int error;

    if (!ledger)
        return -ENOMEM;
    ledger->fd = open_locked(path);
    if (ledger->fd < 0) {
        error = ledger->fd;
        free(ledger);
        return error;
    }
    if (fstat(ledger->fd, &status) == 0 && status.st_size == 0) {
        error = format_file(ledger);
    } else {
        report.damage = header_damage(ledger);
        error = report.damage ? 0 : map_file(ledger);
        if (!report.damage && error == 0)
            report.damage = scan(ledger, now_us);
        if (report.damage)
            error = replace(ledger, path, now_us, &report);
    }
    if (error < 0) {
        ledger_close(ledger);
        return error;
    }
    report.on_disk = fstatfs(ledger->fd, &fs) == 0 && fs.f_type != TMPFS_MAGIC;
    *ret = ledger;
    *ret_report = report;
    return 0;
}

void ledger_close(struct ledger *ledger)
{
    if (!ledger)
        return;
    if (ledger->map)
        munmap(ledger->map, (size_t)file_size);
    close(ledger->fd);
    free(ledger);
}
