/* SPDX-License-Identifier: MIT */
#include <apikeyd/thread/log_writer.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <apikeyd/clock/clock.h>
#include <apikeyd/thread/thread.h>

enum { QUEUE_BYTES = 1024 * 1024 };

static const int64_t tell_interval_us = 1000000;

struct log_writer {
    log_output *output;
    int in_fd, out_fd; /* the pipe: in_fd takes lines and never blocks; out_fd hands them out */
    pthread_t thread;
    _Atomic uint64_t queued, dropped;
    /* Used by the log thread only: */
    uint64_t told; /* how many of `dropped` the log has reported */
    int64_t told_us;
};

struct message {
    int64_t at_us;
    enum log_level level;
    struct log_place place;
    size_t len;
    char text[LOG_LINE_SIZE]; /* with its NUL */
};

/* pipe(7): so many bytes are written whole or not at all. */
static_assert(sizeof(struct message) <= PIPE_BUF, "a line is written whole");

static bool read_whole(int fd, void *target, size_t len)
{
    char *to = target;

    while (len > 0) {
        ssize_t got = read(fd, to, len);

        if (got <= 0)
            return false;
        to += got;
        len -= (size_t)got;
    }
    return true;
}

/* False at the end. */
static bool take(struct log_writer *writer, struct message *message)
{
    return read_whole(writer->out_fd, message, offsetof(struct message, text)) &&
           read_whole(writer->out_fd, message->text, message->len);
}

/* Report dropped lines when the queue is empty, so that the reports end; but at least once a
 * second, because a slow reader may never empty the queue. */
static void tell_dropped(struct log_writer *writer)
{
    uint64_t dropped = atomic_load(&writer->dropped);
    int64_t now_us = clock_monotonic_us();
    char line[128];

    if (dropped == writer->told ||
        (atomic_load(&writer->queued) > 1 && now_us - writer->told_us < tell_interval_us))
        return;
    writer->told_us = now_us;
    snprintf(line, sizeof line,
             "log: %" PRIu64 " lines were dropped, because the log's reader did not take them",
             dropped - writer->told);
    struct log_record record = {
        .at_us = clock_wall_us(),
        .level = LOG_LEVEL_WARNING,
        .place = {__FILE__, __func__, __LINE__},
        .line = line,
    };
    if (writer->output(&record))
        writer->told = dropped;
}

static void *write_lines(void *arg)
{
    struct log_writer *writer = arg;
    struct message message;

    while (take(writer, &message)) {
        struct log_record record = {message.at_us, message.level, message.place, message.text};

        if (!writer->output(&record))
            atomic_fetch_add(&writer->dropped, 1);
        tell_dropped(writer);
        atomic_fetch_sub(&writer->queued, 1);
    }
    return NULL;
}

static void enqueue(void *arg, enum log_level level, const struct log_place *place,
                    const char *line)
{
    struct log_writer *writer = arg;
    struct message message;

    memset(&message, 0, offsetof(struct message, text)); /* padding included */
    message.at_us = clock_wall_us();
    message.level = level;
    message.place.file = place->file;
    message.place.function = place->function;
    message.place.line = place->line;
    message.len = strnlen(line, sizeof message.text - 1) + 1;
    memcpy(message.text, line, message.len - 1);
    message.text[message.len - 1] = '\0';
    atomic_fetch_add(&writer->queued, 1);
    if (write(writer->in_fd, &message, offsetof(struct message, text) + message.len) < 0) {
        atomic_fetch_sub(&writer->queued, 1);
        atomic_fetch_add(&writer->dropped, 1);
    }
}

int log_writer_start(log_output *output, struct log_writer **ret_writer)
{
    struct log_writer *writer = calloc(1, sizeof *writer);
    int ends[2];

    if (!writer)
        return -ENOMEM;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        free(writer);
        return -errno;
    }
    *writer = (struct log_writer){.output = output, .out_fd = ends[0], .in_fd = ends[1]};
    /* Where the user's limit allows less room, the daemon starts all the same. */
    (void)fcntl(writer->in_fd, F_SETPIPE_SZ, (int)QUEUE_BYTES);
    int error = fcntl(writer->in_fd, F_SETFL, O_NONBLOCK) != 0 ? -errno : 0;
    if (error == 0)
        error = thread_start(&writer->thread, "apikeyd-log", write_lines, writer);
    if (error < 0) {
        close(writer->in_fd);
        close(writer->out_fd);
        free(writer);
        return error;
    }
    *ret_writer = writer;
    return 0;
}

struct log log_writer_log(struct log_writer *writer, enum log_level level)
{
    return (struct log){.level = level, .sink = enqueue, .arg = writer};
}

uint64_t log_writer_queued(const struct log_writer *writer)
{
    return atomic_load(&writer->queued);
}

uint64_t log_writer_dropped(const struct log_writer *writer)
{
    return atomic_load(&writer->dropped);
}

void log_writer_flush(const struct log_writer *writer, int64_t timeout_us)
{
    int64_t end_us = clock_monotonic_us() + timeout_us;

    while (log_writer_queued(writer) > 0 && clock_monotonic_us() < end_us)
        (void)poll(NULL, 0, 1);
}

void log_writer_stop(struct log_writer *writer, int64_t timeout_us)
{
    if (!writer)
        return;
    close(writer->in_fd);
    if (!thread_join_within(writer->thread, timeout_us))
        return;
    close(writer->out_fd);
    free(writer);
}
