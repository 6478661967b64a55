/* SPDX-License-Identifier: MIT */
#include "admin.h"

#include <inttypes.h>
#include <stdlib.h>

#include <apikeyd/auth/check.h>
#include <apikeyd/auth/front_state.h>
#include <apikeyd/auth/key_digest.h>
#include <apikeyd/wire/resp_reply.h>

#include "resp_client.h"

/* How long the back thread may take to reply: to most requests, and to FLUSH, which writes
 * all that is pending. */
static const int64_t reply_limit_us = 5000000;
static const int64_t flush_limit_us = 300000000;

/* Open a pending reply for the back thread's reply to `message`, which has to come within
 * `limit_us`. */
static void ask_back(struct front *front, struct connection *connection, struct to_back *message,
                     int64_t limit_us)
{
    bool silent = front_back_silent(front);

    message->resp3 = resp_client(connection)->resp3;
    message->ask = operator_requests_number(&front->operator_requests);
    if (silent || front->operator_requests.awaited >= FRONT_ASKS_MAX ||
        !front_post(front, message)) {
        if (message->type == TO_BACK_REPORT)
            free(message->report.metrics);
        if (message->type == TO_BACK_REFUSED)
            free(message->refused);
        if (message->type == TO_BACK_EXPLAIN)
            attributes_free(&message->explain.verdict.attributes);
        resp_error(connection_reply(connection),
                   silent ? NO_ANSWER_FROM_BACK : "ERR too many requests pending");
        return;
    }
    if (!operator_requests_wait(&front->operator_requests, connection, front->now_us + limit_us))
        resp_error(connection_reply(connection), "ERR out of memory");
}

/* INFO without the back thread: the front thread's figures only. */
static void print_info(struct front *front, struct connection *connection, struct metrics *metrics,
                       struct slice section)
{
    struct buffer text = {0};

    front_print_info(front, metrics, section, &text);
    free(metrics);
    resp_verbatim(connection_reply(connection), buffer_held(&text), resp_client(connection)->resp3);
    buffer_free(&text);
}

static void ask_report(struct front *front, struct connection *connection, enum report_kind kind,
                       struct slice section)
{
    struct to_back message = {.type = TO_BACK_REPORT, .report = {.kind = kind}};

    message.report.metrics = front_take_metrics(front);
    if (!message.report.metrics) {
        resp_error(connection_reply(connection), "ERR out of memory");
        return;
    }
    if (kind == REPORT_INFO && front_back_silent(front)) {
        print_info(front, connection, message.report.metrics, section);
        return;
    }
    if (section.len < sizeof message.report.section)
        memcpy(message.report.section, section.at, section.len);
    ask_back(front, connection, &message, reply_limit_us);
}

void admin_info(struct front *front, struct connection *connection,
                const struct resp_request *request)
{
    struct slice section = request->argc > 1 ? request->argv[1] : (struct slice){"", 0};

    if (slice_is(section, "all") || slice_is(section, "default") || slice_is(section, "everything"))
        section.len = 0;
    ask_report(front, connection, REPORT_INFO, section);
}

void admin_metrics(struct front *front, struct connection *connection,
                   const struct resp_request *request)
{
    (void)request;
    ask_report(front, connection, REPORT_METRICS, (struct slice){"", 0});
}

void admin_status(struct front *front, struct connection *connection,
                  const struct resp_request *request)
{
    (void)request;
    ask_report(front, connection, REPORT_STATUS, (struct slice){"", 0});
}

/* The back thread sorts and prints: thousands of keys take milliseconds. */
void admin_refused(struct front *front, struct connection *connection,
                   const struct resp_request *request)
{
    struct to_back message = {.type = TO_BACK_REFUSED,
                              .refused = refused_keys_copy(front->refused)};

    (void)request;
    if (message.refused)
        ask_back(front, connection, &message, reply_limit_us);
    else
        resp_error(connection_reply(connection), "ERR out of memory");
}

/* Judge a key argument; on false the error is already written. */
static bool take_key(struct connection *connection, struct slice key)
{
    const char *wrong = check_key_id(key);

    if (wrong)
        resp_error(connection_reply(connection), "ERR %s", wrong);
    return !wrong;
}

/* Report memory's verdict on a key; changes nothing. */
static struct explain_memory peek(struct front *front, const struct digest *digest)
{
    const struct cached_verdict *cached = verdict_cache_peek(front->cache, digest);
    struct explain_memory found = {.verdict = verdict_unavailable};

    if (!cached)
        return found;
    found.verdict = verdict_cache_verdict(front->cache, cached);
    found.verdict.attributes = attributes_copy(found.verdict.attributes);
    found.refreshing = cached->flags & CACHED_REFRESHING;
    if (front->quotas)
        found.uses = quota_book_look(front->quotas, &found.verdict.api_key_id, front->bucket.month,
                                     &found.uses_known);
    found.use = freshness_of(&front->freshness, NULL, cached->kind, cached->read_at_us);
    if (cached->usage_slot < front->usage->used) {
        const struct ledger_half *half = front->usage;
        const struct usage_slot *slot = usage_slot_at(half->slots, cached->usage_slot, half->type);

        if (usage_slot_is_use(slot) &&
            usage_slot_is_of(slot, half->type, &found.verdict.api_key_id))
            found.pending_last_used_us = slot->last_used_us;
    }
    return found;
}

void admin_explain(struct front *front, struct connection *connection,
                   const struct resp_request *request)
{
    struct to_back message = {.type = TO_BACK_EXPLAIN};
    struct slice key = request->argv[1];

    if (!take_key(connection, key))
        return;
    key_digest(front->hasher, &front->freshness, front->cache, key, &message.lookup.digest);
    message.lookup.connection_id = (uint32_t)connection->id;
    message.lookup.key_len = (uint8_t)key.len;
    memcpy(message.lookup.key, key.at, key.len);
    message.explain = peek(front, &message.lookup.digest);
    message.explain.malformed = check_is_malformed(front, key);
    /* EXPLAIN asks Redis and PostgreSQL. */
    ask_back(front, connection, &message, reply_limit_us + config_wait_max_us(front->config));
}

void admin_invalidate(struct front *front, struct connection *connection,
                      const struct resp_request *request)
{
    struct to_back message = {.type = TO_BACK_INVALIDATE};
    struct slice key = request->argv[1];

    message.invalidate.all = slice_is(key, "ALL");
    if (!message.invalidate.all && !take_key(connection, key))
        return;
    key_hasher_digests(front->hasher, key, &message.invalidate.digests);
    ask_back(front, connection, &message, reply_limit_us);
}

void admin_flush(struct front *front, struct connection *connection,
                 const struct resp_request *request)
{
    (void)request;
    ask_back(front, connection, &(struct to_back){.type = TO_BACK_FLUSH}, flush_limit_us);
}

void admin_reload(struct front *front, struct connection *connection,
                  const struct resp_request *request)
{
    (void)request;
    ask_back(front, connection, &(struct to_back){.type = TO_BACK_RELOAD}, reply_limit_us);
}

struct listing {
    struct buffer text;
    size_t options;
};

static void list_option(void *arg, const char *name, const char *value)
{
    struct listing *listing = arg;

    resp_text(&listing->text, name);
    resp_text(&listing->text, value);
    listing->options++;
}

void admin_config(struct front *front, struct connection *connection,
                  const struct resp_request *request)
{
    struct buffer *out = connection_reply(connection);
    struct listing listing = {0};
    char glob[128] = "";

    if (request->argc != 3 || !slice_is(request->argv[1], "GET") ||
        request->argv[2].len >= sizeof glob) {
        resp_error(out, "ERR syntax: CONFIG GET <glob>; values change in the file, then RELOAD");
        return;
    }
    memcpy(glob, request->argv[2].at, request->argv[2].len);
    config_each(front->config, glob, list_option, &listing);
    resp_map(out, listing.options, resp_client(connection)->resp3);
    buffer_append(out, buffer_held(&listing.text).at, listing.text.len);
    buffer_free(&listing.text);
}

static const char *name_of(const struct connection *connection)
{
    const struct protocol *protocol = connection->protocol;

    return protocol->client_name ? protocol->client_name(connection) : "";
}

static void print_client(const struct front *front, const struct connection *client,
                         struct buffer *text)
{
    buffer_printf(text,
                  "id=%" PRIu64 " fd=%d name=%s age=%" PRId64 " socket=%s pid=%d uid=%u gid=%u "
                  "requests=%" PRIu64 " pending=%zu qbuf=%zu obuf=%zu cmd=%s\n",
                  client->id, client->fd, name_of(client),
                  (front->now_us - client->opened_us) / 1000000, client->protocol->name,
                  (int)client->peer.pid, (unsigned)client->peer.uid, (unsigned)client->peer.gid,
                  client->requests, client->pending_count, client->in.len,
                  connection_unwritten(client), client->last_command);
}

void admin_client_info(struct front *front, struct connection *connection)
{
    struct buffer text = {0};

    print_client(front, connection, &text);
    resp_verbatim(connection_reply(connection), buffer_held(&text), resp_client(connection)->resp3);
    buffer_free(&text);
}

void admin_client_list(struct front *front, struct connection *connection)
{
    struct buffer text = {0};
    const struct connection *other;

    TAILQ_FOREACH(other, &front->clients.all, in_all)
    {
        print_client(front, other, &text);
    }
    resp_verbatim(connection_reply(connection), buffer_held(&text), resp_client(connection)->resp3);
    buffer_free(&text);
}

void admin_client_kill(struct front *front, struct connection *connection, struct slice id)
{
    struct connection *other;
    char text[24] = "";

    if (id.len < sizeof text)
        memcpy(text, id.at, id.len);
    TAILQ_FOREACH(other, &front->clients.all, in_all)
    {
        if (other->id != strtoull(text, NULL, 10))
            continue;
        resp_simple(connection_reply(connection), "OK");
        /* A client that kills itself gets the reply first. */
        if (other == connection)
            connection_finish(other);
        else
            connection_kill(other);
        return;
    }
    resp_error(connection_reply(connection), "ERR No such client");
}
