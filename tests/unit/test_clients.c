/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apikeyd/conn/connection.h>

/* A protocol of lines: each is echoed, "?" leaves a reply pending, and "+" is answered by
 * PARTS bytes, in as many calls. */

enum { CLIENTS_MAX = 64, PARTS = 8 * QUANTUM };

struct fixture {
    struct clients clients;
    struct metrics metrics;
    size_t handled, parts;
    struct pending_reply *pending;
    size_t closed;         /* states */
    int peer[CLIENTS_MAX]; /* the clients' ends */
    size_t peers;
};

static size_t echo_line(void *arg, struct connection *connection, struct slice bytes)
{
    struct fixture *fixture = arg;
    const char *end = memchr(bytes.at, '\n', bytes.len);
    size_t len = end ? (size_t)(end - bytes.at) + 1 : 0;

    if (len == 0)
        return 0;
    fixture->handled++;
    connection->requests++;
    if (bytes.at[0] == '+') {
        buffer_append(connection_reply(connection), "+", 1);
        return ++fixture->parts % PARTS == 0 ? len : REQUEST_GOES_ON;
    }
    if (bytes.at[0] == '?')
        fixture->pending = pending_reply_open(connection);
    else
        buffer_append(connection_reply(connection), bytes.at, len);
    return len;
}

static const struct protocol lines = {.name = "lines", .handle = echo_line, .small_request = 1024};

static const struct protocol timed_lines = {
    .name = "timed lines", .handle = echo_line, .small_request = 1024, .timed = true};

/* A protocol whose state owns memory: the last line. */
struct last_line {
    char *text;
    bool pending; /* a reply */
};

static void forget_pending(void *owner)
{
    ((struct last_line *)owner)->pending = false;
}

static size_t keep_line(void *arg, struct connection *connection, struct slice bytes)
{
    struct fixture *fixture = arg;
    struct last_line *last = connection->state;
    size_t len = echo_line(arg, connection, bytes);

    if (len == 0)
        return 0;
    free(last->text);
    last->text = strndup(bytes.at, len);
    if (bytes.at[0] == '?') {
        last->pending = true;
        fixture->pending->cancel = forget_pending;
        fixture->pending->owner = last;
    }
    return len;
}

static void close_line(struct connection *connection)
{
    struct fixture *fixture = connection->clients->arg;
    struct last_line *last = connection->state;

    assert_false(last->pending);
    free(last->text);
    last->text = NULL;
    fixture->closed++;
}

static const struct protocol kept_lines = {.name = "kept lines",
                                           .handle = keep_line,
                                           .close = close_line,
                                           .small_request = 1024,
                                           .state_size = sizeof(struct last_line)};

static void nothing(void *arg)
{
    (void)arg;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);

    signal(SIGPIPE, SIG_IGN);
    fixture->clients = (struct clients){.base = event_base_new(),
                                        .metrics = &fixture->metrics,
                                        .begin = nothing,
                                        .end = nothing,
                                        .pending_replies_max = 10,
                                        .arg = fixture};
    clients_init(&fixture->clients);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    clients_done(&fixture->clients);
    event_base_free(fixture->clients.base);
    for (size_t i = 0; i < fixture->peers; i++)
        close(fixture->peer[i]);
    free(fixture);
    return 0;
}

static int join_with(struct fixture *fixture, const struct protocol *protocol)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_true(connection_open(&fixture->clients, pair[0], protocol, (struct peer){0}));
    return fixture->peer[fixture->peers++] = pair[1];
}

static int join(struct fixture *fixture)
{
    return join_with(fixture, &lines);
}

/* What the front thread does, once. */
static bool round_of_loop(struct fixture *fixture)
{
    event_base_loop(fixture->clients.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    return clients_run_ready(&fixture->clients);
}

static void ask(int peer, const char *text)
{
    assert_int_equal(write(peer, text, strlen(text)), strlen(text));
}

static void ask_much(int peer)
{
    char text[8001];

    memset(text, '\n', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ask(peer, text);
}

/* Bytes that have come. */
static size_t hear(int peer)
{
    char bytes[65536];
    size_t len = 0;

    for (ssize_t got; (got = read(peer, bytes, sizeof bytes)) > 0;)
        len += (size_t)got;
    return len;
}

/* Many at once, so that libevent asks for so many events from now on. */
static void join_all(struct fixture *fixture)
{
    while (fixture->peers < CLIENTS_MAX)
        ask(join(fixture), "hello\n");
    for (int i = 0; i < 4; i++)
        round_of_loop(fixture);
    for (size_t i = 0; i < fixture->peers; i++)
        assert_int_equal(hear(fixture->peer[i]), 6);
}

static void test_a_small_request_does_not_wait_behind_large_ones(void **state)
{
    struct fixture *fixture = *state;
    int polite;

    join_all(fixture);
    polite = fixture->peer[0];
    for (size_t i = 1; i < CLIENTS_MAX; i++)
        ask_much(fixture->peer[i]);
    for (size_t i = 0; i < 100; i++) {
        size_t before = fixture->handled;

        ask(polite, "a\n");
        assert_false(round_of_loop(fixture));
        assert_int_equal(hear(polite), 2);
        assert_in_range(fixture->handled - before, 1, 2 * QUANTUM + 1);
    }
    while (!round_of_loop(fixture))
        ;
    for (size_t i = 1; i < CLIENTS_MAX; i++)
        assert_int_equal(hear(fixture->peer[i]), 8000);
}

/* Nor is an answer that had to be waited for. */
static void test_a_reply_does_not_wait_behind_large_requests(void **state)
{
    struct fixture *fixture = *state;

    join_all(fixture);
    ask(fixture->peer[0], "?\n");
    round_of_loop(fixture);
    for (size_t i = 1; i < CLIENTS_MAX; i++)
        ask_much(fixture->peer[i]);
    assert_false(round_of_loop(fixture));
    buffer_text(pending_reply_buffer(fixture->pending), "now\n");
    pending_reply_close(fixture->pending);
    assert_false(round_of_loop(fixture));
    assert_int_equal(hear(fixture->peer[0]), 4);
}

/* Connections with much to ask go on, however many small requests come meanwhile. */
static void test_much_is_not_starved(void **state)
{
    struct fixture *fixture = *state;

    join_all(fixture);
    ask_much(fixture->peer[0]);
    ask_much(fixture->peer[1]);
    for (size_t i = 0; i < 4 * 8000 / QUANTUM; i++) {
        for (size_t k = 2; k < CLIENTS_MAX; k++)
            ask(fixture->peer[k], "a\n");
        round_of_loop(fixture);
        for (size_t k = 2; k < CLIENTS_MAX; k++)
            assert_int_equal(hear(fixture->peer[k]), 2);
    }
    assert_int_equal(hear(fixture->peer[0]), 8000);
    assert_int_equal(hear(fixture->peer[1]), 8000);
}

/* A request that is answered in parts stays the first one, and keeps to the quantum. */
static void test_a_request_that_goes_on(void **state)
{
    struct fixture *fixture = *state;
    int peer = join(fixture), polite = join(fixture);

    ask(peer, "+\na\n");
    shutdown(peer, SHUT_WR);
    assert_false(round_of_loop(fixture));
    assert_in_range(fixture->parts, 1, 2 * QUANTUM + 1);
    ask(polite, "a\n");
    assert_false(round_of_loop(fixture));
    assert_int_equal(hear(polite), 2);
    while (!round_of_loop(fixture))
        ;
    assert_int_equal(fixture->parts, PARTS);
    assert_int_equal(hear(peer), PARTS + 2);
}

/* A connection that queues is not looked at in each iteration: there may be thousands. */
static void test_who_queues_is_not_polled(void **state)
{
    struct fixture *fixture = *state;
    int peer = join(fixture);
    struct connection *connection = TAILQ_FIRST(&fixture->clients.all);

    ask_much(peer);
    round_of_loop(fixture);
    ask(peer, "more\n");
    assert_false(round_of_loop(fixture));
    assert_false(event_pending(&connection->readable, EV_READ, NULL));
    assert_int_equal(clients_may_accept(&fixture->clients),
                     fixture->clients.quantum.iterations % ITERATIONS_TO_ACCEPT == 0);
    while (!round_of_loop(fixture))
        ;
    round_of_loop(fixture);
    assert_int_equal(hear(peer), 8005);
    assert_true(clients_may_accept(&fixture->clients));
}

/* Much that is not read is retained, to a bound, and comes in order once it is read. */
static void test_unread(void **state)
{
    struct fixture *fixture = *state;
    int peer = join(fixture);
    char line[1001];
    size_t asked = 0, heard = 0;

    memset(line, 'x', sizeof line);
    line[1000] = '\0';
    for (;;) {
        char number[20];
        int len = snprintf(number, sizeof number, "%zu ", asked);

        memcpy(line, number, (size_t)len);
        line[999] = '\n';
        if (write(peer, line, 1000) != 1000)
            break;
        asked++;
        round_of_loop(fixture);
    }
    assert_int_equal(fixture->metrics.value[METRIC_READ_PAUSES], 1);
    assert_in_range(fixture->handled, 8 << 10, 9 << 10);
    assert_in_range(connection_unwritten(TAILQ_FIRST(&fixture->clients.all)), 8 << 20, 9 << 20);
    for (char back[1000]; heard < asked; heard++) {
        for (size_t got = 0; got < sizeof back;) {
            ssize_t some = read(peer, back + got, sizeof back - got);

            got += some > 0 ? (size_t)some : 0;
            if (some < 0)
                round_of_loop(fixture);
        }
        assert_int_equal(strtoul(back, NULL, 10), heard);
    }
    assert_int_equal(fixture->handled, asked);
    assert_null(TAILQ_FIRST(&fixture->clients.all)->backlog);
    assert_int_equal(fixture->clients.retained, 0);
}

/* Pending replies are retained too. When there is much for all, each client may have fewer of them.
 */
static void test_pending_replies_are_retained(void **state)
{
    struct fixture *fixture = *state;
    int peer = join(fixture);
    struct connection *connection = TAILQ_FIRST(&fixture->clients.all);

    fixture->clients.pending_replies_max = 1000;
    for (int i = 0; i < 200; i++)
        ask(peer, "?\n");
    while (!round_of_loop(fixture))
        ;
    assert_int_equal(connection->pending_count, 200);
    assert_true(fixture->clients.retained > 200 * sizeof(struct pending_reply));
    fixture->clients.retained += 256 << 20;
    for (int i = 0; i < 200; i++)
        ask(peer, "?\n");
    for (size_t left = 400; left > 0; left--) {
        while (!round_of_loop(fixture))
            ;
        if (left <= 200)
            assert_in_range(connection->pending_count, 1, 128);
        pending_reply_close(TAILQ_FIRST(&connection->pending_replies));
    }
    while (!round_of_loop(fixture))
        ;
    assert_int_equal(fixture->handled, 400);
    assert_int_equal(fixture->clients.retained, 256 << 20);
}

/* Less is retained for each when there is much for all; what had to wait for that goes on. */
static void test_less_is_retained_when_there_is_much(void **state)
{
    struct fixture *fixture = *state;
    int peer = join(fixture);
    struct connection *connection = TAILQ_FIRST(&fixture->clients.all);
    char burst[8000];
    size_t asked = 0, heard = 0;

    fixture->clients.retained = 256 << 20;
    memset(burst, 'x', sizeof burst);
    for (size_t i = 0; i < 8; i++)
        burst[1000 * i + 999] = '\n';
    while (fixture->metrics.value[METRIC_READ_PAUSES] == 0) {
        assert_int_equal(write(peer, burst, sizeof burst), sizeof burst);
        asked += sizeof burst;
        round_of_loop(fixture);
    }
    assert_in_range(connection_unwritten(connection), 64 << 10, 65 << 10);
    assert_int_not_equal(connection->in.len, 0);
    for (int i = 0; i < 10; i++) {
        heard += hear(peer);
        round_of_loop(fixture);
    }
    assert_int_equal(heard, asked);
    assert_int_equal(fixture->clients.retained, 256 << 20);
}

static void test_what_is_held_has_a_bound(void **state)
{
    struct fixture *fixture = *state;
    int peer = join(fixture);
    struct connection *connection = TAILQ_FIRST(&fixture->clients.all);
    size_t asked = 0;

    ask(peer, "?\n");
    for (char text[1000] = {0}; write(peer, memset(text, '\n', 1000), 1000) == 1000;
         asked += 1000) {
        for (int i = 0; i < 20; i++)
            round_of_loop(fixture);
    }
    assert_int_equal(connection->queued.len, 256 * 1024);
    buffer_text(pending_reply_buffer(fixture->pending), "now\n");
    pending_reply_close(fixture->pending);
    size_t heard = 0;
    for (int i = 0; i < 100000 && heard < asked + 4; i++) {
        round_of_loop(fixture);
        heard += hear(peer);
    }
    assert_int_equal(heard, asked + 4);
}

/* The time that a connection queues is not counted against its client. */
static void test_cut_off(void **state)
{
    struct fixture *fixture = *state;
    int peer = join_with(fixture, &timed_lines);

    ask_much(peer);
    while (!round_of_loop(fixture))
        clients_cut_off(&fixture->clients, INT64_MAX);
    assert_int_equal(hear(peer), 8000);
    assert_int_equal(fixture->metrics.value[METRIC_CUT_OFF], 0);
    ask(peer, "half a li");
    round_of_loop(fixture);
    clients_cut_off(&fixture->clients, INT64_MAX);
    clients_cut_off(&fixture->clients, INT64_MAX);
    assert_int_equal(fixture->metrics.value[METRIC_CUT_OFF], 1);
    round_of_loop(fixture);
    assert_int_equal(fixture->clients.count, 0);
}

/* Requests that came before the end are answered, though it takes more than a quantum. */
static void test_half_closed(void **state)
{
    struct fixture *fixture = *state;
    int peer = join(fixture);

    ask_much(peer);
    shutdown(peer, SHUT_WR);
    for (int i = 0; i < 1000; i++)
        round_of_loop(fixture);
    assert_int_equal(hear(peer), 8000);
    assert_int_equal(fixture->clients.count, 0);
}

/* However a connection ends, its protocol frees the state once, after the pending replies. */
static void test_a_state_is_closed_once(void **state)
{
    struct fixture *fixture = *state;
    int gone = join_with(fixture, &kept_lines);

    ask(gone, "one\n");
    round_of_loop(fixture);
    assert_int_equal(fixture->closed, 0);
    shutdown(gone, SHUT_RDWR);
    for (int i = 0; i < 10; i++)
        round_of_loop(fixture);
    assert_int_equal(fixture->closed, 1);

    ask(join_with(fixture, &kept_lines), "two\n?\n");
    round_of_loop(fixture);
    connection_kill(TAILQ_FIRST(&fixture->clients.all));
    round_of_loop(fixture);
    assert_int_equal(fixture->closed, 2);

    ask(join_with(fixture, &kept_lines), "three\n?\n");
    round_of_loop(fixture);
    clients_done(&fixture->clients);
    assert_int_equal(fixture->closed, 3);
    clients_init(&fixture->clients);
}

static void test_draining(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 20; i++) {
        int peer = join(fixture);

        for (int k = 0; k < 8; k++)
            ask_much(peer);
        if (i % 2)
            shutdown(peer, SHUT_WR);
    }
    round_of_loop(fixture);
    clients_drain(&fixture->clients);
    while (!round_of_loop(fixture))
        ;
    for (size_t i = 0; i < fixture->peers; i++)
        assert_int_equal(hear(fixture->peer[i]), 64000);
    assert_int_equal(fixture->clients.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_small_request_does_not_wait_behind_large_ones,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_reply_does_not_wait_behind_large_requests, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_much_is_not_starved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_who_queues_is_not_polled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unread, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pending_replies_are_retained, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_less_is_retained_when_there_is_much, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_held_has_a_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cut_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_request_that_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_half_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_state_is_closed_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_draining, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
