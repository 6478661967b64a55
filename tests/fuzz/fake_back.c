/* SPDX-License-Identifier: MIT */
#include "fake_back.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apikeyd/auth/front_state.h>
#include <apikeyd/clock/clock.h>
#include <apikeyd/config/config_load.h>
#include <apikeyd/front/front.h>
#include <apikeyd/model/mailbox.h>

#include "fuzz.h"
#include "scratch.h"

enum { ITERATIONS_MAX = 100000 }; /* of the loop, after which a connection hangs for ever */

static struct ledger *ledger;
static struct front *front;
static struct mailbox to_back, to_front;

static bool is(struct slice key, const char *name)
{
    return key.len == strlen(name) && memcmp(key.at, name, key.len) == 0;
}

static struct verdict verdict_of(struct slice key)
{
    struct verdict verdict = {.kind = VERDICT_DENY_UNKNOWN, .read_at_us = clock_monotonic_us()};

    if (is(key, "good"))
        verdict.kind = VERDICT_ALLOW;
    else if (is(key, "off"))
        verdict.kind = VERDICT_DENY_INACTIVE;
    else if (is(key, "down"))
        verdict.kind = VERDICT_UNAVAILABLE;
    if (verdict.kind == VERDICT_ALLOW) /* the front frees it */
        verdict.attributes = attributes_copy((struct attributes){"a04goldb0aread write", 20});
    verdict.rows = verdict.kind == VERDICT_ALLOW || verdict.kind == VERDICT_DENY_INACTIVE;
    return verdict;
}

static void answer(const struct to_back *message)
{
    struct to_front reply = {.type = TO_FRONT_REPLY, .ask = message->ask};

    if (message->type == TO_BACK_LOOKUP) {
        struct slice key = {message->lookup.key, message->lookup.key_len};

        reply.type = TO_FRONT_VERDICT;
        reply.answer.digest = message->lookup.digest;
        reply.answer.verdict = verdict_of(key);
        reply.answer.tier = TIER_POSTGRES;
        reply.answer.why = "PostgreSQL does not answer";
    } else if (message->ask == 0) {
        return;
    } else {
        struct attributes explained = message->explain.verdict.attributes;

        if (message->type == TO_BACK_REPORT)
            free(message->report.metrics);
        if (message->type == TO_BACK_EXPLAIN)
            attributes_free(&explained);
        if (message->type == TO_BACK_REFUSED)
            free(message->refused);
        buffer_text(&reply.reply, "+OK\r\n");
    }
    FUZZ_MUST(mailbox_post(&to_front, &reply, sizeof reply));
}

static void answer_all(void)
{
    struct to_back message;

    while (mailbox_take(&to_back, &message))
        answer(&message);
    mailbox_wake(&to_front);
}

static void iterate(void)
{
    event_base_loop(front->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    (void)clients_run_ready(&front->clients);
}

static void make_front(void)
{
    struct ledger_report report;
    struct buffer errors = {0};
    struct config *config;

    setenv("APIKEYD_CACHE_MEMORY", "1MiB", 1);
    setenv("APIKEYD_CACHE_NEGATIVE_MEMORY", "1MiB", 1);
    setenv("APIKEYD_POSTGRES_ATTRIBUTE_COLUMNS", "plan, scopes", 1);
    setenv("APIKEYD_HTTP_KEY_FROM",
           "header:X-API-Key, bearer, basic-user, query:key, query:key@X-Uri, cookie:key", 1);
    config = config_load(NULL, &errors);
    FUZZ_MUST(config);
    FUZZ_MUST(ledger_open(SCRATCH_PREFIX "ledger", ID_UUID, &(struct series_id){0}, clock_wall_us(),
                          &ledger, &report) == 0);
    signal(SIGPIPE, SIG_IGN);
    FUZZ_MUST(mailbox_init(&to_back, 16384, sizeof(struct to_back)) == 0);
    FUZZ_MUST(mailbox_init(&to_front, 32768, sizeof(struct to_front)) == 0);
    front = front_new(&(struct front_setup){
        .config = config,
        .hasher = key_hasher_new(NULL, 0, false),
        .fd = {-1, -1, -1, -1},
        .usage = ledger_half(ledger, 0),
        .to_back = &to_back,
        .to_front = &to_front,
    });
    FUZZ_MUST(front);
}

/* False when the front has hung up. */
static bool take_replies(int fd, struct buffer *replies)
{
    for (;;) {
        char bytes[4096];
        ssize_t got = recv(fd, bytes, sizeof bytes, 0);

        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        buffer_append(replies, bytes, (size_t)got);
    }
}

/* Send `bytes`, all of them unless the front hangs up. What it waits for before it reads on is
 * answered in any case. */
static void send_piece(int fd, struct slice bytes, bool answer_late, struct buffer *replies)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.at, bytes.len, MSG_NOSIGNAL);

        if (sent < 0 && errno != EAGAIN)
            return;
        bytes.at += sent > 0 ? sent : 0;
        bytes.len -= sent > 0 ? (size_t)sent : 0;
        iterate();
        if (!answer_late || sent < 0)
            answer_all();
        if (!take_replies(fd, replies))
            return;
    }
}

struct play fake_back_choose(const struct protocol *protocol, const uint8_t *data, size_t size)
{
    return (struct play){
        .protocol = protocol,
        .bytes = {(const char *)data + 2, size - 2},
        .answer_late = data[0] & 2,
        .hang_up = data[0] & 4,
        .piece = data[1] < 128 ? 0 : data[1] - 127u,
    };
}

void fake_back_play(const struct play *play, struct buffer *replies)
{
    struct slice rest = play->bytes;
    struct peer peer = {0};
    int fd[2];

    if (!front)
        make_front();
    front->clients.last_id = 0;
    FUZZ_MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
    FUZZ_MUST(connection_open(&front->clients, fd[1], play->protocol, peer));
    while (rest.len > 0) {
        size_t len = play->piece > 0 && play->piece < rest.len ? play->piece : rest.len;

        send_piece(fd[0], (struct slice){rest.at, len}, play->answer_late, replies);
        rest.at += len;
        rest.len -= len;
    }
    if (play->hang_up)
        close(fd[0]);
    else
        shutdown(fd[0], SHUT_WR);
    bool open = !play->hang_up;
    for (int i = 0; front->clients.count > 0 || front->flights.count > 0 ||
                    front->operator_requests.awaited > 0;
         i++) {
        FUZZ_MUST(i < ITERATIONS_MAX);
        iterate();
        answer_all();
        open = open && take_replies(fd[0], replies);
    }
    if (!play->hang_up) {
        FUZZ_MUST(!take_replies(fd[0], replies));
        close(fd[0]);
    }
    FUZZ_MUST(front->clients.retained == 0);
}
