/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <apikeyd/ledger/ledger.h>

#include "ledger_map.h"

#define NOW INT64_C(1800000000000000)
#define NEVER UINT32_MAX

static const struct series_id no_series;

static struct ledger *open_ledger(struct ledger_report *report)
{
    struct ledger *ledger = NULL;

    assert_int_equal(ledger_open("ledger", ID_UUID, &no_series, NOW, &ledger, report), 0);
    return ledger;
}

static void record(struct ledger_half *half, uint64_t key, int64_t now_us, uint32_t *hint)
{
    struct row_id id = id_number(key);

    assert_true(ledger_half_record(half, &id, now_us, 0, hint));
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
    assert_int_equal(ledger_open("ledger", ID_UUID, &no_series, NOW, &other, &report),
                     -EWOULDBLOCK);
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
            struct row_id expected = id_number(i + 1);

            assert_memory_equal(&half->slots[i].api_key_id, &expected, 16);
        }
        ledger_close(ledger);
    }
}

/* Every key is twice in half 0, as with a wrong hint, and the odd ones are pending. */
static void fill_twice(uint64_t keys, struct usage_batch *pending)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);
    struct ledger_half *half = ledger_half(ledger, 0);
    struct usage_slot *slots = calloc(keys, sizeof *slots); /* without a time: no entry */

    ledger_half_clear(half);
    for (uint64_t i = 0; i < 2 * keys; i++) {
        uint32_t hint = UINT32_MAX;

        record(half, i / 2, NOW - 1000 * (int64_t)((i + i / 4) % 2), &hint);
    }
    for (uint64_t key = 1; key < keys; key += 2)
        slots[key] = (struct usage_slot){id_number(key).head, NOW - 1000, 0};
    assert_true(usage_batch_merge(pending, slots, keys));
    free(slots);
    ledger_close(ledger);
}

/* Killed after so long, unless that is NEVER. */
static void keep_in_a_child(const struct usage_batch *pending, useconds_t killed_after_us)
{
    pid_t child = fork();

    if (child == 0) {
        struct ledger_report report;
        struct ledger *ledger = open_ledger(&report);

        _exit(!ledger_half_keep(ledger_half(ledger, 0), pending));
    }
    if (killed_after_us != NEVER) {
        usleep(killed_after_us);
        kill(child, SIGKILL);
    }
    waitpid(child, NULL, 0);
}

/* What is pending stays, with its latest time, also when the process is killed on the way. */
static void test_what_is_pending_is_kept(void **state)
{
    enum { KEYS = 2000 };
    struct usage_batch pending = {0};
    struct ledger_report report;

    (void)state;
    for (useconds_t round = 0; round < 40; round++) {
        struct usage_batch found = {0};

        fill_twice(KEYS, &pending);
        keep_in_a_child(&pending, round < 39 ? round * 50 : NEVER);
        struct ledger *ledger = open_ledger(&report);
        struct ledger_half *half = ledger_half(ledger, 0);
        assert_false(report.set_aside);
        assert_true(usage_batch_merge(&found, half->slots, half->used));
        for (size_t i = 0; i < pending.len; i++) {
            const struct row_id id = usage_slot_id(&pending.slots[i], pending.type);
            const struct usage_slot *slot = usage_batch_find(&found, &id);

            assert_non_null(slot);
            assert_int_equal(slot->last_used_us, NOW);
        }
        if (round == 39)
            assert_int_equal(half->used, KEYS / 2);
        usage_batch_free(&found);
        ledger_close(ledger);
    }
    usage_batch_free(&pending);
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
        assert_true(ledger_half(ledger, 1)->slots[i].last_used_us <= NOW);
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
    int64_t future = NOW * 5; /* the year 2255 */

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

static const struct store_id one = {1, 0, 2, 3, 0}, another = {UINT64_MAX, 0, 5, 6, 0}, no_store;

static void assert_owners(const struct store_id *owner, const struct store_id *left)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);

    assert_false(report.set_aside);
    assert_true(store_id_same_table(ledger_owner(ledger), owner));
    assert_true(store_id_same_table(ledger_left(ledger), left));
    ledger_close(ledger);
}

/* The front thread goes on in a new file from some moment on: both tell it. */
static void test_owners_are_in_the_file_at_hand_too(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);

    (void)state;
    assert_int_equal(unlink("ledger"), 0);
    assert_true(ledger_renew(ledger, NOW, &report));
    assert_int_equal(ledger_set_owner(ledger, &one, &another), 0);
    assert_non_null(ledger_fresh_half(ledger));
    ledger_close(ledger);
    assert_owners(&one, &another);
}

static void test_owners_are_there_after_a_restart(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);

    (void)state;
    assert_false(store_id_known(ledger_owner(ledger)) || store_id_known(ledger_left(ledger)));
    assert_int_equal(ledger_set_owner(ledger, &one, &no_store), 0);
    ledger_close(ledger);
    assert_owners(&one, &no_store);
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
    assert_owners(&one, &no_store);
}

/* The host's clock was ahead, and is right again. */
static void test_later_than_now_is_now(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);
    uint32_t hint = UINT32_MAX;

    (void)state;
    record(ledger_half(ledger, 0), 1, NOW + INT64_C(400) * 86400 * 1000000, &hint);
    hint = UINT32_MAX;
    record(ledger_half(ledger, 0), 2, NOW - 7, &hint);
    ledger_close(ledger);
    ledger = open_ledger(&report);
    assert_false(report.set_aside);
    assert_int_equal(report.judged.clamped, 1);
    assert_int_equal(ledger_half(ledger, 0)->used, 2);
    assert_int_equal(ledger_half(ledger, 0)->slots[0].last_used_us, NOW);
    assert_int_equal(ledger_half(ledger, 0)->slots[1].last_used_us, NOW - 7);
    ledger_close(ledger);
}

/* The front uses half 0 and the back half 1, as at a start; what the flusher does at a swap. */
static void swap_to_new_file(struct ledger *ledger, struct usage_batch *pending)
{
    struct ledger_half *old[] = {ledger_half(ledger, 0), ledger_half(ledger, 1)};
    struct ledger_half *fresh = ledger_fresh_half(ledger);

    assert_non_null(fresh);
    assert_int_equal(fresh->used, 0);
    for (int i = 0; i < 2; i++)
        assert_true(usage_batch_merge(pending, old[i]->slots, old[i]->used));
    const struct ledger_half *ours = ledger_succeed(ledger, pending);
    assert_ptr_equal(ours, ledger_half(ledger, 1));
    assert_ptr_equal(ledger_half(ledger, 0), fresh);
}

static void renew(struct ledger *ledger, int error)
{
    struct ledger_report report;

    assert_int_equal(ledger_renew(ledger, NOW, &report), error == 0);
    assert_int_equal(report.error, error);
}

/* Open the ledger while something else is in its place; then that goes, and a file comes. */
static void without_file(int error, int (*clear)(const char *))
{
    struct ledger_report report;
    struct usage_batch pending = {0};
    uint32_t hint = UINT32_MAX;
    struct ledger *ledger = open_ledger(&report);

    assert_int_equal(report.error, error);
    assert_int_equal(ledger_look(ledger), LEDGER_MEMORY);
    record(ledger_half(ledger, 0), 1, NOW, &hint);
    hint = UINT32_MAX;
    record(ledger_half(ledger, 1), 2, NOW, &hint);
    renew(ledger, error);
    assert_null(ledger_fresh_half(ledger));
    assert_int_equal(clear("ledger"), 0);
    renew(ledger, 0);
    swap_to_new_file(ledger, &pending);
    assert_int_equal(pending.len, 2);
    assert_int_equal(ledger_look(ledger), LEDGER_SAFE);
    ledger_close(ledger);
    ledger = open_ledger(&report);
    assert_int_equal(report.error, 0);
    assert_int_equal(ledger_half(ledger, 1)->used, 2);
    ledger_close(ledger);
    usage_batch_free(&pending);
    unlink("ledger");
}

static void test_without_a_file_it_is_in_memory(void **state)
{
    (void)state;
    assert_int_equal(symlink("elsewhere", "ledger"), 0);
    without_file(-ELOOP, unlink);
    assert_int_equal(access("elsewhere", F_OK), -1);
    assert_int_equal(mkdir("ledger", 0700), 0);
    without_file(-EISDIR, rmdir);
    assert_int_equal(mkfifo("ledger", 0600), 0);
    without_file(-ENXIO, unlink);
    close(open("other", O_WRONLY | O_CREAT, 0600));
    assert_int_equal(link("other", "ledger"), 0);
    without_file(-EMLINK, unlink);
    if (geteuid() == 0) {
        close(open("ledger", O_WRONLY | O_CREAT, 0600));
        assert_int_equal(chown("ledger", 1, 1), 0);
        without_file(-EPERM, unlink);
    }
}

/* A file that has no room for its header is not one that is damaged. */
static void test_a_file_without_room_stays_empty(void **state)
{
    const struct rlimit none = {0, RLIM_INFINITY};
    struct rlimit before;
    struct ledger_report report;
    struct stat status;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    struct ledger *ledger = open_ledger(&report);
    assert_int_equal(report.error, -EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(stat("ledger", &status), 0);
    assert_int_equal(status.st_size, 0);
    renew(ledger, 0);
    ledger_close(ledger);
    assert_int_equal(scratch_count("ledger"), 1);
}

static void lose_by(void (*change)(void), enum ledger_state state, uint64_t kept)
{
    struct ledger_report report;
    struct usage_batch pending = {0};
    struct ledger *ledger = open_ledger(&report);
    struct ledger_half *front = ledger_half(ledger, 0);
    const uint64_t before = 3000, keys = 20000;

    for (uint64_t key = 0; key < before; key++) {
        uint32_t hint = UINT32_MAX;

        record(front, key, NOW, &hint);
    }
    assert_int_equal(ledger_look(ledger), LEDGER_SAFE);
    change();
    for (uint64_t key = before; key < keys; key++) { /* goes on, and grows */
        uint32_t hint = UINT32_MAX;

        record(front, key, NOW, &hint);
    }
    assert_int_equal(ledger_look(ledger), state);
    assert_int_equal(ledger_half_lost(front), before - kept);
    assert_true(ledger_map_faults(front->map) <= 3); /* a step at a time, not a page */
    renew(ledger, 0);
    swap_to_new_file(ledger, &pending);
    assert_int_equal(pending.len, keys - before + kept);
    assert_int_equal(ledger_look(ledger), LEDGER_SAFE);
    assert_int_equal(ledger_half(ledger, 1)->used, pending.len);
    ledger_close(ledger);
    usage_batch_free(&pending);
    assert_int_equal(unlink("ledger"), 0);
}

static void cut_to_nothing(void)
{
    assert_int_equal(truncate("ledger", 0), 0);
}

static void cut_in_two(void)
{
    assert_int_equal(truncate("ledger", 65536), 0); /* whole pages of any machine */
}

static void remove_it(void)
{
    assert_int_equal(unlink("ledger"), 0);
}

static void rename_it(void)
{
    assert_int_equal(rename("ledger", "elsewhere"), 0);
}

static void test_a_file_may_be_lost_while_in_use(void **state)
{
    (void)state;
    lose_by(remove_it, LEDGER_NAMELESS, 3000);
    lose_by(rename_it, LEDGER_NAMELESS, 3000);
    lose_by(empty_its_header, LEDGER_BROKEN, 3000);
    lose_by(cut_in_two, LEDGER_BROKEN, (65536 - 4096) / 32);
    lose_by(cut_to_nothing, LEDGER_BROKEN, 0);
}

/* It comes back under its name, with what it held, before there was a new one or after. */
static void test_a_file_comes_back(void **state)
{
    struct ledger_report report;
    struct usage_batch pending = {0};
    struct ledger *ledger = open_ledger(&report);
    uint32_t hint = UINT32_MAX;

    (void)state;
    record(ledger_half(ledger, 0), 1, NOW, &hint);
    rename_it();
    renew(ledger, 0);
    assert_int_equal(rename("elsewhere", "ledger"), 0);
    assert_int_equal(ledger_look(ledger), LEDGER_SAFE);
    assert_false(ledger_renew(ledger, NOW, &report));
    assert_null(ledger_fresh_half(ledger));
    rename_it();
    renew(ledger, 0);
    swap_to_new_file(ledger, &pending);
    hint = UINT32_MAX;
    record(ledger_half(ledger, 0), 2, NOW, &hint);
    assert_int_equal(rename("elsewhere", "ledger"), 0);
    renew(ledger, 0); /* which holds key 1 */
    usage_batch_free(&pending);
    ledger_half_clear(ledger_half(ledger, 1));
    swap_to_new_file(ledger, &pending);
    assert_int_equal(pending.len, 2);
    ledger_close(ledger);
    usage_batch_free(&pending);
}

/* A file of another database, put in the place of the one in use, is kept beside it. */
static void test_usage_of_another_database_is_kept(void **state)
{
    const struct store_id two = {7, 0, 16384, 6, 0};
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);
    uint32_t hint = UINT32_MAX;

    (void)state;
    assert_int_equal(ledger_set_owner(ledger, &two, &no_store), 0);
    record(ledger_half(ledger, 0), 1, NOW, &hint);
    ledger_close(ledger);
    rename_it();
    ledger = open_ledger(&report);
    assert_int_equal(ledger_set_owner(ledger, &one, &no_store), 0);
    assert_int_equal(rename("elsewhere", "ledger"), 0);
    assert_false(ledger_renew(ledger, NOW, &report));
    assert_true(report.set_aside);
    assert_string_equal(report.aside_path, "ledger.damaged-1");
    renew(ledger, 0);
    ledger_close(ledger);
}

static void fill(struct ledger_half *half, uint64_t from, uint64_t to)
{
    for (uint64_t key = from; key < to; key++) {
        uint32_t hint = UINT32_MAX;

        record(half, key, NOW, &hint);
    }
}

/* Where the file system has no room, the half goes on in memory, until it is emptied. A descriptor
 * that cannot be written to stands in for it. */
static void test_without_room_it_goes_on_in_memory(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);
    struct ledger_half *half = ledger_half(ledger, 0);
    const int fd = half->fd;
    const size_t in_file = ledger_map_up_to_page(4096 + 32768 * 32) - 4096;

    (void)state;
    for (int round = 0; round < 2; round++) {
        fill(half, 0, 20000);
        half->fd = open("ledger", O_RDONLY);
        fill(half, 20000, 40000);
        close(half->fd);
        half->fd = fd;
        fill(half, 40000, 70000); /* there is room again, but a file has no gap */
        assert_int_equal(ledger_look(ledger), LEDGER_CROWDED);
        for (uint32_t i = 0; i < half->used; i++) {
            struct row_id expected = id_number(i);

            assert_memory_equal(&half->slots[i].api_key_id, &expected, 16);
        }
        if (round > 0)
            break;
        ledger_half_clear(half);
        fill(half, 0, 70000);
        assert_int_equal(ledger_look(ledger), LEDGER_SAFE);
        ledger_half_clear(half);
        half->reserved = 0; /* as if all had been given back */
    }
    ledger_close(ledger);
    ledger = open_ledger(&report); /* a killed daemon loses what was in memory, and no more */
    assert_false(report.set_aside);
    assert_int_equal(ledger_half(ledger, 0)->used, in_file / 32);
    ledger_close(ledger);
}

/* A start reads what there is, and touches no holes of the file: each page would take memory. */
static void test_a_start_takes_no_room(void **state)
{
    struct ledger_report report;
    struct ledger *ledger = open_ledger(&report);
    struct rusage before, after;
    uint32_t hint = UINT32_MAX;

    (void)state;
    record(ledger_half(ledger, 1), 1, NOW, &hint);
    ledger_close(ledger);
    getrusage(RUSAGE_SELF, &before);
    ledger = open_ledger(&report);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(ledger_half(ledger, 0)->used, 0);
    assert_int_equal(ledger_half(ledger, 1)->used, 1);
    assert_in_range(after.ru_minflt - before.ru_minflt, 0, 2000); /* of 131072 in half 0 */
    ledger_close(ledger);
}

/* What is not the ledger's still kills the process. */
static void test_another_sigbus_has_its_effect(void **state)
{
    struct ledger_report report;
    int status;

    (void)state;
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGBUS, SIG_DFL); /* cmocka's */
        struct ledger *ledger = open_ledger(&report);
        raise(SIGBUS);
        ledger_close(ledger);
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

/* Many slots, over a step, are found again by a ledger of their type only. One of another type is
 * set aside unread, as its slots mean something else. */
static void test_a_ledger_has_one_type_of_ids(void **state)
{
    enum { KEYS = 20000 };

    (void)state;
    for (enum id_type type = ID_UUID; type <= ID_TEXT; type++) {
        enum id_type other = (type + 1) % (ID_TEXT + 1);
        struct usage_batch found = {.type = type};
        struct ledger_report report;
        struct ledger *ledger = NULL;
        struct row_id id = {0};

        assert_int_equal(ledger_open("ledger", type, &no_series, NOW, &ledger, &report), 0);
        for (int i = 0; i < 2 * KEYS; i++) {
            uint32_t hint = (uint32_t)(i % KEYS);

            id.head.bytes[0] = (uint8_t)(i % KEYS >> 8);
            (type == ID_TEXT ? id.rest.bytes : id.head.bytes)[1] = (uint8_t)(i % KEYS);
            assert_true(ledger_half_record(ledger_half(ledger, 0), &id, NOW - 5, 0, &hint));
        }
        assert_int_equal(ledger_half(ledger, 0)->used, KEYS);
        ledger_close(ledger);
        assert_int_equal(ledger_open("ledger", type, &no_series, NOW, &ledger, &report), 0);
        assert_false(report.set_aside);
        struct ledger_half *half = ledger_half(ledger, 0);
        assert_true(usage_batch_merge(&found, half->slots, half->used));
        assert_int_equal(found.len, KEYS);
        assert_int_equal(usage_batch_find(&found, &id)->count, 2);
        assert_true(ledger_half_keep(half, &found));
        assert_int_equal(half->used, KEYS);
        ledger_close(ledger);
        usage_batch_free(&found);

        assert_int_equal(ledger_open("ledger", other, &no_series, NOW, &ledger, &report), 0);
        assert_true(report.set_aside && report.unread);
        assert_int_equal(ledger_half(ledger, 0)->used + ledger_half(ledger, 1)->used, 0);
        ledger_close(ledger);
        assert_int_equal(unlink("ledger"), 0);
        assert_int_equal(rename(report.aside_path, "ledger"), 0);
        assert_int_equal(ledger_open("ledger", type, &no_series, NOW, &ledger, &report), 0);
        assert_int_equal(ledger_half(ledger, 0)->used, KEYS); /* whole as before */
        ledger_close(ledger);
        assert_int_equal(unlink("ledger"), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_ledger_has_one_type_of_ids, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_another_sigbus_has_its_effect, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_a_hint_finds_its_slot, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_memory_is_given_back, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_a_start_takes_no_room, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_grows_and_is_there_after_a_restart, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_one_daemon_at_a_time, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_survives_sigkill, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_what_is_pending_is_kept, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_owners_are_in_the_file_at_hand_too, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_owners_are_there_after_a_restart, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_the_header_before_this_one, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_damage_is_set_aside_and_saved_from, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_later_than_now_is_now, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_without_a_file_it_is_in_memory, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_a_file_without_room_stays_empty, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_a_file_may_be_lost_while_in_use, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_a_file_comes_back, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_usage_of_another_database_is_kept, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_without_room_it_goes_on_in_memory, scratch_make,
                                        scratch_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
