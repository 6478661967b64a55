/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "log_hooks.h"

enum { LONG_US = 60000000, LINES = 100 };

/* The log is a pipe here; what is written to it is read by the test. */
static int log_fd[2];

static bool to_pipe(const struct log_record *record)
{
    return dprintf(log_fd[1], "%s: %s\n", log_level_name(record->level), record->line) > 0;
}

static struct log_writer *begin(void)
{
    struct log_writer *writer;

    assert_int_equal(pipe(log_fd), 0);
    assert_int_equal(log_writer_start(to_pipe, &writer), 0);
    log_hooks_install(writer, LOG_LEVEL_INFO);
    return writer;
}

/* Up to the end of the pipe. */
static char *read_all(void)
{
    size_t size = 64 * 1024, len = 0;
    char *text = calloc(1, size);

    close(log_fd[1]);
    for (ssize_t got; (got = read(log_fd[0], text + len, size - 1 - len)) > 0;)
        len += (size_t)got;
    close(log_fd[0]);
    return text;
}

static void run_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    event_base_loop(arg, EVLOOP_NONBLOCK); /* libevent warns of that */
}

static void test_libevents_warnings_go_to_the_log(void **state)
{
    struct log_writer *writer = begin();
    struct event_base *base = event_base_new();

    (void)state;
    event_base_once(base, -1, EV_TIMEOUT, run_again, base, &(struct timeval){0});
    event_base_loop(base, EVLOOP_ONCE);
    event_base_free(base);
    log_hooks_remove();
    log_writer_stop(writer, LONG_US);
    char *text = read_all();
    assert_non_null(strstr(text, "warning: libevent: "));
    assert_non_null(strstr(text, "reentrant"));
    free(text);
}

static bool slowly(const struct log_record *record)
{
    usleep(100);
    return to_pipe(record);
}

/* The process that aborts is a child, whose lines come slowly. */
static void test_lines_before_an_abort_are_written(void **state)
{
    struct log_writer *writer;
    int status;

    (void)state;
    assert_int_equal(pipe(log_fd), 0);
    pid_t child = fork();
    if (child == 0) {
        if (log_writer_start(slowly, &writer) < 0)
            _exit(1);
        log_hooks_install(writer, LOG_LEVEL_INFO);
        struct log log = log_writer_log(writer, LOG_LEVEL_INFO);
        for (int i = 0; i < LINES; i++)
            log_info(&log, "line %d", i);
        abort();
    }
    char *text = read_all();
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    assert_non_null(strstr(text, "line 99\n"));
    free(text);
}

/* Nobody reads; the process ends all the same. */
static void test_an_abort_does_not_wait_for_a_log_that_stands_still(void **state)
{
    struct log_writer *writer;
    int status;

    (void)state;
    assert_int_equal(pipe(log_fd), 0);
    pid_t child = fork();
    if (child == 0) {
        if (log_writer_start(to_pipe, &writer) < 0)
            _exit(1);
        log_hooks_install(writer, LOG_LEVEL_INFO);
        struct log log = log_writer_log(writer, LOG_LEVEL_INFO);
        for (int i = 0; i < 100 * LINES; i++)
            log_info(&log, "line %d", i);
        abort();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    close(log_fd[0]);
    close(log_fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_libevents_warnings_go_to_the_log),
        cmocka_unit_test(test_lines_before_an_abort_are_written),
        cmocka_unit_test(test_an_abort_does_not_wait_for_a_log_that_stands_still),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
