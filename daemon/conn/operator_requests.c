/* SPDX-License-Identifier: MIT */
#include <apikeyd/conn/operator_requests.h>

#include <stdlib.h>

#include <apikeyd/conn/connection.h>
#include <apikeyd/wire/resp_reply.h>

struct operator_request {
    struct operator_requests *requests;
    TAILQ_ENTRY(operator_request) in_waiting;
    uint64_t number;
    int64_t deadline_us;
    struct pending_reply *pending;
};

void operator_requests_init(struct operator_requests *requests)
{
    *requests = (struct operator_requests){0};
    TAILQ_INIT(&requests->waiting);
}

uint64_t operator_requests_number(const struct operator_requests *requests)
{
    return requests->last + 1;
}

static void request_free(struct operator_request *request)
{
    TAILQ_REMOVE(&request->requests->waiting, request, in_waiting);
    free(request);
}

static void on_client_gone(void *owner)
{
    request_free(owner);
}

bool operator_requests_wait(struct operator_requests *requests, struct connection *connection,
                            int64_t deadline_us)
{
    struct operator_request *request = malloc(sizeof *request);
    struct pending_reply *pending = request ? pending_reply_open_expensive(connection) : NULL;

    requests->last++;
    requests->awaited++;
    if (!pending) {
        free(request);
        return false;
    }
    *request = (struct operator_request){.requests = requests,
                                         .number = requests->last,
                                         .deadline_us = deadline_us,
                                         .pending = pending};
    pending->cancel = on_client_gone;
    pending->owner = request;
    TAILQ_INSERT_TAIL(&requests->waiting, request, in_waiting);
    return true;
}

static void answer(struct operator_request *request, struct slice reply)
{
    struct pending_reply *pending = request->pending;

    request_free(request);
    buffer_append(pending_reply_buffer(pending), reply.at, reply.len);
    pending_reply_close(pending);
}

void operator_requests_reply(struct operator_requests *requests, uint64_t number,
                             struct slice reply)
{
    struct operator_request *request;

    requests->awaited--;
    TAILQ_FOREACH(request, &requests->waiting, in_waiting)
    {
        if (request->number == number) {
            answer(request, reply);
            return;
        }
    }
}

void operator_requests_expire(struct operator_requests *requests, int64_t now_us)
{
    static const char error[] = "-" NO_ANSWER_FROM_BACK "\r\n";
    struct operator_request *next;

    for (struct operator_request *request = TAILQ_FIRST(&requests->waiting); request;
         request = next) {
        next = TAILQ_NEXT(request, in_waiting);
        if (request->deadline_us <= now_us)
            answer(request, (struct slice){error, sizeof error - 1});
    }
}
