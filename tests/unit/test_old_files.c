/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <fcntl.h>
#include <inttypes.h>

#include <apikeyd/ledger/ledger.h>
#include <apikeyd/ledger/spill.h>

/* Files that earlier builds wrote, a folder for each: tests/harness/old_files.py. */
#define DATA TEST_DATA "/"

enum { SLOTS_MAX = 16 };

struct old_file {
    struct store_id owner, left;
    struct usage_slot slot[LEDGER_HALVES][SLOTS_MAX];
    size_t len[LEDGER_HALVES];
    int64_t latest_us;
};

static void take_slot(struct old_file *old, unsigned half, const char *text, int64_t last_used_us,
                      uint64_t count)
{
    struct usage_slot *slot = &old->slot[half][old->len[half]++];

    assert_true(old->len[half] <= SLOTS_MAX);
    *slot = (struct usage_slot){.last_used_us = last_used_us, .count = count};
    assert_true(uuid_from_text(text, &slot->api_key_id));
    if (last_used_us > old->latest_us)
        old->latest_us = last_used_us;
}

static void take_bytes(int fd, int64_t at, const char *hex)
{
    unsigned char bytes[32];
    size_t len = strlen(hex) / 2;

    assert_true(len <= sizeof bytes && hex_decode(hex, len, bytes));
    assert_int_equal(pwrite(fd, bytes, len, at), len);
}

/* Write the file into the scratch folder, and return what is said to be in it. */
static struct old_file restore(const char *folder, const char *name)
{
    struct old_file old = {0};
    char path[4096], line[256], hex[65], id[UUID_TEXT_LEN + 1];
    int64_t number, time;
    uint64_t count;
    unsigned half;

    snprintf(path, sizeof path, DATA "%s/%s.txt", folder, name);
    FILE *text = fopen(path, "r");
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(text && fd >= 0);
    while (fgets(line, sizeof line, text)) {
        struct store_id store = {0};

        if (sscanf(line, "size %" SCNd64, &number) == 1)
            assert_int_equal(ftruncate(fd, number), 0);
        else if (sscanf(line, "bytes %" SCNd64 " %64s", &number, hex) == 2)
            take_bytes(fd, number, hex);
        else if (sscanf(line, "half %u %36s %" SCNd64 " %" SCNu64, &half, id, &time, &count) == 4)
            take_slot(&old, half % LEDGER_HALVES, id, time, count);
        else if (sscanf(line, "slot %36s %" SCNd64 " %" SCNu64, id, &time, &count) == 3)
            take_slot(&old, 0, id, time, count);
        else if (sscanf(line, "%36s %" SCNu64 " %" SCNu32 " %" SCNu32, id, &store.system,
                        &store.database, &store.table) == 4)
            *(strcmp(id, "left") == 0 ? &old.left : &old.owner) = store;
        else
            fail_msg("%s: %s", path, line);
    }
    fclose(text);
    close(fd);
    return old;
}

static void check_ledger(const char *folder)
{
    struct old_file old = restore(folder, "ledger");
    struct ledger_report report;
    struct ledger *ledger = NULL;

    assert_int_equal(
        ledger_open("ledger", ID_UUID, &(struct series_id){0}, old.latest_us, &ledger, &report), 0);
    assert_int_equal(report.error, 0);
    assert_false(report.set_aside);
    assert_true(store_id_same_table(ledger_owner(ledger), &old.owner));
    assert_true(store_id_same_table(ledger_left(ledger), &old.left));
    for (int i = 0; i < LEDGER_HALVES; i++) {
        const struct ledger_half *half = ledger_half(ledger, i);

        assert_true(old.len[i] > 0);
        assert_int_equal(half->used, old.len[i]);
        assert_memory_equal(half->slots, old.slot[i], old.len[i] * sizeof *half->slots);
    }
    ledger_close(ledger);
    unlink("ledger");
}

static void check_spill(const char *folder)
{
    struct old_file old = restore(folder, "spill");
    struct usage_judged judged = {0};
    struct usage_batch batch = {0};

    assert_int_equal(spill_read("spill", old.latest_us, &batch, &judged), 0);
    assert_int_equal(judged.clamped + judged.dropped, 0);
    assert_true(store_id_same_table(&batch.owner, &old.owner));
    assert_true(old.len[0] > 0);
    assert_int_equal(batch.len, old.len[0]);
    assert_memory_equal(batch.slots, old.slot[0], old.len[0] * sizeof *batch.slots);
    usage_batch_free(&batch);
    unlink("spill");
}

static void test_what_earlier_builds_wrote_is_read(void **state)
{
    DIR *data = opendir(DATA);
    int found = 0;

    (void)state;
    assert_non_null(data);
    for (const struct dirent *entry; (entry = readdir(data));) {
        if (entry->d_name[0] == '.')
            continue;
        check_ledger(entry->d_name);
        check_spill(entry->d_name);
        found++;
    }
    closedir(data);
    assert_true(found > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_what_earlier_builds_wrote_is_read, scratch_make,
                                        scratch_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
