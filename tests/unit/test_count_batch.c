/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <apikeyd/ledger/ledger.h>

#define NOW INT64_C(1800000000000000)
#define HOUR 500000U

static const struct series_id one = {{1}}, two = {{2}}, none;

static struct ledger *open_ledger(const struct series_id *series)
{
    struct ledger_report report;
    struct ledger *ledger = NULL;

    assert_int_equal(ledger_open("ledger", ID_UUID, series, NOW, &ledger, &report), 0);
    assert_int_equal(report.counts_error, 0);
    assert_false(report.set_aside);
    ledger_gather(ledger);
    return ledger;
}

static void use(struct ledger_half *half, uint64_t key, enum verdict_kind kind, uint32_t hour,
                unsigned times)
{
    const struct row_id id = id_number(key);
    uint32_t hint = UINT32_MAX;

    for (unsigned i = 0; i < times; i++)
        assert_true(ledger_half_record(half, &id, NOW, usage_tag(kind, hour), &hint));
}

static void assert_row(const struct count_batch *batch, size_t i, uint64_t key,
                       enum verdict_kind kind, uint32_t hour, uint64_t uses)
{
    const struct row_id id = id_number(key);

    assert_true(i < batch->len);
    assert_memory_equal(&batch->rows[i].id, &id, sizeof id);
    assert_int_equal(batch->rows[i].verdict, kind);
    assert_int_equal(batch->rows[i].hour, hour);
    assert_int_equal(batch->rows[i].uses, uses);
}

/* Another verdict and another hour have slots of their own; a clock may go back. */
static void test_a_slot_counts_for_one_verdict_and_hour(void **state)
{
    struct ledger *ledger = open_ledger(&one);
    struct ledger_half *half = ledger_half(ledger, 0);
    const struct row_id id = id_number(1);
    struct count_batch *batch;
    uint32_t hint = UINT32_MAX;

    (void)state;
    assert_int_equal(half->number, 1);
    const uint32_t hours[] = {HOUR, HOUR, HOUR + 1, HOUR, HOUR + 1, HOUR + 1};
    for (size_t i = 0; i < sizeof hours / sizeof hours[0]; i++)
        assert_true(ledger_half_record(half, &id, NOW, usage_tag(VERDICT_ALLOW, hours[i]), &hint));
    use(half, 1, VERDICT_DENY_INACTIVE, HOUR, 5);
    use(half, 0, VERDICT_DENY_EARLY, HOUR, 2);
    assert_int_equal(half->used, 6);
    assert_true(count_batch_from_half(half, &one, &batch));
    assert_int_equal(batch->len, 4);
    assert_row(batch, 0, 0, VERDICT_DENY_EARLY, HOUR, 2);
    assert_row(batch, 1, 1, VERDICT_ALLOW, HOUR, 3);
    assert_row(batch, 2, 1, VERDICT_DENY_INACTIVE, HOUR, 5);
    assert_row(batch, 3, 1, VERDICT_ALLOW, HOUR + 1, 3);
    assert_int_equal(count_batch_uses(batch), 13);
    count_batch_free(batch);

    struct usage_batch usage = {.type = ID_UUID};
    assert_true(usage_batch_merge(&usage, half->slots, half->used));
    assert_int_equal(usage.len, 1); /* a refusal is no use */
    assert_int_equal(usage.slots[0].count, 6);
    usage_batch_free(&usage);
    ledger_close(ledger);
}

/* IDs of type text take two slots. */
static void test_text_counts_too(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = NULL;
    struct count_batch *batch;
    struct row_id a, b;
    uint32_t hint = 0;

    (void)state;
    assert_true(row_id_from_text((struct slice){"the-same-sixteen-bytes-and-a", 28}, ID_TEXT, &a));
    assert_true(row_id_from_text((struct slice){"the-same-sixteen-bytes-and-b", 28}, ID_TEXT, &b));
    assert_int_equal(ledger_open("ledger", ID_TEXT, &one, NOW, &ledger, &report), 0);
    ledger_gather(ledger);
    for (int i = 0; i < 6; i++)
        assert_true(ledger_half_record(ledger_half(ledger, 0), i % 3 ? &a : &b, NOW,
                                       usage_tag(VERDICT_ALLOW, HOUR), &hint));
    assert_true(count_batch_from_half(ledger_half(ledger, 0), &one, &batch));
    assert_int_equal(batch->len, 2);
    assert_memory_equal(&batch->rows[0].id, &a, sizeof a);
    assert_int_equal(batch->rows[0].uses, 4);
    assert_memory_equal(&batch->rows[1].id, &b, sizeof b);
    assert_int_equal(batch->rows[1].uses, 2);
    count_batch_free(batch);
    ledger_close(ledger);
}

/* What a killed daemon leaves has its series and numbers, however often it is found, and once only.
 */
static void test_what_is_found_keeps_its_name(void **state)
{
    struct ledger *ledger = open_ledger(&one);

    (void)state;
    use(ledger_half(ledger, 0), 1, VERDICT_ALLOW, HOUR, 3);
    assert_int_equal(ledger_give(ledger, ledger_half(ledger, 1)), 0);
    use(ledger_half(ledger, 1), 2, VERDICT_ALLOW, HOUR, 4);
    ledger_close(ledger);
    for (uint8_t run = 2; run < 5; run++) {
        const struct series_id series = {{run}};
        ledger = open_ledger(run == 4 ? &none : &series);
        struct count_list list = TAILQ_HEAD_INITIALIZER(list);

        ledger_take_counts(ledger, &list);
        const struct count_batch *batch = TAILQ_FIRST(&list);

        assert_memory_equal(&batch->series, &one, sizeof one);
        assert_int_equal(batch->first, 1);
        assert_row(batch, 0, 1, VERDICT_ALLOW, HOUR, 3);
        batch = TAILQ_NEXT(batch, in_list);
        assert_int_equal(batch->last, 2);
        assert_row(batch, 0, 2, VERDICT_ALLOW, HOUR, 4);
        assert_null(TAILQ_NEXT(batch, in_list));
        count_list_free(&list);

        struct usage_batch usage = {.type = ID_UUID};
        assert_true(
            usage_batch_merge(&usage, ledger_half(ledger, 1)->slots, ledger_half(ledger, 1)->used));
        assert_int_equal(usage.len, 2); /* last_used is found too */
        usage_batch_free(&usage);
        ledger_close(ledger);
    }
}

/* A half that was being emptied when the daemon was killed counts less than the file does. */
static void test_the_whole_one_of_two_copies_remains(void **state)
{
    struct ledger *ledger = open_ledger(&one);
    struct ledger_half *half = ledger_half(ledger, 0);
    struct count_list list = TAILQ_HEAD_INITIALIZER(list);
    struct count_batch *batch[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        use(half, (uint64_t)i, VERDICT_ALLOW, HOUR, 1);
        assert_true(count_batch_from_half(half, &one, &batch[i]));
    }
    TAILQ_INSERT_TAIL(&list, batch[2], in_list);
    TAILQ_INSERT_TAIL(&list, batch[0], in_list);
    TAILQ_INSERT_TAIL(&list, batch[1], in_list);
    count_list_prune(&list);
    assert_ptr_equal(TAILQ_FIRST(&list), batch[2]);
    assert_null(TAILQ_NEXT(batch[2], in_list));
    /* What was merged contains its parts, and others of the series are put in order. */
    struct count_batch *later[3];
    for (int i = 0; i < 3; i++) {
        half->number = (uint64_t[]){4, 2, 3}[i];
        assert_true(count_batch_from_half(half, &one, &later[i]));
    }
    struct count_batch *part;
    half->number = 3;
    assert_true(count_batch_from_half(half, &one, &part));
    assert_false(count_batch_merge(later[1], later[2], 2));
    assert_int_equal(later[1]->last, 2);
    assert_true(count_batch_merge(later[1], later[2], 3));
    TAILQ_INSERT_HEAD(&list, part, in_list);
    TAILQ_INSERT_HEAD(&list, later[0], in_list);
    TAILQ_INSERT_TAIL(&list, later[1], in_list);
    count_list_prune(&list);
    assert_ptr_equal(TAILQ_FIRST(&list), batch[2]);
    assert_ptr_equal(TAILQ_NEXT(batch[2], in_list), later[1]);
    assert_ptr_equal(TAILQ_NEXT(later[1], in_list), later[0]);
    assert_int_equal(count_list_rows(&list), 9);
    assert_int_equal(later[1]->rows[0].uses, 2);
    count_list_free(&list);
    ledger_close(ledger);
}

/* Numbers grow with each row, and from batch to batch, whatever was merged. */
static void test_numbers_grow(void **state)
{
    struct count_batch batch = {.first = 7, .last = 7, .len = 2 * COUNT_CHUNK + 1};
    struct count_batch next = {.first = 8, .last = 11, .len = COUNT_CHUNK + 1};

    (void)state;
    assert_int_equal(count_batch_number(&batch, 0), (uint64_t)6 << 24);
    assert_int_equal(count_batch_number(&batch, 1), ((uint64_t)6 << 24) + 1);
    assert_int_equal(count_batch_number(&batch, batch.len - 1),
                     ((uint64_t)6 << 24) + batch.len - 1);
    assert_int_equal(count_batch_number(&batch, batch.len), (uint64_t)7 << 24);
    assert_true(count_batch_number(&next, 0) >= count_batch_number(&batch, batch.len));
    assert_true(count_batch_number(&next, next.len) > count_batch_number(&next, next.len - 1));
}

static void test_the_file_holds_all_or_nothing(void **state)
{
    struct ledger *ledger = open_ledger(&one);
    struct ledger_half *half = ledger_half(ledger, 0);
    struct count_list list = TAILQ_HEAD_INITIALIZER(list), back = TAILQ_HEAD_INITIALIZER(back);
    struct buffer image = {0};
    struct count_batch *batch;
    struct stat status;

    (void)state;
    for (uint64_t number = 1; number <= 3; number++) {
        half->number = number;
        use(half, number, VERDICT_ALLOW, HOUR, 2);
        assert_true(count_batch_from_half(half, &two, &batch));
        batch->owner = (struct store_id){5, 0, 6, 7, 0};
        TAILQ_INSERT_TAIL(&list, batch, in_list);
    }
    count_file_image(&list, &image);
    assert_int_equal(count_file_write("counts", buffer_held(&image)), 0);
    assert_int_equal(count_file_read("counts", ID_TEXT, &back), -EMEDIUMTYPE);
    assert_int_equal(count_file_read("none", ID_UUID, &back), 0);
    assert_true(TAILQ_EMPTY(&back));
    assert_int_equal(count_file_read("counts", ID_UUID, &back), 0);
    assert_int_equal(count_list_rows(&back), 6);
    batch = TAILQ_LAST(&back, count_list);
    assert_memory_equal(&batch->series, &two, sizeof two);
    assert_int_equal(batch->last, 3);
    assert_int_equal(batch->safe, 3);
    assert_true(batch->found && batch->owner.table == 7);
    count_list_free(&back);

    assert_int_equal(stat("counts", &status), 0);
    for (off_t size = status.st_size - 1; size >= 0; size -= 37) {
        assert_int_equal(truncate("counts", size), 0);
        assert_int_equal(count_file_read("counts", ID_UUID, &back), -EBADMSG);
        assert_true(TAILQ_EMPTY(&back));
    }
    for (size_t at = 0; at < image.len; at += 13) {
        char *byte = image.data + image.start + at;

        *byte ^= 4;
        assert_int_equal(count_file_write("counts", buffer_held(&image)), 0);
        assert_true(count_file_read("counts", ID_UUID, &back) < 0);
        assert_true(TAILQ_EMPTY(&back));
        *byte ^= 4;
    }
    buffer_free(&image);
    count_list_free(&list);
    ledger_close(ledger);
}

/* Killed at random moments: of what was recorded, each use is found, and at most the last one more.
 */
static void test_a_killed_process_has_counted_each_use(void **state)
{
    enum { KEYS = 50 };

    (void)state;
    for (int round = 0; round < 10; round++) {
        int pipe_fd[2];
        uint64_t done = 0;

        assert_int_equal(pipe(pipe_fd), 0);
        pid_t child = fork();
        if (child == 0) {
            struct ledger *ledger = open_ledger(&one);
            uint32_t hint[KEYS] = {0};

            for (uint64_t uses = 1;; uses++) {
                const struct row_id id = id_number(uses * 7 % KEYS);

                if (!ledger_half_record(ledger_half(ledger, 0), &id, NOW,
                                        usage_tag(VERDICT_ALLOW, HOUR), &hint[uses * 7 % KEYS]) ||
                    write(pipe_fd[1], &uses, sizeof uses) < 0)
                    _exit(1);
            }
        }
        close(pipe_fd[1]);
        while (done < (uint64_t)(round + 1) * 100)
            assert_int_equal(read(pipe_fd[0], &done, sizeof done), sizeof done);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        for (uint64_t more; read(pipe_fd[0], &more, sizeof more) == sizeof more;)
            done = more;
        close(pipe_fd[0]);
        struct ledger *ledger = open_ledger(&two);
        struct count_list list = TAILQ_HEAD_INITIALIZER(list);

        ledger_take_counts(ledger, &list);
        uint64_t uses = count_batch_uses(TAILQ_FIRST(&list));
        assert_true(uses == done || uses == done + 1);
        assert_null(TAILQ_NEXT(TAILQ_FIRST(&list), in_list));
        count_list_free(&list);
        ledger_close(ledger);
        assert_int_equal(unlink("ledger"), 0);
        assert_int_equal(unlink("ledger.counts"), 0);
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)
    const struct CMUnitTest tests[] = {
        TEST(test_a_slot_counts_for_one_verdict_and_hour),
        TEST(test_text_counts_too),
        TEST(test_what_is_found_keeps_its_name),
        TEST(test_the_whole_one_of_two_copies_remains),
        TEST(test_numbers_grow),
        TEST(test_the_file_holds_all_or_nothing),
        TEST(test_a_killed_process_has_counted_each_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
