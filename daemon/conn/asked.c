/* SPDX-License-Identifier: MIT */
#include <apikeyd/conn/asked.h>

#include <stdlib.h>

#include <apikeyd/conn/pending_reply.h>
#include <apikeyd/wire/resp_reply.h>

struct question {
    struct asked *asked;
    TAILQ_ENTRY(question) in_waiting;
    uint64_t number;
    int64_t deadline_us;
    struct pending_reply *pending;
};

void asked_init(struct asked *asked)
{
    *asked = (struct asked){0};
    TAILQ_INIT(&asked->waiting);
}

uint64_t asked_number(const struct asked *asked)
{
    return asked->last + 1;
}

static void question_free(struct question *question)
{
    TAILQ_REMOVE(&question->asked->waiting, question, in_waiting);
    free(question);
}

static void on_client_gone(void *owner)
{
    question_free(owner);
}

bool asked_wait(struct asked *asked, struct connection *connection, int64_t deadline_us)
{
    struct question *question = malloc(sizeof *question);
    struct pending_reply *pending = question ? pending_reply_open_expensive(connection) : NULL;

    asked->last++;
    asked->awaited++;
    if (!pending) {
        free(question);
        return false;
    }
    *question = (struct question){
        .asked = asked, .number = asked->last, .deadline_us = deadline_us, .pending = pending};
    pending->cancel = on_client_gone;
    pending->owner = question;
    TAILQ_INSERT_TAIL(&asked->waiting, question, in_waiting);
    return true;
}

static void answer(struct question *question, struct slice reply)
{
    struct pending_reply *pending = question->pending;

    question_free(question);
    buffer_append(pending_reply_buffer(pending), reply.at, reply.len);
    pending_reply_close(pending);
}

void asked_reply(struct asked *asked, uint64_t number, struct slice reply)
{
    struct question *question;

    asked->awaited--;
    TAILQ_FOREACH(question, &asked->waiting, in_waiting)
    {
        if (question->number == number) {
            answer(question, reply);
            return;
        }
    }
}

void asked_expire(struct asked *asked, int64_t now_us)
{
    static const char error[] = "-" ASKED_NO_ANSWER "\r\n";
    struct question *next;

    for (struct question *question = TAILQ_FIRST(&asked->waiting); question; question = next) {
        next = TAILQ_NEXT(question, in_waiting);
        if (question->deadline_us <= now_us)
            answer(question, (struct slice){error, sizeof error - 1});
    }
}
