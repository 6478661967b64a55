/* SPDX-License-Identifier: MIT */
/* Files of waiting counts as a crash, a bad disk or somebody else may have left them. The last byte
 * says which type of IDs is expected, and whether the size and the check are made right first. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <apikeyd/ledger/count_batch.h>

#include "fuzz.h"
#include "scratch.h"

enum { SIZE_AT = 32, CHECK_AT = 40, HEADER_SIZE = 48, SIZE_MAX_READ = 1 << 16 };

/* As the daemon computes it. */
static uint64_t checksum(const uint8_t *bytes, size_t len)
{
    uint64_t hash = UINT64_C(14695981039346656037), word;

    for (size_t i = 0; i + sizeof word <= len; i += sizeof word) {
        memcpy(&word, &bytes[i], sizeof word);
        hash = (hash ^ word) * UINT64_C(1099511628211);
    }
    return hash;
}

static void make_right(uint8_t *bytes, size_t size)
{
    const uint64_t len = size - HEADER_SIZE, check = checksum(bytes + HEADER_SIZE, len);

    memcpy(bytes + SIZE_AT, &len, sizeof len);
    memcpy(bytes + CHECK_AT, &check, sizeof check);
}

/* No batch has what another one has, and those of a series are in order. */
static void judge(const struct count_list *list)
{
    const struct count_batch *batch, *later;

    TAILQ_FOREACH(batch, list, in_list)
    {
        FUZZ_MUST(batch->len > 0 && batch->first > 0 && batch->first <= batch->last);
        FUZZ_MUST(series_known(&batch->series));
        FUZZ_MUST(count_batch_number(batch, 0) < count_batch_number(batch, batch->len));
        for (later = TAILQ_NEXT(batch, in_list); later; later = TAILQ_NEXT(later, in_list)) {
            FUZZ_MUST(!count_batch_contains(batch, later) && !count_batch_contains(later, batch));
            FUZZ_MUST(memcmp(&batch->series, &later->series, sizeof batch->series) != 0 ||
                      batch->first <= later->first);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char path[] = SCRATCH_PREFIX "counts";
    static uint8_t bytes[SIZE_MAX_READ];
    struct count_list list = TAILQ_HEAD_INITIALIZER(list), again = TAILQ_HEAD_INITIALIZER(again);
    struct buffer image = {0};

    if (size == 0 || size > sizeof bytes)
        return 0;
    enum id_type type = (enum id_type)(data[size - 1] % (ID_TEXT + 1));
    memcpy(bytes, data, --size);
    if (data[size] & 0x80 && size >= HEADER_SIZE)
        make_right(bytes, size);
    FUZZ_MUST(count_file_write(path, (struct slice){(const char *)bytes, size}) == 0);
    int error = count_file_read(path, type, &list);
    FUZZ_MUST(error == 0 || error == -EBADMSG || error == -EMEDIUMTYPE);
    FUZZ_MUST(error == 0 || TAILQ_EMPTY(&list));
    count_list_prune(&list);
    judge(&list);
    /* What was read can be kept again, whole. */
    if (!TAILQ_EMPTY(&list)) {
        count_file_image(&list, &image);
        FUZZ_MUST(count_file_write(path, buffer_held(&image)) == 0);
        FUZZ_MUST(count_file_read(path, type, &again) == 0);
        FUZZ_MUST(count_list_rows(&again) == count_list_rows(&list));
    }
    buffer_free(&image);
    count_list_free(&list);
    count_list_free(&again);
    return 0;
}
