/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <semaphore.h>
#include <unistd.h>

#include <apikeyd/thread/log_writer.h>

enum { LONG_US = 60000000, MANY = 100000 };

/* The log's other end: it takes a line whenever the test lets it, and keeps the numbers of lines.
 */
static struct reader {
    sem_t may_take;
    bool broken;
    int taken, last, order_broken;
    char notice[256];
} reader;

static bool output(const struct log_record *record)
{
    const char *line = record->line;
    int number;

    sem_wait(&reader.may_take);
    sem_post(&reader.may_take);
    if (reader.broken)
        return false;
    if (sscanf(line, "line %d", &number) == 1) {
        reader.order_broken += number <= reader.last;
        reader.last = number;
        reader.taken++;
    } else {
        snprintf(reader.notice, sizeof reader.notice, "%s", line);
    }
    return true;
}

static struct log_writer *begin(unsigned may_take)
{
    struct log_writer *writer;

    reader = (struct reader){.last = -1};
    sem_init(&reader.may_take, 0, may_take);
    assert_int_equal(log_writer_start(output, &writer), 0);
    return writer;
}

static void test_lines_are_written_in_order(void **state)
{
    struct log_writer *writer = begin(1);
    struct log log = log_writer_log(writer, LOG_LEVEL_INFO);

    (void)state;
    for (int i = 0; i < 1000; i++)
        log_info(&log, "line %d", i);
    log_debug(&log, "line %d", 5000);
    log_writer_flush(writer, LONG_US);
    assert_int_equal(log_writer_queued(writer), 0);
    assert_int_equal(log_writer_dropped(writer), 0);
    log_info(&log, "line %d", 1000);
    log_writer_stop(writer, LONG_US);
    assert_int_equal(reader.taken, 1001);
    assert_int_equal(reader.order_broken, 0);
}

/* The writer of lines goes on, memory is bounded, and each line is written or counted. */
static void test_a_reader_that_stands_still(void **state)
{
    struct log_writer *writer = begin(0);
    struct log log = log_writer_log(writer, LOG_LEVEL_INFO);
    int told = 0;

    (void)state;
    for (int i = 0; i < MANY; i++)
        log_info(&log, "line %d", i);
    int dropped = (int)log_writer_dropped(writer);
    assert_in_range(dropped, 1, MANY - 100);
    assert_int_equal((int)log_writer_queued(writer), MANY - dropped);
    log_writer_flush(writer, 1000);
    assert_int_equal((int)log_writer_queued(writer), MANY - dropped);
    sem_post(&reader.may_take);
    log_writer_stop(writer, LONG_US);
    assert_int_equal(reader.taken, MANY - dropped);
    assert_int_equal(reader.order_broken, 0);
    assert_int_equal(sscanf(reader.notice, "log: %d lines were dropped", &told), 1);
    assert_int_equal(told, dropped);
}

static void test_lines_that_cannot_be_written_are_counted(void **state)
{
    struct log_writer *writer = begin(1);
    struct log log = log_writer_log(writer, LOG_LEVEL_INFO);

    (void)state;
    reader.broken = true;
    for (int i = 0; i < 10; i++)
        log_info(&log, "line %d", i);
    log_writer_flush(writer, LONG_US);
    assert_int_equal(log_writer_dropped(writer), 10);
    log_writer_stop(writer, LONG_US);
    assert_string_equal(reader.notice, "");
}

static void test_a_long_line_is_cut(void **state)
{
    struct log_writer *writer = begin(1);
    struct log log = log_writer_log(writer, LOG_LEVEL_INFO);
    char text[4000];

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    log.sink(log.arg, LOG_LEVEL_INFO, &(const struct log_place){"a", "b", 1}, text);
    log_info(&log, "line 1");
    log_writer_stop(writer, LONG_US);
    assert_int_equal(strlen(reader.notice), sizeof reader.notice - 1);
    assert_int_equal(reader.taken, 1);
}

/* Last, as its thread is left behind. */
static void test_the_end_does_not_wait_for_ever(void **state)
{
    struct log_writer *writer = begin(0);
    struct log log = log_writer_log(writer, LOG_LEVEL_INFO);

    (void)state;
    log_info(&log, "line 1");
    log_writer_stop(writer, 1000);
    assert_int_equal(reader.taken, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_written_in_order),
        cmocka_unit_test(test_a_reader_that_stands_still),
        cmocka_unit_test(test_lines_that_cannot_be_written_are_counted),
        cmocka_unit_test(test_a_long_line_is_cut),
        cmocka_unit_test(test_the_end_does_not_wait_for_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
