/* SPDX-License-Identifier: MIT */
#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <apikeyd/base/state_file.h>
#include <apikeyd/ledger/spill.h>

#define NOW INT64_C(1800000000000000)

static struct usage_judged judged;

static struct usage_batch some(uint64_t len)
{
    struct usage_batch batch = {0};

    for (uint64_t i = 0; i < len; i++) {
        struct usage_slot slot = {id_number(i).head, NOW - 1000 + (int64_t)i, i};

        assert_true(usage_batch_merge(&batch, &slot, 1));
    }
    return batch;
}

static ssize_t read_file(int fd, void *bytes, size_t size)
{
    return pread(fd, bytes, size, 0);
}

static void test_reads_what_it_wrote(void **state)
{
    struct usage_batch written = some(100), read = {0};

    (void)state;
    assert_int_equal(spill_read("spill", NOW, &read, &judged), 0); /* no file is no error */
    assert_int_equal(spill_write("spill", &written), 0);
    assert_int_equal(spill_write("spill", &written), 0);
    assert_int_equal(spill_read("spill", NOW, &read, &judged), 0);
    assert_int_equal(read.len, 100);
    assert_memory_equal(read.slots, written.slots, 100 * sizeof *read.slots);
    assert_int_equal(scratch_count("spill"), 1);
    assert_int_equal(spill_remove("spill"), 0);
    assert_int_equal(spill_remove("spill"), 0);
    usage_batch_free(&written);
    usage_batch_free(&read);
}

static void test_a_cut_file_gives_what_is_whole(void **state)
{
    struct usage_batch written = some(100);

    (void)state;
    assert_int_equal(spill_write("spill", &written), 0);
    struct stat status;
    assert_int_equal(stat("spill", &status), 0);
    for (off_t size = status.st_size - 1; size > 0; size -= 97) {
        struct usage_batch read = {0};

        assert_int_equal(truncate("spill", size), 0);
        assert_int_equal(spill_read("spill", NOW, &read, &judged), -EBADMSG);
        assert_true((off_t)(read.len * 32) <= size);
        assert_true((off_t)((read.len + 3) * 32) > size - 32);
        usage_batch_free(&read);
    }
    usage_batch_free(&written);
}

static void test_noise_is_no_time(void **state)
{
    struct usage_batch written = some(100), read = {0};
    int fd;

    (void)state;
    assert_int_equal(spill_write("spill", &written), 0);
    fd = open("spill", O_WRONLY);
    for (off_t at = 40; at < 3200; at += 8) {
        uint64_t noise = (uint64_t)at * UINT64_C(0x9e3779b97f4a7c15);

        assert_int_equal(pwrite(fd, &noise, sizeof noise, at), sizeof noise);
    }
    close(fd);
    assert_int_equal(spill_read("spill", NOW, &read, &judged), -EBADMSG);
    for (size_t i = 0; i < read.len; i++)
        assert_in_range(read.slots[i].last_used_us, 946684800000000, NOW);
    usage_batch_free(&written);
    usage_batch_free(&read);
}

/* A host's clock was ahead when they were written, or the disk has changed a bit of one. */
static void test_times_are_judged_one_by_one(void **state)
{
    struct usage_batch written = some(6), read = {0};

    (void)state;
    written.slots[0].last_used_us = NOW + INT64_C(400) * 86400 * 1000000;
    written.slots[1].last_used_us = NOW + 1;
    written.slots[2].last_used_us = INT64_C(946684799999999); /* 1999 */
    written.slots[3].last_used_us = -5;
    written.slots[4].last_used_us = 0;
    written.slots[5].last_used_us = INT64_C(946684800000000);
    assert_int_equal(spill_write("spill", &written), 0);
    judged = (struct usage_judged){0};
    assert_int_equal(spill_read("spill", NOW, &read, &judged), 0);
    assert_int_equal(judged.clamped, 2);
    assert_int_equal(judged.dropped, 3);
    assert_int_equal(read.len, 3);
    assert_int_equal(read.slots[0].last_used_us, NOW);
    assert_int_equal(read.slots[1].last_used_us, NOW);
    assert_int_equal(read.slots[2].last_used_us, INT64_C(946684800000000));
    usage_batch_free(&read);
    /* A host that does not know the time yet takes none for later than it. */
    assert_int_equal(spill_read("spill", 1000000, &read, &judged), 0);
    assert_int_equal(read.slots[1].last_used_us, NOW + 1);
    usage_batch_free(&written);
    usage_batch_free(&read);
}

/* What is in the file's place is neither followed nor waited for. */
static void test_only_a_file_of_its_own_is_read(void **state)
{
    struct usage_batch written = some(1), read = {0};
    char path[64];

    (void)state;
    assert_int_equal(spill_write("target", &written), 0);
    assert_int_equal(symlink("target", "spill"), 0);
    assert_int_equal(spill_read("spill", NOW, &read, &judged), -ELOOP);
    assert_int_equal(symlink("target", "spill.lock"), 0);
    assert_int_equal(spill_lock("spill"), -ELOOP);
    unlink("spill");
    assert_int_equal(mkfifo("spill", 0600), 0);
    assert_int_equal(spill_read("spill", NOW, &read, &judged), -ENXIO);
    unlink("spill");
    assert_int_equal(link("target", "spill"), 0);
    assert_int_equal(spill_read("spill", NOW, &read, &judged), -EMLINK);
    unlink("spill");
    assert_int_equal(mkdir("spill", 0700), 0);
    assert_int_equal(spill_read("spill", NOW, &read, &judged), -EISDIR);
    assert_int_equal(state_file_set_aside("spill", path, sizeof path), 0);
    assert_int_equal(rmdir(path), 0);
    if (geteuid() == 0) {
        assert_int_equal(spill_write("spill", &written), 0);
        assert_int_equal(chown("spill", 1, 1), 0);
        assert_int_equal(spill_read("spill", NOW, &read, &judged), -EPERM);
    }
    /* Nor is it written through. */
    assert_int_equal(symlink("victim", "spill.new"), 0);
    assert_int_equal(spill_write("spill", &written), 0);
    assert_int_equal(access("victim", F_OK), -1);
    assert_int_equal(read.len, 0);
    usage_batch_free(&written);
}

static void test_a_failed_write_leaves_the_old_file(void **state)
{
    struct usage_batch old = some(10), new = some(20), read = {0};

    (void)state;
    assert_int_equal(spill_write("spill", &old), 0);
    assert_int_equal(mkdir("spill.new", 0700), 0); /* in the way of the temporary file */
    assert_int_equal(spill_write("spill", &new), -EISDIR);
    assert_int_equal(rmdir("spill.new"), 0);
    assert_int_equal(spill_read("spill", NOW, &read, &judged), 0);
    assert_int_equal(read.len, 10);
    usage_batch_free(&old);
    usage_batch_free(&new);
    usage_batch_free(&read);
}

static void test_nothing_set_aside_is_lost(void **state)
{
    char path[64];

    (void)state;
    for (int i = 1; i <= 3; i++) {
        char expected[64];

        close(open("file", O_WRONLY | O_CREAT, 0600));
        assert_int_equal(state_file_set_aside("file", path, sizeof path), 0);
        snprintf(expected, sizeof expected, "file.damaged-%d", i);
        assert_string_equal(path, expected);
    }
    assert_int_equal(scratch_count("file"), 3);
    /* And a folder is not filled with them. */
    for (int i = 4; i <= STATE_FILE_ASIDE_MAX; i++) {
        close(open("file", O_WRONLY | O_CREAT, 0600));
        assert_int_equal(state_file_set_aside("file", path, sizeof path), 0);
    }
    close(open("file", O_WRONLY | O_CREAT, 0600));
    assert_int_equal(state_file_set_aside("file", path, sizeof path), -ENOTUNIQ);
}

static void test_set_aside_for_another_store(void **state)
{
    const struct store_id owner = {7, 0, 16384, 5, 0}, other = {7, 0, 16384, 6, 0};
    struct usage_batch first = some(10), second = some(20), read = {0};
    char path[SPILL_PATH_SIZE], elsewhere[SPILL_PATH_SIZE];

    (void)state;
    first.owner = second.owner = owner;
    assert_true(spill_aside_path("spill", &owner, path));
    assert_true(spill_aside_path("spill", &other, elsewhere));
    assert_string_equal(path, "spill.7-16384-5");
    assert_string_not_equal(path, elsewhere);
    assert_int_equal(spill_set_aside("spill", NOW, &first, &judged), 0);
    assert_int_equal(spill_set_aside("spill", NOW, &second, &judged), 0);
    assert_int_equal(spill_read(path, NOW, &read, &judged), 0);
    assert_int_equal(read.len, 20);
    assert_true(store_id_same_table(&read.owner, &owner));
    assert_int_equal(spill_remove(path), 0);
    usage_batch_free(&first);
    usage_batch_free(&second);
    usage_batch_free(&read);
}

/* As daemons before the owner wrote it. */
static void test_reads_version_1(void **state)
{
    struct usage_batch written = some(3), read = {0};
    unsigned char bytes[200] = {0};

    (void)state;
    assert_int_equal(spill_write("spill", &written), 0);
    int fd = open("spill", O_RDWR);
    ssize_t len = read_file(fd, bytes, sizeof bytes);
    assert_int_equal(len, 56 + 3 * 32);
    memmove(bytes + 40, bytes + 56, 3 * 32);
    bytes[16] = 1;
    assert_int_equal(pwrite(fd, bytes, 40 + 3 * 32, 0), 40 + 3 * 32);
    assert_int_equal(ftruncate(fd, 40 + 3 * 32), 0);
    close(fd);
    assert_int_equal(spill_read("spill", NOW, &read, &judged), 0);
    assert_int_equal(read.len, 3);
    assert_false(store_id_known(&read.owner));
    assert_int_equal(spill_remove("spill"), 0);
    usage_batch_free(&written);
    usage_batch_free(&read);
}

/* Beside the spill file as in its place. */
static void test_a_file_has_one_type_of_ids(void **state)
{
    (void)state;
    for (enum id_type type = ID_UUID; type <= ID_TEXT; type++) {
        enum id_type other = (type + 1) % (ID_TEXT + 1);
        struct usage_batch written = {.type = type}, read = {.type = type}, none = {.type = other};
        struct row_id id = {0};
        char path[SPILL_PATH_SIZE];

        for (uint8_t i = 0; i < 100; i++) {
            struct usage_slot slot[2] = {{.last_used_us = NOW - 1000, .count = i}};

            (type == ID_TEXT ? id.rest.bytes : id.head.bytes)[1] = i;
            usage_slot_set_id(slot, type, &id);
            assert_true(usage_batch_merge(&written, slot, 1));
        }
        assert_int_equal(spill_write("spill", &written), 0);
        assert_int_equal(spill_read("spill", NOW, &read, &judged), 0);
        assert_int_equal(read.len, 100);
        assert_memory_equal(read.slots, written.slots, 100 * usage_slot_size(type));
        assert_int_equal(spill_read("spill", NOW, &none, &judged), -EMEDIUMTYPE);
        assert_int_equal(none.len, 0);

        /* Usage of another store is not added to a file of another type, which stays. */
        assert_true(spill_aside_path("spill", &written.owner, path));
        assert_int_equal(rename("spill", path), 0);
        assert_true(usage_batch_merge(&none, (struct usage_slot[2]){{.last_used_us = NOW}}, 1));
        assert_int_equal(spill_set_aside("spill", NOW, &none, &judged), 0);
        usage_batch_free(&none);
        assert_int_equal(spill_read(path, NOW, &none, &judged), 0);
        assert_int_equal(none.len, 1);
        assert_int_equal(scratch_count("spill"), 2 + (int)type);
        usage_batch_free(&written);
        usage_batch_free(&read);
        usage_batch_free(&none);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_file_has_one_type_of_ids, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_set_aside_for_another_store, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_reads_version_1, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_reads_what_it_wrote, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_a_cut_file_gives_what_is_whole, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_noise_is_no_time, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_times_are_judged_one_by_one, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_only_a_file_of_its_own_is_read, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_a_failed_write_leaves_the_old_file, scratch_make,
                                        scratch_remove),
        cmocka_unit_test_setup_teardown(test_nothing_set_aside_is_lost, scratch_make,
                                        scratch_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
