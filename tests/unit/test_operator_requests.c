/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apikeyd/conn/connection.h>
#include <apikeyd/conn/operator_requests.h>

/* A client whose every byte is a request to the back thread. What a byte is decides on its
 * deadline: '0' to '9', in seconds. */
struct fixture {
    struct clients clients;
    struct metrics metrics;
    struct operator_requests requests;
    int peer;
};

static size_t ask_back(void *arg, struct connection *connection, struct slice bytes)
{
    struct fixture *fixture = arg;

    assert_true(
        operator_requests_wait(&fixture->requests, connection, (bytes.at[0] - '0') * 1000000));
    return 1;
}

static const struct protocol protocol = {
    .name = "digits", .handle = ask_back, .small_request = 1024};

static void nothing(void *arg)
{
    (void)arg;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    int pair[2];

    signal(SIGPIPE, SIG_IGN);
    fixture->clients = (struct clients){.base = event_base_new(),
                                        .metrics = &fixture->metrics,
                                        .begin = nothing,
                                        .end = nothing,
                                        .pending_replies_max = 10,
                                        .arg = fixture};
    clients_init(&fixture->clients);
    operator_requests_init(&fixture->requests);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_true(connection_open(&fixture->clients, pair[0], &protocol, (struct peer){.pid = 1}));
    fixture->peer = pair[1];
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    clients_done(&fixture->clients);
    assert_true(TAILQ_EMPTY(&fixture->requests.waiting));
    event_base_free(fixture->clients.base);
    close(fixture->peer);
    free(fixture);
    return 0;
}

static void iterate(struct fixture *fixture)
{
    event_base_loop(fixture->clients.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    (void)clients_run_ready(&fixture->clients);
}

static void ask(struct fixture *fixture, const char *text)
{
    assert_int_equal(write(fixture->peer, text, strlen(text)), strlen(text));
    iterate(fixture);
}

static void reply(struct fixture *fixture, uint64_t number, const char *text)
{
    operator_requests_reply(&fixture->requests, number, (struct slice){text, strlen(text)});
}

/* What the client has heard since the last call. */
static const char *heard(struct fixture *fixture)
{
    static char text[1000];

    iterate(fixture);
    ssize_t len = read(fixture->peer, text, sizeof text - 1);
    text[len > 0 ? len : 0] = '\0';
    return text;
}

static void test_replies_find_their_places(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(operator_requests_number(&fixture->requests), 1);
    ask(fixture, "999");
    assert_int_equal(fixture->requests.awaited, 3);
    reply(fixture, 3, "three ");
    assert_string_equal(heard(fixture), "");
    reply(fixture, 1, "one ");
    assert_string_equal(heard(fixture), "one ");
    reply(fixture, 2, "two ");
    assert_string_equal(heard(fixture), "two three ");
    assert_int_equal(fixture->requests.awaited, 0);
}

static void test_nobody_waits_beyond_the_deadline(void **state)
{
    struct fixture *fixture = *state;

    ask(fixture, "939");
    operator_requests_expire(&fixture->requests, 2999999);
    reply(fixture, 1, "one ");
    assert_string_equal(heard(fixture), "one ");
    operator_requests_expire(&fixture->requests, 3000000);
    assert_string_equal(heard(fixture), "-" NO_ANSWER_FROM_BACK "\r\n");
    assert_int_equal(fixture->requests.awaited, 2);
    reply(fixture, 2, "late ");
    assert_string_equal(heard(fixture), "");
    reply(fixture, 3, "three ");
    assert_string_equal(heard(fixture), "three ");
    assert_int_equal(fixture->requests.awaited, 0);
}

static void test_a_client_goes_first(void **state)
{
    struct fixture *fixture = *state;

    ask(fixture, "99");
    connection_kill(TAILQ_FIRST(&fixture->clients.all));
    iterate(fixture);
    assert_int_equal(fixture->clients.count, 0);
    assert_true(TAILQ_EMPTY(&fixture->requests.waiting));
    reply(fixture, 1, "one");
    operator_requests_expire(&fixture->requests, INT64_MAX);
    assert_int_equal(fixture->requests.awaited, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_replies_find_their_places, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_nobody_waits_beyond_the_deadline, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_client_goes_first, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
