/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "apikeyd/ledger.h"

#define NOW INT64_C(1800000000000000)

static struct ledger *open_ledger(struct ledger_report *report)
{
    struct ledger *ledger = NULL;

    assert_int_equal(ledger_open("ledger", NOW, &ledger, report), 0);
    return ledger;
}

static void record(struct ledger_half *half, uint64_t key, int64_t now_us, uint32_t *hint)
{
    struct uuid id = uuid_number(key);

    assert_true(ledger_half_record(half, &id, now_us, hint));
}

static void test_a_hint_finds_its_slot(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);
    struct ledger_half *half = ledger_half(ledger, 0);
    uint32_t one = 0, two = 0;

    (void)state;
    assert_false(report.on_disk);
    record(half, 1, NOW, &one);
    record(half, 2, NOW, &two); /* its hint, 0, is another key's slot */
    record(half, 1, NOW + 5, &one);
    record(half, 1, NOW + 3, &one); /* never back */
    assert_int_equal(half->used, 2);
    assert_int_equal(half->slots[one].last_used_us, NOW + 5);
    assert_int_equal(half->slots[one].count, 3);
    assert_int_equal(half->slots[two].count, 1);
    ledger_half_clear(half);
    assert_int_equal(half->used, 0);
    record(half, 2, NOW, &two); /* a stale hint is noticed */
    assert_int_equal(two, 0);
    ledger_close(ledger);
}

/* What a busy time took is not kept for ever. */
static void test_memory_is_given_back(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);
    struct ledger_half *half = ledger_half(ledger, 0);
    struct stat busy, quiet;
    uint32_t hint;

    (void)state;
    for (uint64_t key = 0; key < 100000; key++) {
        hint = UINT32_MAX;
        record(half, key, NOW, &hint);
    }
    ledger_half_clear(half);
    assert_true(half->reserved >= 100000); /* the next round is likely to be as busy */
    hint = UINT32_MAX;
    record(half, 1, NOW, &hint);
    assert_int_equal(fstat(half->fd, &busy), 0);
    ledger_half_clear(half);
    assert_int_equal(fstat(half->fd, &quiet), 0);
    assert_true(quiet.st_blocks < busy.st_blocks / 4);
    for (uint64_t key = 0; key < 100000; key++) { /* and it can grow again */
        hint = UINT32_MAX;
        record(half, key, NOW, &hint);
    }
    assert_int_equal(half->used, 100000);
    ledger_close(ledger);
}

static void test_grows_and_is_there_after_a_restart(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);
    const uint64_t many = 100000; /* several steps of growth */

    (void)state;
    for (uint64_t key = 0; key < many; key++) {
        uint32_t hint = 0;

        record(ledger_half(ledger, (int)(key % 2)), key, NOW - (int64_t)key, &hint);
    }
    ledger_close(ledger);
    ledger = open_ledger(&report);
    assert_false(report.set_aside);
    for (int i = 0; i < LEDGER_HALVES; i++) {
        const struct ledger_half *half = ledger_half(ledger, i);

        assert_int_equal(half->used, many / 2);
        for (uint32_t k = 0; k < half->used; k++)
            assert_int_equal(half->slots[k].last_used_us, NOW - (int64_t)(2 * k) - i);
    }
    /* And goes on from there. */
    uint32_t hint = 0;
    record(ledger_half(ledger, 0), 777777, NOW, &hint);
    assert_int_equal(hint, many / 2);
    ledger_close(ledger);
}

static void test_one_daemon_at_a_time(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report), *other;

    (void)state;
    assert_int_equal(ledger_open("ledger", NOW, &other, &report), -EWOULDBLOCK);
    ledger_close(ledger);
    ledger_close(open_ledger(&report));
}

/* Killed at random moments, a process leaves whole slots and loses nothing it finished. */
static void test_survives_sigkill(void **state)
{
    struct ledger_report report;

    (void)state;
    for (int round = 0; round < 20; round++) {
        int pipe_fd[2];
        uint64_t done = 0;

        assert_int_equal(pipe(pipe_fd), 0);
        pid_t child = fork();
        if (child == 0) {
            struct ledger *ledger = open_ledger(&report);

            ledger_half_clear(ledger_half(ledger, 0));
            for (uint64_t key = 1;; key++) {
                uint32_t hint = UINT32_MAX;

                record(ledger_half(ledger, 0), key, NOW, &hint);
                if (write(pipe_fd[1], &key, sizeof key) < 0)
                    _exit(1);
            }
        }
        close(pipe_fd[1]);
        while (done < 200 + (uint64_t)round * 100)
            assert_int_equal(read(pipe_fd[0], &done, sizeof done), sizeof done);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (read(pipe_fd[0], &done, sizeof done) == sizeof done)
            ;
        close(pipe_fd[0]);

        struct ledger *ledger = open_ledger(&report);
        const struct ledger_half *half = ledger_half(ledger, 0);
        assert_false(report.set_aside);
        assert_in_range(half->used, done, done + 1);
        for (uint32_t i = 0; i < half->used; i++) {
            struct uuid expected = uuid_number(i + 1);

            assert_memory_equal(&half->slots[i].api_key_id, &expected, 16);
        }
        ledger_close(ledger);
    }
}

/* Damage a ledger that holds `keys` entries in half 0, open it, and count what was saved. */
static size_t saved_after(void (*damage)(void), uint64_t keys)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);
    size_t saved;

    ledger_half_clear(ledger_half(ledger, 0));
    ledger_half_clear(ledger_half(ledger, 1));
    for (uint64_t key = 0; key < keys; key++) {
        uint32_t hint = UINT32_MAX;

        record(ledger_half(ledger, 0), key, NOW, &hint);
    }
    ledger_close(ledger);
    int before = scratch_count("ledger.damaged");
    damage();
    ledger = open_ledger(&report);
    assert_true(report.set_aside);
    assert_non_null(report.damage);
    assert_int_equal(access(report.aside_path, F_OK), 0);
    assert_int_equal(scratch_count("ledger.damaged"), before + 1);
    assert_int_equal(ledger_half(ledger, 0)->used, 0);
    saved = ledger_half(ledger, 1)->used;
    for (size_t i = 0; i < saved; i++)
        assert_true(ledger_half(ledger, 1)->slots[i].last_used_us <= NOW + 86400000000);
    ledger_close(ledger);
    return saved;
}

static void truncate_it(void)
{
    assert_int_equal(truncate("ledger", 4096 + 50 * 32), 0);
}

static void empty_its_header(void)
{
    int fd = open("ledger", O_WRONLY);
    char zero[4096] = {0};

    assert_int_equal(pwrite(fd, zero, sizeof zero, 0), sizeof zero);
    close(fd);
}

static void fill_with_noise(void)
{
    int fd = open("ledger", O_WRONLY | O_TRUNC);
    uint64_t noise = 88172645463325252;

    for (int i = 0; i < 20000; i++) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        assert_int_equal(write(fd, &noise, sizeof noise), sizeof noise);
    }
    close(fd);
}

static void scribble_on_a_slot(void)
{
    int fd = open("ledger", O_WRONLY);
    int64_t future = NOW * 2;

    assert_int_equal(pwrite(fd, &future, sizeof future, 4096 + 20 * 32 + 16), sizeof future);
    close(fd);
}

static void leave_a_gap(void)
{
    int fd = open("ledger", O_WRONLY);
    int64_t zero = 0;

    assert_int_equal(pwrite(fd, &zero, sizeof zero, 4096 + 20 * 32 + 16), sizeof zero);
    close(fd);
}

static void test_damage_is_set_aside_and_saved_from(void **state)
{
    (void)state;
    assert_int_equal(saved_after(truncate_it, 100), 50);
    assert_int_equal(saved_after(empty_its_header, 100), 100);
    assert_in_range(saved_after(fill_with_noise, 100), 0, 5);
    assert_int_equal(saved_after(scribble_on_a_slot, 100), 99);
    assert_int_equal(saved_after(leave_a_gap, 100), 99);
}

static const struct store_id one = {1, 0, 2, 3, 0}, another = {UINT64_MAX, 0, 5, 6, 0}, none;

static void assert_owners(const struct store_id *owner, const struct store_id *left)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);

    assert_false(report.set_aside);
    assert_true(store_id_same_table(ledger_owner(ledger), owner));
    assert_true(store_id_same_table(ledger_left(ledger), left));
    ledger_close(ledger);
}

static void test_owners_are_there_after_a_restart(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);

    (void)state;
    assert_false(store_id_known(ledger_owner(ledger)) || store_id_known(ledger_left(ledger)));
    assert_int_equal(ledger_set_owner(ledger, &one, &none), 0);
    ledger_close(ledger);
    assert_owners(&one, &none);
    ledger = open_ledger(&report);
    assert_int_equal(ledger_set_owner(ledger, &another, &one), 0);
    ledger_close(ledger);
    assert_owners(&another, &one);
    /* A wrong size is no reason to forget whose usage is saved. */
    truncate_it();
    ledger = open_ledger(&report);
    assert_true(report.set_aside);
    ledger_close(ledger);
    assert_owners(&another, &one);
}

/* As an earlier version wrote it, byte by byte: without an earlier owner. */
static void test_the_header_before_this_one(void **state)
{
    static const uint32_t words[] = {2, 32, 1 << 24, 2, 3, 0, 1, 0};
    char header[64] = "apikeyd ledger\n";
    uint32_t check = UINT32_C(2166136261);
    struct ledger_report report;

    (void)state;
    ledger_close(open_ledger(&report));
    memcpy(header + 16, words, sizeof words);
    for (size_t i = 0; i < 48; i++)
        check = (check ^ (unsigned char)header[i]) * UINT32_C(16777619);
    memcpy(header + 48, &check, sizeof check);
    int fd = open("ledger", O_WRONLY);
    assert_int_equal(pwrite(fd, header, sizeof header, 0), sizeof header);
    close(fd);
    assert_owners(&one, &none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_hint_finds_its_slot, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_memory_is_given_back, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_grows_and_is_there_after_a_restart, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_one_daemon_at_a_time, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_survives_sigkill, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_owners_are_there_after_a_restart, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_the_header_before_this_one, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_damage_is_set_aside_and_saved_from, scratch_make,
                                        scratch_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
