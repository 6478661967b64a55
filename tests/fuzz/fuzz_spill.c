/* SPDX-License-Identifier: MIT */
/* Spill files as a crash, a bad disk or somebody else may have left them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <apikeyd/ledger/spill.h>

#include "fuzz.h"
#include "scratch.h"

static const int64_t now_us = INT64_C(1800000000000000);

/* Sorted, one entry a key. */
static void judge(const struct usage_batch *batch)
{
    for (size_t i = 1; i < batch->len; i++)
        FUZZ_MUST(uuid_order(&batch->slots[i - 1].api_key_id, &batch->slots[i].api_key_id) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char path[] = SCRATCH_PREFIX "spill";
    struct usage_batch batch = {0}, again = {0};
    struct usage_judged judged = {0};
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    FUZZ_MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
    int error = spill_read(path, now_us, &batch, &judged);
    FUZZ_MUST(error == 0 || error == -EBADMSG);
    judge(&batch);
    for (size_t i = 0; i < batch.len; i++)
        FUZZ_MUST(usage_time_plausible(batch.slots[i].last_used_us) &&
                  batch.slots[i].last_used_us <= now_us);
    /* What was read can be kept again, whole. */
    FUZZ_MUST(spill_write(path, &batch) == 0);
    FUZZ_MUST(spill_read(path, now_us, &again, &judged) == 0);
    FUZZ_MUST(again.len == batch.len);
    FUZZ_MUST(again.len == 0 ||
              memcmp(again.slots, batch.slots, again.len * sizeof *again.slots) == 0);
    usage_batch_free(&batch);
    usage_batch_free(&again);
    return 0;
}
