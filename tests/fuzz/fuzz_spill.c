/* SPDX-License-Identifier: MIT */
/* Spill files as a crash, a bad disk or somebody else may have left them. The last byte says which
 * type of IDs is expected. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <apikeyd/ledger/spill.h>

#include "fuzz.h"
#include "scratch.h"

static const int64_t now_us = INT64_C(1800000000000000);

/* Sorted, one entry a key: each is found. */
static void judge(const struct usage_batch *batch)
{
    for (size_t i = 0; i < batch->len; i++) {
        const struct usage_slot *slot = usage_slot_at(batch->slots, i, batch->type);
        const struct row_id id = usage_slot_id(slot, batch->type);

        FUZZ_MUST(usage_time_plausible(slot->last_used_us) && slot->last_used_us <= now_us);
        FUZZ_MUST(usage_batch_find(batch, &id) == slot);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char path[] = SCRATCH_PREFIX "spill";
    enum id_type type = size > 0 ? (enum id_type)(data[size - 1] % (ID_TEXT + 1)) : ID_UUID;
    struct usage_batch batch = {.type = type}, again = {.type = type};
    struct usage_judged judged = {0};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    FUZZ_MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    int error = spill_read(path, now_us, &batch, &judged);
    FUZZ_MUST(error == 0 || error == -EBADMSG || error == -EMEDIUMTYPE);
    judge(&batch);
    /* What was read can be kept again, whole. */
    FUZZ_MUST(spill_write(path, &batch) == 0);
    FUZZ_MUST(spill_read(path, now_us, &again, &judged) == 0);
    FUZZ_MUST(again.len == batch.len);
    FUZZ_MUST(again.len == 0 ||
              memcmp(again.slots, batch.slots, again.len * usage_slot_size(type)) == 0);
    usage_batch_free(&batch);
    usage_batch_free(&again);
    return 0;
}
