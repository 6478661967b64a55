/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <errno.h>
#include <sys/un.h>
#include <unistd.h>

#include "redis_session.h"

/* A session, and the other end of its connection. */
struct line {
    struct event_base *base;
    struct redis_session *session;
    int listener, server;
    int ended; /* how often it said so */
    enum redis_end how;
    bool free_when_ended;
};

struct asked {
    struct line *line;
    int replied, lost; /* how often */
    bool free_session;
};

static void on_ended(void *arg, enum redis_end how, const char *why)
{
    struct line *line = arg;

    assert_true(strlen(why) > 0);
    line->ended++;
    line->how = how;
    if (line->free_when_ended)
        redis_session_free(line->session);
}

static void on_done(void *arg, const struct redis_reply *reply)
{
    struct asked *asked = arg;

    if (reply)
        asked->replied++;
    else
        asked->lost++;
    if (asked->free_session && reply)
        redis_session_free(asked->line->session);
}

/* An address of the abstract kind leaves nothing behind. */
static void connect_line(struct line *line)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t);

    *line = (struct line){.base = event_base_new()};
    line->listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(line->listener, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(line->listener, 1), 0);
    len = sizeof address;
    assert_int_equal(getsockname(line->listener, (struct sockaddr *)&address, &len), 0);
    struct redis_session_setup setup = {.base = line->base,
                                        .address = (struct sockaddr *)&address,
                                        .address_len = len,
                                        .ended = on_ended,
                                        .arg = line};
    assert_int_equal(redis_session_new(&setup, &line->session), 0);
    line->server = accept(line->listener, NULL, NULL);
    assert_true(line->server >= 0);
}

static void say(const struct line *line, struct slice text)
{
    assert_int_equal(write(line->server, text.at, text.len), text.len);
}

static void run(const struct line *line)
{
    assert_int_equal(event_base_loop(line->base, EVLOOP_ONCE), 0);
}

static void hang_up(struct line *line)
{
    close(line->server);
    close(line->listener);
    event_base_free(line->base);
}

static const struct slice ping = {"*1\r\n$4\r\nPING\r\n", 14};

static bool ask(const struct line *line, struct asked *asked)
{
    return redis_session_send(line->session, ping, on_done, asked);
}

static void test_replies_go_to_their_requests(void **state)
{
    struct line line;
    struct asked first = {.line = &line}, second = {.line = &line}, third = {.line = &line};
    char sent[64];

    (void)state;
    connect_line(&line);
    assert_true(ask(&line, &first) && ask(&line, &second) && ask(&line, &third));
    run(&line);
    assert_int_equal(read(line.server, sent, sizeof sent), 3 * ping.len);
    say(&line, SLICE("+PONG\r\n$-1\r\n+PO"));
    run(&line);
    assert_int_equal(first.replied, 1);
    assert_int_equal(second.replied, 1);
    assert_int_equal(third.replied, 0);
    redis_session_free(line.session);
    assert_int_equal(first.lost + second.lost, 0);
    assert_int_equal(third.lost, 1);
    assert_int_equal(line.ended, 0);
    hang_up(&line);
}

/* How a session may end by itself, and whether it is freed in that callback or later. */
static void test_ends_once(void **state)
{
    static const struct {
        struct slice said;
        enum redis_end how;
    } ends[] = {
        {{"", 0}, REDIS_END_LOST},
        {{"+PONG\r\n+PONG\r\n+PONG\r\n", 21}, REDIS_END_NONSENSE},
        {{"HTTP/1.1 400 Bad Request\r\n\r\n", 28}, REDIS_END_NONSENSE},
        {{"*2147483647\r\n", 13}, REDIS_END_TOO_LONG},
    };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof ends / sizeof ends[0]; i++) {
        struct line line;
        struct asked asked = {.line = &line};

        connect_line(&line);
        line.free_when_ended = i % 2;
        assert_true(ask(&line, &asked));
        if (ends[i / 2].said.len == 0)
            shutdown(line.server, SHUT_WR);
        else
            say(&line, ends[i / 2].said);
        while (!line.ended)
            run(&line);
        assert_int_equal(line.how, ends[i / 2].how);
        if (!line.free_when_ended) {
            assert_false(ask(&line, &asked));
            redis_session_free(line.session);
        }
        assert_int_equal(line.ended, 1);
        assert_int_equal(asked.replied + asked.lost, 1);
        hang_up(&line);
    }
}

static void test_may_be_freed_by_a_reply(void **state)
{
    struct line line;
    struct asked first = {.line = &line, .free_session = true}, second = {.line = &line};

    (void)state;
    connect_line(&line);
    assert_true(ask(&line, &first) && ask(&line, &second));
    say(&line, SLICE("+PONG\r\n+PONG\r\n"));
    while (first.replied == 0)
        run(&line);
    assert_int_equal(second.replied, 0);
    assert_int_equal(second.lost, 1);
    hang_up(&line);
}

/* A server that reads nothing: what waits for it is bounded, by number and by bytes. */
static void test_what_waits_is_bounded(void **state)
{
    static char long_request[1 << 20];
    struct slice request[] = {ping, {long_request, sizeof long_request}};
    int most[] = {REDIS_PENDING_MAX, REDIS_OUTPUT_MAX / (1 << 20)};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct line line;
        struct asked asked = {.line = &line};
        int sent = 0;

        connect_line(&line);
        assert_int_equal(redis_session_waits_since(line.session, 17), 17);
        for (; redis_session_send(line.session, request[i], on_done, &asked); sent++)
            assert_int_equal(redis_session_half_full(line.session), sent + 1 >= most[i] / 2);
        assert_int_equal(sent, most[i]);
        assert_int_not_equal(redis_session_waits_since(line.session, 17), 17);
        redis_session_free(line.session);
        assert_int_equal(asked.lost, most[i]);
        hang_up(&line);
    }
}

static void test_an_address_where_nobody_is(void **state)
{
    struct event_base *base = event_base_new();
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/redis.sock"};
    struct redis_session_setup setup = {
        .base = base, .address = (struct sockaddr *)&address, .address_len = sizeof address};
    struct redis_session *session = NULL;

    (void)state;
    assert_int_equal(redis_session_new(&setup, &session), -ENOENT);
    assert_null(session);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replies_go_to_their_requests),
        cmocka_unit_test(test_ends_once),
        cmocka_unit_test(test_may_be_freed_by_a_reply),
        cmocka_unit_test(test_what_waits_is_bounded),
        cmocka_unit_test(test_an_address_where_nobody_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
