/* SPDX-License-Identifier: MIT */
/* Ledgers as a crash, a bad disk or somebody else may have left them. The first byte says
 * whether the rest is a whole file, or slots behind a good header, and of which type IDs are. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <apikeyd/ledger/ledger.h>

#include "fuzz.h"
#include "scratch.h"

static const int64_t now_us = INT64_C(1800000000000000);

enum { HEADER_SIZE = 4096 };

static void write_at(const char *path, const uint8_t *data, size_t size, off_t at)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    FUZZ_MUST(fd >= 0 && pwrite(fd, data, size, at) == (ssize_t)size);
    close(fd);
}

static struct ledger *open_ledger(const char *path, enum id_type type,
                                  struct ledger_report *ret_report)
{
    struct ledger *ledger;

    FUZZ_MUST(ledger_open(path, type, &(struct series_id){0}, now_us, &ledger, ret_report) == 0);
    return ledger;
}

/* Only what a daemon can have written is taken for usage. */
static uint32_t judge_slots(struct ledger *ledger)
{
    uint32_t used = 0;

    for (int i = 0; i < LEDGER_HALVES; i++) {
        const struct ledger_half *half = ledger_half(ledger, i);

        FUZZ_MUST(half->used <= half->reserved);
        for (uint32_t k = 0; k < half->used; k++) {
            const struct usage_slot *slot = usage_slot_at(half->slots, k, half->type);

            FUZZ_MUST(usage_time_plausible(slot->last_used_us) && slot->last_used_us <= now_us);
        }
        used += half->used;
    }
    return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char path[] = SCRATCH_PREFIX "ledger";
    struct ledger_report report;
    struct row_id id = {.head = {{1}}};
    uint32_t hint = UINT32_MAX;

    if (size == 0)
        return 0;
    enum id_type type = (enum id_type)(data[0] / 2 % (ID_TEXT + 1));
    scratch_clear();
    if (data[0] & 1) {
        ledger_close(open_ledger(path, type, &report));
        write_at(path, data + 1, size - 1, HEADER_SIZE);
    } else {
        write_at(path, data + 1, size - 1, 0);
    }
    struct ledger *ledger = open_ledger(path, type, &report);
    uint32_t used = judge_slots(ledger);

    /* Whatever it was, it can be written to now, and is whole when it is opened again. */
    FUZZ_MUST(ledger_half_record(ledger_half(ledger, 0), &id, now_us, 0, &hint));
    ledger_close(ledger);
    ledger = open_ledger(path, type, &report);
    FUZZ_MUST(!report.set_aside && judge_slots(ledger) == used + 1);
    ledger_close(ledger);
    return 0;
}
