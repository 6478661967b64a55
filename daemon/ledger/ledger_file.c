/* SPDX-License-Identifier: MIT */
#include "ledger_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <apikeyd/base/state_file.h>

#include "ledger_map.h"

enum {
    HEADER_SIZE = 4096,
    PAGE_MIN = 4096, /* of any machine */
    OPENS_MAX = 100, /* tries to open a name that leads to another file each time */
};

static const int64_t half_size = (int64_t)HALF_SLOTS * (int64_t)sizeof(struct usage_slot);
static const int64_t file_size = HEADER_SIZE + LEDGER_HALVES * half_size;

/* Why a whole file is of no use here. */
static const char other_type[] = "it holds IDs of another type than postgres.id_type";

/* Slots have the size that the type of their IDs needs. Version 4 follows it with a struct
 * ledger_counts, and is written only while uses are counted. */
struct ledger_header {
    char magic[16];
    uint32_t version; /* the upper half is the enum id_type */
    uint32_t slot_size;
    uint32_t half_slots;
    uint32_t database, table; /* the owner's, with `system` */
    uint32_t left_database;   /* the earlier owner's, with `left_system` and `left_table` */
    uint64_t system;
    uint64_t left_system;
    uint32_t left_table;
    uint32_t check; /* over the fields before it */
};

struct ledger_counts {
    struct series_id series;
    uint64_t number[LEDGER_HALVES]; /* of the halves */
    uint32_t check;                 /* over the fields before it */
    uint32_t unused;
};

struct ledger_header_4 {
    struct ledger_header base;
    struct ledger_counts counts;
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

/* FNV-1a: detects damage to the header, not an attacker. */
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

static struct ledger_header make_header(const struct ledger_owners *owners, enum id_type type)
{
    struct ledger_header header = {
        .magic = "apikeyd ledger\n",
        .version = (series_known(&owners->series) ? 4 : 3) | (uint32_t)type << 16,
        .slot_size = (uint32_t)usage_slot_size(type),
        .half_slots = HALF_SLOTS >> id_has_rest(type),
        .database = owners->owner.database,
        .table = owners->owner.table,
        .left_database = owners->left.database,
        .system = owners->owner.system,
        .left_system = owners->left.system,
        .left_table = owners->left.table,
    };

    header.check = checksum(&header, offsetof(struct ledger_header, check));
    return header;
}

static struct ledger_header_4 make_header_4(const struct ledger_owners *owners, enum id_type type,
                                            const uint64_t number[static LEDGER_HALVES])
{
    struct ledger_header_4 header = {
        .base = make_header(owners, type),
        .counts = {.series = owners->series},
    };

    memcpy(header.counts.number, number, sizeof header.counts.number);
    header.counts.check = checksum(&header.counts, offsetof(struct ledger_counts, check));
    return header;
}

/* Map the file, which has the right size, or memory. */
static int map_halves(struct ledger_file *file)
{
    const struct ledger_map_setup setup = {
        .fd = file->fd,
        .size = (size_t)file_size,
        .first = HEADER_SIZE,
        .step = GROW_SLOTS * sizeof(struct usage_slot),
    };
    int error = ledger_map_new(&setup, &file->map);

    if (error < 0)
        return error;
    for (int i = 0; i < LEDGER_HALVES; i++) {
        int64_t offset = HEADER_SIZE + i * half_size;

        file->half[i] = (struct ledger_half){
            .type = file->type,
            .slot_size = usage_slot_size(file->type),
            .slots = (struct usage_slot *)(void *)(ledger_map_bytes(file->map) + offset),
            .borrowed_from = UINT32_MAX,
            .fd = file->fd,
            .offset = offset,
            .map = file->map,
        };
    }
    return 0;
}

int ledger_file_note_owners(const struct ledger_file *file, const struct ledger_owners *owners)
{
    const uint64_t number[LEDGER_HALVES] = {file->half[0].number, file->half[1].number};
    const struct ledger_header_4 header = make_header_4(owners, file->type, number);
    const size_t size = series_known(&owners->series) ? sizeof header : sizeof header.base;

    if (file->fd < 0)
        return 0;
    errno = 0;
    if (pwrite(file->fd, &header, size, 0) != (ssize_t)size)
        return errno ? -errno : -ENOSPC;
    return 0;
}

/* Make an empty file a ledger, the header last. A file without room for a header stays empty,
 * because a file without a header counts as damaged. */
static int format_file(struct ledger_file *file)
{
    const struct ledger_owners nobody = {0};
    int error = ftruncate(file->fd, file_size) == 0 ? 0 : -errno;

    if (error == 0)
        error = ledger_file_note_owners(file, &nobody);
    if (error == 0)
        error = map_halves(file);
    if (error < 0 && ftruncate(file->fd, 0) != 0)
        return -errno;
    return error;
}

/* Read a header of any version; false when it is none of that type. Sets the numbers only if there
 * is a series. */
static bool read_owners(const struct ledger_header_4 *header_4, enum id_type type,
                        struct ledger_owners *ret, uint64_t ret_number[static LEDGER_HALVES])
{
    const struct ledger_header *header = &header_4->base;
    const struct ledger_header_1 expected_1 = make_header_1();
    struct ledger_owners owners = {
        .owner = {header->system, 0, header->database, header->table, 0},
        .left = {header->left_system, 0, header->left_database, header->left_table, 0},
    };
    const struct ledger_header expected = make_header(&owners, type);
    struct ledger_owners counted = owners;
    counted.series = header_4->counts.series;
    const struct ledger_header_4 expected_4 =
        make_header_4(&counted, type, header_4->counts.number);
    const struct ledger_header_2 expected_2 = make_header_2(&owners.owner);

    if (type == ID_UUID && memcmp(header, &expected_1, sizeof expected_1) == 0)
        owners = (struct ledger_owners){0};
    else if (type == ID_UUID && memcmp((const char *)header, &expected_2, sizeof expected_2) == 0)
        owners.left = (struct store_id){0};
    else if (memcmp(header_4, &expected_4, sizeof expected_4) == 0 &&
             series_known(&counted.series)) {
        owners = counted;
        memcpy(ret_number, header_4->counts.number, sizeof header_4->counts.number);
    } else if (memcmp(header, &expected, sizeof expected) != 0)
        return false;
    *ret = owners;
    return true;
}

/* Whether the header, damaged or not, tells of another type. */
static bool tells_other_type(const struct ledger_header *header, enum id_type type)
{
    const struct ledger_header_1 like = make_header_1();
    uint32_t version = header->version & UINT16_MAX;
    uint32_t told = header->version >> 16;

    return memcmp(header->magic, like.magic, sizeof like.magic) == 0 && version >= 1 &&
           version <= 4 && told <= ID_TEXT && told != type;
}

/* Returns the fault of the file's size or header, or NULL. */
static const char *header_damage(int fd, enum id_type type, struct ledger_owners *ret_owners,
                                 uint64_t ret_number[static LEDGER_HALVES])
{
    struct ledger_header_4 header;
    struct stat status;

    if (fstat(fd, &status) != 0 || pread(fd, &header, sizeof header, 0) != sizeof header)
        return "its header cannot be read";
    if (!read_owners(&header, type, ret_owners, ret_number))
        return tells_other_type(&header.base, type) ? other_type
                                                    : "its header is not one of this version";
    return status.st_size == file_size ? NULL : "its size does not fit its header";
}

static bool is_named(int fd, const char *path)
{
    struct stat ours, named;

    return fstat(fd, &ours) == 0 && lstat(path, &named) == 0 && ours.st_ino == named.st_ino &&
           ours.st_dev == named.st_dev;
}

/* Open and lock `path`. Repeat until the locked file is the one that the name leads to. */
static int open_locked(const char *path)
{
    for (int i = 0; i < OPENS_MAX; i++) {
        int fd = state_file_lock(path);

        if (fd < 0 || is_named(fd, path))
            return fd;
        close(fd);
    }
    return -ESTALE;
}

/* Read a half from the file: slots are appended, so the first empty slot ends the half, and all
 * bytes after it must be zero. Returns whether all of the half is as this code writes it. */
static bool scan_half(struct ledger_half *half, int64_t allocated_slots)
{
    uint32_t used = 0;
    bool whole = true;

    assert(half->slots);
    while (used < allocated_slots && ledger_half_slot(half, used)->last_used_us != 0)
        whole = usage_time_plausible(ledger_half_slot(half, used++)->last_used_us) && whole;
    half->used = used;
    for (int64_t i = used; i < allocated_slots; i++)
        whole = ledger_half_slot(half, (uint32_t)i)->last_used_us == 0 && whole;
    return whole;
}

/* How many slots of a half lie in allocated parts of the (sparse) file. The page in which the next
 * half begins is the next half's. */
static int64_t allocated_slots(const struct ledger_half *half)
{
    const int fd = half->fd;
    int64_t end = half->offset + half_size;
    end -= end % (int64_t)ledger_map_page();
    int64_t last = half->offset;

    for (int64_t at = half->offset; at < end;) {
        int64_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 || data >= end)
            break;
        int64_t hole = lseek(fd, data, SEEK_HOLE);
        last = hole < 0 || hole > end ? end : hole;
        at = last;
    }
    return (last - half->offset) / (int64_t)usage_slot_size(half->type);
}

/* Read the plausible slots of a damaged file, of the type of *ret. Its size may be anything, so it
 * is read and not mapped. */
static void salvage(int fd, int64_t now_us, struct usage_batch *ret, struct ledger_report *report)
{
    const off_t size = (off_t)usage_slot_size(ret->type);
    struct usage_slot slots[512];
    off_t at = HEADER_SIZE;

    for (off_t data; (data = lseek(fd, at, SEEK_DATA)) >= 0;) {
        at = data - (data - HEADER_SIZE) % size;
        ssize_t len = pread(fd, slots, sizeof slots, at);
        if (len < size)
            return;
        for (size_t i = 0; i < (size_t)(len / size); i++) {
            struct usage_slot *slot = usage_slot_at(slots, i, ret->type);

            if (usage_judge(slot, now_us, &report->judged) && slot->last_used_us != 0 &&
                usage_slot_hour(slot) != 0)
                report->judged.uncounted += slot->count & COUNT_USES;
        }
        if (!usage_batch_merge(ret, slots, (size_t)(len / size)))
            return;
        at += len - len % size;
    }
}

/* Read the halves of an existing file. */
static const char *scan(struct ledger_file *file, int64_t now_us, struct usage_judged *judged)
{
    const uint32_t page_slots = PAGE_MIN / (uint32_t)usage_slot_size(file->type);

    for (int i = 0; i < LEDGER_HALVES; i++) {
        struct ledger_half *half = &file->half[i];

        if (!scan_half(half, allocated_slots(half)))
            return "it holds entries that this daemon does not write";
    }
    for (int i = 0; i < LEDGER_HALVES; i++) {
        struct ledger_half *half = &file->half[i];

        for (uint32_t k = 0; k < half->used; k++)
            (void)usage_judge(ledger_half_slot(half, k), now_us, judged);
        /* Reserve again from the first whole step on: a step that is already reserved costs
         * nothing. */
        half->reserved = half->used - half->used % ledger_half_step(half);
        while (half->reserved < half->used && ledger_half_reserve(half))
            ;
        /* A page of the file is always whole. */
        if (half->reserved < half->used)
            half->reserved = (half->used + page_slots - 1) / page_slots * page_slots;
        /* Give back room that an earlier process reserved. */
        if (half->reserved < ledger_half_slots(half))
            (void)ledger_half_punch(half, half->reserved, ledger_half_slots(half) - half->reserved);
    }
    return NULL;
}

/* Adopt an empty or a whole file. Sets report->damage when the file is neither. */
static int adopt(struct ledger_file *file, int64_t now_us, struct ledger_owners *ret_owners,
                 struct ledger_report *report)
{
    uint64_t number[LEDGER_HALVES] = {0};
    struct stat status;
    int error;

    if (fstat(file->fd, &status) == 0 && status.st_size == 0)
        return format_file(file);
    report->damage = header_damage(file->fd, file->type, ret_owners, number);
    if (report->damage)
        return 0;
    error = map_halves(file);
    if (error == 0)
        report->damage = scan(file, now_us, &report->judged);
    for (int i = 0; i < LEDGER_HALVES; i++)
        file->half[i].number = number[i];
    return error;
}

/* The file is damaged: save its plausible entries, unless they are of another type, rename it, and
 * put a new file in its place. The new file is locked before it gets the name. */
static int replace(struct ledger_file *file, const char *path, int64_t now_us,
                   struct usage_batch *saved, struct ledger_report *report)
{
    struct ledger_report fresh = {0};
    struct ledger_owners owners = {0};
    int old_fd = file->fd;
    int error = state_file_set_aside(path, report->aside_path, sizeof report->aside_path);

    if (error < 0)
        return error;
    report->set_aside = true;
    report->unread = report->damage == other_type;
    if (!report->unread)
        salvage(old_fd, now_us, saved, report);
    ledger_map_free(file->map);
    file->map = NULL;
    file->fd = open_locked(path);
    close(old_fd);
    if (file->fd < 0)
        return file->fd;
    error = adopt(file, now_us, &owners, &fresh);
    /* Another process created a file in between. */
    return error == 0 && fresh.damage ? -ESTALE : error;
}

int ledger_file_open(const char *path, int64_t now_us, struct ledger_file **ret,
                     struct ledger_owners *ret_owners, struct usage_batch *saved,
                     struct ledger_report *report)
{
    struct ledger_file *file = calloc(1, sizeof *file);
    struct statfs fs;
    int error;

    if (!file)
        return -ENOMEM;
    file->type = saved->type;
    file->fd = open_locked(path);
    error = file->fd < 0 ? file->fd : adopt(file, now_us, ret_owners, report);
    if (error == 0 && report->damage)
        error = replace(file, path, now_us, saved, report);
    if (error < 0) {
        ledger_file_close(file);
        return error;
    }
    report->on_disk = fstatfs(file->fd, &fs) == 0 && fs.f_type != TMPFS_MAGIC;
    *ret = file;
    return 0;
}

int ledger_file_new_memory(enum id_type type, struct ledger_file **ret)
{
    struct ledger_file *file = calloc(1, sizeof *file);
    int error;

    if (!file)
        return -ENOMEM;
    file->fd = -1;
    file->type = type;
    error = map_halves(file);
    if (error < 0)
        ledger_file_close(file);
    else
        *ret = file;
    return error;
}

bool ledger_file_is_named(const struct ledger_file *file, const char *path)
{
    return is_named(file->fd, path);
}

enum ledger_state ledger_file_look(const struct ledger_file *file, const char *path)
{
    struct ledger_owners owners;
    uint64_t number[LEDGER_HALVES];

    if (file->fd < 0)
        return LEDGER_MEMORY;
    if (ledger_map_faults(file->map) > 0 || header_damage(file->fd, file->type, &owners, number))
        return LEDGER_BROKEN;
    if (!is_named(file->fd, path))
        return LEDGER_NAMELESS;
    return ledger_map_borrowed(file->map) > 0 ? LEDGER_CROWDED : LEDGER_SAFE;
}

void ledger_file_close(struct ledger_file *file)
{
    if (!file)
        return;
    ledger_map_free(file->map);
    if (file->fd >= 0)
        close(file->fd);
    free(file);
}
