/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <apikeyd/base/out_of_memory.h>

enum { ABORTED = 42 };

static void on_abort(int number)
{
    (void)number;
    _exit(ABORTED);
}

/* Whether a process whose stderr is `fd` ends by SIGABRT. Its handler ends it, because an emulator
 * would write about the end to stderr too. */
static bool aborts(int fd)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        dup2(fd, STDERR_FILENO);
        signal(SIGABRT, on_abort);
        alarm(30); /* a limit for a hang */
        out_of_memory();
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == ABORTED;
}

static void test_it_is_said_with_the_programs_name(void **state)
{
    char line[200] = "";
    int fd[2];

    (void)state;
    assert_int_equal(pipe(fd), 0);
    assert_true(aborts(fd[1]));
    assert_true(read(fd[0], line, sizeof line - 1) > 0);
    assert_string_equal(line, "test_out_of_memory: out of memory\n");
    close(fd[0]);
    close(fd[1]);
}

/* The end does not wait for whoever should read. */
static void test_a_full_pipe_does_not_hold_it_up(void **state)
{
    char page[4096] = {0};
    int fd[2];

    (void)state;
    assert_int_equal(pipe2(fd, O_NONBLOCK), 0);
    while (write(fd[1], page, sizeof page) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fcntl(fd[1], F_SETFL, 0), 0);
    assert_true(aborts(fd[1]));
    close(fd[0]);
    close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_is_said_with_the_programs_name),
        cmocka_unit_test(test_a_full_pipe_does_not_hold_it_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
