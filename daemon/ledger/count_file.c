/* SPDX-License-Identifier: MIT */
#include <apikeyd/ledger/count_batch.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apikeyd/base/state_file.h>

/* The file: this header, then `batches` times a head and its rows. */
struct count_header {
    char magic[16];
    uint32_t version; /* the upper half is the enum id_type */
    uint32_t row_size;
    uint64_t batches;
    uint64_t size;  /* of all that follows, bytes */
    uint64_t check; /* over that */
};

struct batch_head {
    struct series_id series;
    uint64_t first, last;
    uint64_t system;
    uint32_t database, table;
    uint64_t len;
};

_Static_assert(sizeof(struct count_header) == 48 && sizeof(struct batch_head) == 56,
               "these are a file format");

static const char magic[16] = "apikeyd counts\n";

static uint32_t version_of(enum id_type type)
{
    return 1 | (uint32_t)type << 16;
}

/* FNV-1a over 64-bit words: distinguishes a torn or damaged file from a whole one. */
static uint64_t checksum(struct slice bytes)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    uint64_t word;

    for (size_t i = 0; i + sizeof word <= bytes.len; i += sizeof word) {
        memcpy(&word, &bytes.at[i], sizeof word);
        hash = (hash ^ word) * UINT64_C(1099511628211);
    }
    return hash;
}

void count_file_image(const struct count_list *list, struct buffer *image)
{
    struct count_header header = {.row_size = sizeof(struct count_row)};
    const struct count_batch *batch;
    struct buffer body = {0};

    memcpy(header.magic, magic, sizeof header.magic);
    header.version = version_of(TAILQ_EMPTY(list) ? ID_UUID : TAILQ_FIRST(list)->type);
    TAILQ_FOREACH(batch, list, in_list)
    {
        const struct batch_head head = {
            .series = batch->series,
            .first = batch->first,
            .last = batch->last,
            .system = batch->owner.system,
            .database = batch->owner.database,
            .table = batch->owner.table,
            .len = batch->len,
        };

        buffer_append(&body, &head, sizeof head);
        buffer_append(&body, batch->rows, batch->len * sizeof *batch->rows);
        header.batches++;
    }
    header.size = body.len;
    header.check = checksum(buffer_held(&body));
    buffer_append(image, &header, sizeof header);
    buffer_append(image, buffer_held(&body).at, body.len);
    buffer_free(&body);
}

int count_file_write(const char *path, struct slice image)
{
    bool replaced;
    int error = state_file_replace(path, &image, 1, &replaced);

    /* Who is killed now leaves the new file; a power cut may leave the old one, whose batches are
     * part of the new one's. */
    return replaced ? 0 : error;
}

/* Take a batch from the bytes that are left of the file. */
static int take_batch(struct slice *rest, enum id_type type, struct count_list *list)
{
    struct batch_head head;
    struct count_batch *batch;

    if (rest->len < sizeof head)
        return -EBADMSG;
    memcpy(&head, rest->at, sizeof head);
    rest->at += sizeof head;
    rest->len -= sizeof head;
    if (head.len == 0 || head.len > rest->len / sizeof *batch->rows || head.first == 0 ||
        head.first > head.last || !series_known(&head.series))
        return -EBADMSG;
    batch = calloc(1, sizeof *batch);
    if (!batch)
        return -ENOMEM;
    batch->series = head.series;
    batch->first = head.first;
    batch->last = batch->safe = head.last;
    batch->owner = (struct store_id){head.system, 0, head.database, head.table, 0};
    batch->type = type;
    batch->found = batch->sent = true;
    batch->len = head.len;
    batch->rows = calloc(batch->len, sizeof *batch->rows);
    TAILQ_INSERT_TAIL(list, batch, in_list);
    if (!batch->rows)
        return -ENOMEM;
    memcpy(batch->rows, rest->at, batch->len * sizeof *batch->rows);
    rest->at += batch->len * sizeof *batch->rows;
    rest->len -= batch->len * sizeof *batch->rows;
    return 0;
}

static int take_batches(const struct count_header *header, struct slice body, enum id_type type,
                        struct count_list *list)
{
    struct count_list found = TAILQ_HEAD_INITIALIZER(found);
    int error = header->check == checksum(body) ? 0 : -EBADMSG;

    for (uint64_t i = 0; error == 0 && i < header->batches; i++)
        error = take_batch(&body, type, &found);
    if (error == 0 && body.len > 0)
        error = -EBADMSG;
    if (error == 0)
        TAILQ_CONCAT(list, &found, in_list);
    count_list_free(&found);
    return error;
}

static int read_open(int fd, enum id_type type, struct count_list *list)
{
    struct count_header header;
    struct stat status;

    if (fstat(fd, &status) != 0)
        return -errno;
    if (!state_file_read_all(fd, &header, sizeof header) ||
        memcmp(header.magic, magic, sizeof magic) != 0 ||
        header.row_size != sizeof(struct count_row))
        return -EBADMSG;
    for (enum id_type other = ID_UUID; other <= ID_TEXT; other++) {
        if (other != type && header.version == version_of(other))
            return -EMEDIUMTYPE;
    }
    if (header.version != version_of(type) ||
        (off_t)header.size != status.st_size - (off_t)sizeof header)
        return -EBADMSG;
    char *bytes = malloc(header.size + 1);
    if (!bytes)
        return -ENOMEM;
    int error = -EBADMSG;
    if (state_file_read_all(fd, bytes, header.size))
        error = take_batches(&header, (struct slice){bytes, header.size}, type, list);
    free(bytes);
    return error;
}

int count_file_read(const char *path, enum id_type type, struct count_list *list)
{
    int fd = state_file_read(path);

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    int error = read_open(fd, type, list);
    close(fd);
    return error;
}

bool count_file_path(const char *beside, char ret[static COUNT_PATH_SIZE])
{
    return snprintf(ret, COUNT_PATH_SIZE, "%s.counts", beside) < COUNT_PATH_SIZE;
}
