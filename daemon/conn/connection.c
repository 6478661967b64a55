/* SPDX-License-Identifier: MIT */
#include <apikeyd/conn/connection.h>

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <apikeyd/clock/clock.h>

enum {
    READ_SIZE = 16 * 1024,
    DRAIN_READS = 16,  /* more than a Unix socket holds by default */
    EXPENSIVE_MAX = 4, /* unanswered INFO and the like of one client before it has to wait */
    SPARE_MAX = 2 * 1024 * 1024,
    /* Bytes that a client may make the daemon retain, for example replies that it leaves unread
     * before it has to wait. Client libraries send a whole pipeline before they read, so the limit
     * is high; but not for all clients at once. */
    BYTES_MAX = 8 * 1024 * 1024,
    BYTES_MAX_WHEN_FULL = 64 * 1024,
    RETAINED_FULL = 256 * 1024 * 1024, /* bytes retained for all connections */
    PIECE_SIZE = 4000,                 /* of the backlog: one unread byte retains no more */
    QUEUED_MAX = 256 * 1024,           /* behind a pending reply: closing it moves them */
    PENDING_BYTES = 512,               /* of a pending reply and what its owner has allocated */
    PENDING_MAX_WHEN_FULL = BYTES_MAX_WHEN_FULL / PENDING_BYTES,
};

struct pending_reply *pending_reply_open(struct connection *connection)
{
    struct pending_reply *pending = calloc(1, sizeof *pending);

    if (!pending)
        return NULL;
    pending->connection = connection;
    pending->position = connection->queued_base + connection->queued.len;
    TAILQ_INSERT_TAIL(&connection->pending_replies, pending, in_connection);
    connection->pending_count++;
    return pending;
}

struct pending_reply *pending_reply_open_expensive(struct connection *connection)
{
    struct pending_reply *pending = pending_reply_open(connection);

    if (pending) {
        pending->expensive = true;
        connection->expensive_count++;
    }
    return pending;
}

struct buffer *pending_reply_buffer(struct pending_reply *pending)
{
    struct connection *connection = pending->connection;

    if (TAILQ_FIRST(&connection->pending_replies) == pending)
        return &connection->out;
    return &pending->reply;
}

static void pending_reply_free(struct pending_reply *pending)
{
    buffer_free(&pending->reply);
    free(pending);
}

/* Remove the first pending reply: the text queued up to the next one is free to go. */
static void pop_first(struct connection *connection)
{
    struct pending_reply *pending = TAILQ_FIRST(&connection->pending_replies);
    struct pending_reply *next = TAILQ_NEXT(pending, in_connection);
    uint64_t end = next ? next->position : connection->queued_base + connection->queued.len;
    size_t len = (size_t)(end - connection->queued_base);

    buffer_append(&connection->out, buffer_held(&connection->queued).at, len);
    buffer_consume(&connection->queued, len);
    connection->queued_base = end;
    TAILQ_REMOVE(&connection->pending_replies, pending, in_connection);
    connection->pending_count--;
    if (pending->expensive)
        connection->expensive_count--;
    pending_reply_free(pending);
}

void pending_reply_close(struct pending_reply *pending)
{
    struct connection *connection = pending->connection;

    pending->answered = true;
    if (TAILQ_FIRST(&connection->pending_replies) != pending)
        return;
    pop_first(connection);
    for (struct pending_reply *next;
         (next = TAILQ_FIRST(&connection->pending_replies)) && next->answered;) {
        struct slice reply = buffer_held(&next->reply);

        buffer_append(&connection->out, reply.at, reply.len);
        pop_first(connection);
    }
    if (TAILQ_EMPTY(&connection->pending_replies))
        buffer_free(&connection->queued);
    connection_schedule(connection);
}

/* Cancel all pending replies of a connection that is going away. */
static void pending_replies_abandon(struct connection *connection)
{
    for (struct pending_reply *pending; (pending = TAILQ_FIRST(&connection->pending_replies));) {
        TAILQ_REMOVE(&connection->pending_replies, pending, in_connection);
        connection->pending_count--;
        if (pending->expensive)
            connection->expensive_count--;
        /* The answering code has released an answered reply already. */
        if (pending->cancel && !pending->answered)
            pending->cancel(pending->owner);
        pending_reply_free(pending);
    }
}

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);

/* Now; pending and unwritten replies are lost. */
static void connection_close(struct connection *connection)
{
    struct clients *clients = connection->clients;

    pending_replies_abandon(connection);
    if (connection->protocol->close)
        connection->protocol->close(connection);
    event_del(&connection->readable);
    event_del(&connection->writable);
    close(connection->fd);
    TAILQ_REMOVE(&clients->all, connection, in_all);
    if (connection->waiting)
        TAILQ_REMOVE(connection->waiting, connection, in_waiting);
    clients->count--;
    process_table_leave(connection->process);
    clients->retained -= connection->retained;
    if (connection->in.len > 0)
        explicit_bzero(connection->in.data + connection->in.start, connection->in.len);
    buffer_free(&connection->in);
    buffer_free(&connection->out);
    buffer_free(&connection->queued);
    if (connection->backlog)
        evbuffer_free(connection->backlog);
    free(connection);
    if (clients->count == 0 && clients->emptied)
        clients->emptied(clients->arg);
}

bool connection_open(struct clients *clients, int fd, const struct protocol *protocol,
                     struct peer peer)
{
    struct connection *connection = calloc(1, sizeof *connection + protocol->state_size);
    struct process *process = connection ? process_table_join(&clients->processes, peer.pid) : NULL;

    if (!process) {
        free(connection);
        close(fd);
        return false;
    }
    connection->process = process;
    connection->clients = clients;
    connection->fd = fd;
    connection->protocol = protocol;
    connection->state = connection + 1;
    connection->peer = peer;
    connection->opened_us = clock_monotonic_us();
    connection->stalled_us = protocol->timed ? connection->opened_us : 0;
    connection->id = ++clients->last_id;
    connection->process_id = peer.pid > 0 ? (uint32_t)peer.pid : (uint32_t)connection->id;
    connection->last_command = "none";
    TAILQ_INIT(&connection->pending_replies);
    event_assign(&connection->readable, clients->base, fd, EV_READ | EV_PERSIST, on_readable,
                 connection);
    event_assign(&connection->writable, clients->base, fd, EV_WRITE | EV_PERSIST, on_writable,
                 connection);
    TAILQ_INSERT_TAIL(&clients->all, connection, in_all);
    clients->count++;
    event_add(&connection->readable, NULL);
    return true;
}

struct buffer *connection_reply(struct connection *connection)
{
    return TAILQ_EMPTY(&connection->pending_replies) ? &connection->out : &connection->queued;
}

void connection_finish(struct connection *connection)
{
    connection->closing = true;
}

void connection_kill(struct connection *connection)
{
    connection->closing = true;
    connection->killed = true;
    connection_schedule(connection);
}

/* Returns the bytes that could be written now. */
static inline size_t unwritten(const struct connection *connection)
{
    return connection->out.len +
           (connection->backlog ? evbuffer_get_length(connection->backlog) : 0);
}

size_t connection_unwritten(const struct connection *connection)
{
    return unwritten(connection) + connection->queued.len;
}

size_t connection_bytes_max(const struct connection *connection)
{
    return connection->clients->retained < RETAINED_FULL ? BYTES_MAX : BYTES_MAX_WHEN_FULL;
}

/* Many clients may wait for the same lookup, so admission control does not bound all of them. */
static inline size_t pending_max(const struct clients *clients)
{
    if (clients->retained < RETAINED_FULL || clients->pending_replies_max < PENDING_MAX_WHEN_FULL)
        return clients->pending_replies_max;
    return PENDING_MAX_WHEN_FULL;
}

/* Returns whether another request may be answered before the client takes its replies, and gets the
 * pending ones. */
static inline bool may_go_on(const struct connection *connection)
{
    const struct clients *clients = connection->clients;

    return unwritten(connection) + connection->queued.len < connection_bytes_max(connection) &&
           (clients->draining ||
            (connection->pending_count < pending_max(clients) &&
             connection->expensive_count < EXPENSIVE_MAX && connection->queued.len < QUEUED_MAX));
}

/* Handle as many requests of `in` as the limits allow now. */
static void handle_requests(struct connection *connection)
{
    struct clients *clients = connection->clients;

    while (connection->in.len > connection->wanted && !connection->closing &&
           may_go_on(connection)) {
        size_t before = connection->pending_count;

        if (quantum_used_up(&clients->quantum) && !clients->draining) {
            connection_schedule(connection);
            return;
        }
        size_t taken =
            connection->protocol->handle(clients->arg, connection, buffer_held(&connection->in));

        if (taken == 0)
            return;
        if (taken != REQUEST_GOES_ON)
            buffer_consume(&connection->in, taken);
        connection->wanted = 0;
        quantum_spend(&clients->quantum,
                      connection->pending_count > before ? COST_OF_PENDING_REPLY : 1);
    }
}

static void handle_input(struct connection *connection)
{
    struct clients *clients = connection->clients;
    struct buffer *in = &connection->in;
    size_t len = in->len;

    if (len == 0)
        return;
    char *from = in->data + in->start;
    clients->begin(clients->arg);
    handle_requests(connection);
    /* Keys are secrets: the buffer is cleared before another client gets it. */
    explicit_bzero(from, len - in->len);
}

/* Write as much as the client takes. False when the connection is broken. (SIGPIPE is ignored:
 * evbuffer_write() cannot pass MSG_NOSIGNAL.) */
static bool write_output(struct connection *connection)
{
    ssize_t written = 0;

    while (unwritten(connection) > 0) {
        if (connection->backlog) {
            written = evbuffer_write(connection->backlog, connection->fd);
            if (written > 0 && evbuffer_get_length(connection->backlog) == 0) {
                evbuffer_free(connection->backlog);
                connection->backlog = NULL;
            }
        } else {
            struct slice ready = buffer_held(&connection->out);
            written = send(connection->fd, ready.at, ready.len, MSG_NOSIGNAL);
            if (written > 0)
                buffer_consume(&connection->out, (size_t)written);
        }
        if (written < 0 && errno != EINTR)
            return errno == EAGAIN;
        connection->written += written > 0 ? (uint64_t)written : 0;
    }
    return true;
}

/* Ready bytes that the client does not take go to a buffer that is not moved when it grows. False
 * when out of memory. */
static bool move_to_backlog(struct connection *connection)
{
    if (connection->out.len > 0 && !connection->backlog)
        connection->backlog = evbuffer_new();
    while (connection->out.len > 0) {
        struct slice ready = buffer_held(&connection->out);
        size_t len = ready.len < PIECE_SIZE ? ready.len : PIECE_SIZE;

        if (!connection->backlog || evbuffer_add(connection->backlog, ready.at, len) != 0)
            return false;
        buffer_consume(&connection->out, len);
    }
    return true;
}

/* Ask for the events that the connection's state calls for. */
static void watch(struct connection *connection)
{
    bool reading = event_pending(&connection->readable, EV_READ, NULL);
    bool waits = !may_go_on(connection);
    bool read = !connection->closing && !waits;

    if (read && !reading && !connection->waiting)
        event_add(&connection->readable, NULL);
    if (!read && reading)
        event_del(&connection->readable);
    connection->clients->metrics->value[METRIC_READ_PAUSES] +=
        waits && !connection->closing && !connection->paused;
    connection->paused = waits;
    bool writing = event_pending(&connection->writable, EV_WRITE, NULL);
    if (unwritten(connection) > 0 && !writing)
        event_add(&connection->writable, NULL);
    if (unwritten(connection) == 0 && writing)
        event_del(&connection->writable);
}

/* Note since when a client of a timed protocol has been stalled: the client owes the rest of a
 * request, its first request, or the reading of its replies. Progress (another request, or all
 * bytes that were due) restarts the time. Replies that the daemon still owes do not count against
 * the client. */
static void note_stall(struct connection *connection)
{
    if (!connection->protocol->timed)
        return;
    size_t owed = unwritten(connection);
    bool asks = connection->requests > 0 &&
                (connection->in.len == 0 || connection->closing || !may_go_on(connection));
    bool progressed = connection->requests > connection->progress_requests ||
                      connection->written >= connection->progress_bytes;

    if (asks && owed == 0) {
        connection->stalled_us = 0;
    } else if (connection->stalled_us == 0 || progressed) {
        connection->stalled_us = clock_monotonic_us();
        connection->progress_requests = connection->requests;
        connection->progress_bytes = owed > 0 ? connection->written + owed : UINT64_MAX;
    }
}

/* Close when the client has taken everything: closing with bytes unread would reset a TCP
 * connection and could take the reply along (RFC 9112, section 9.6). http.timeout bounds it. */
static bool linger(struct connection *connection)
{
    if (!connection->protocol->timed || connection->ended || connection->clients->draining ||
        connection->killed || shutdown(connection->fd, SHUT_WR) != 0)
        return false;
    if (connection->in.len > 0)
        explicit_bzero(connection->in.data + connection->in.start, connection->in.len);
    buffer_consume(&connection->in, connection->in.len);
    connection->lingering = true;
    connection->stalled_us = clock_monotonic_us();
    event_del(&connection->writable);
    event_add(&connection->readable, NULL);
    return true;
}

static void note_retained(struct connection *connection)
{
    connection->clients->retained -= connection->retained;
    connection->retained = connection->in.cap + unwritten(connection) + connection->queued.cap +
                           connection->pending_count * PENDING_BYTES + connection->state_bytes;
    connection->clients->retained += connection->retained;
}

/* Handle requests and write replies, as far as possible. False when the connection is broken. */
static bool answer(struct connection *connection)
{
    struct clients *clients = connection->clients;

    buffer_borrow(&connection->out, &clients->spare_out, READ_SIZE);
    handle_input(connection);
    bool waits = connection->in.len > connection->wanted && !may_go_on(connection);
    bool fine = write_output(connection) && move_to_backlog(connection);
    buffer_give_back(&connection->out, &clients->spare_out, SPARE_MAX);
    if (connection->waiting != &clients->queue) /* else it needs the rest of its input */
        buffer_give_back(&connection->in, &clients->spare_in, SPARE_MAX);
    note_retained(connection);
    if (waits && may_go_on(connection)) /* the client has taken its replies */
        connection_schedule(connection);
    return fine;
}

/* Handle requests within this quantum, write replies as far as possible, and close or wait for the
 * next event. The connection may be gone afterwards. */
static void connection_serve(struct connection *connection)
{
    struct clients *clients = connection->clients;
    bool fine = !connection->killed;

    if (connection->lingering && fine)
        return;
    if (fine) {
        fine = answer(connection);
        quantum_spend(&clients->quantum, COST_OF_VISIT);
        clients->end(clients->arg);
        note_stall(connection);
    }
    bool done = connection->closing && unwritten(connection) == 0 && connection->pending_count == 0;
    if (!fine || (done && !linger(connection)))
        connection_close(connection);
    else if (!done)
        watch(connection);
}

/* Read the bytes that have arrived, up to READ_SIZE; false when there are none. At the end of the
 * stream, requests that came before it are still answered. */
static bool read_input(struct connection *connection)
{
    buffer_borrow(&connection->in, &connection->clients->spare_in, READ_SIZE);
    char *room = buffer_reserve(&connection->in, READ_SIZE);
    ssize_t got = recv(connection->fd, room, READ_SIZE, 0);

    if (got > 0) {
        connection->in.len += (size_t)got;
    } else if (got == 0) {
        connection->ended = true;
        connection_finish(connection);
    } else if (errno != EAGAIN && errno != EINTR) {
        connection_kill(connection);
    }
    return got > 0;
}

/* Ignore the bytes that arrive; only the end of the stream counts. */
static void discard_input(struct connection *connection)
{
    char bytes[16 * 1024];
    ssize_t got = recv(connection->fd, bytes, sizeof bytes, 0);

    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        connection_close(connection);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct connection *connection = arg;
    struct clients *clients = connection->clients;

    (void)fd;
    (void)what;
    if (connection->lingering) {
        discard_input(connection);
    } else if (connection->waiting == &clients->queue) {
        /* Earlier bytes are enough work. */
        event_del(&connection->readable);
    } else {
        read_input(connection);
        bool small = connection->in.len <= connection->protocol->small_request;

        if (quantum_serves_now(&clients->quantum, small)) {
            connection_serve(connection);
        } else {
            buffer_give_back(&connection->in, &clients->spare_in, SPARE_MAX);
            note_retained(connection);
            connection_schedule(connection);
        }
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    connection_serve(arg);
}

/* Read and handle the bytes that have arrived, and take no more. */
static void connection_drain(struct connection *connection)
{
    int left = DRAIN_READS;
    bool fine;

    do
        fine = answer(connection);
    while (fine && !connection->closing && may_go_on(connection) && left-- > 0 &&
           read_input(connection));
    connection_finish(connection);
    if (!fine)
        connection_kill(connection);
}

void clients_init(struct clients *clients)
{
    TAILQ_INIT(&clients->all);
    TAILQ_INIT(&clients->answered);
    TAILQ_INIT(&clients->queue);
    clients->reserve_fd = -1;
    quantum_begin(&clients->quantum);
}

void clients_done(struct clients *clients)
{
    for (struct connection *connection; (connection = TAILQ_FIRST(&clients->all));)
        connection_close(connection);
    buffer_free(&clients->spare_in);
    buffer_free(&clients->spare_out);
    if (clients->reserve_fd >= 0)
        close(clients->reserve_fd);
}

void connection_schedule(struct connection *connection)
{
    struct clients *clients = connection->clients;

    if (connection->waiting)
        return;
    connection->waiting = connection->in.len > 0 ? &clients->queue : &clients->answered;
    TAILQ_INSERT_TAIL(connection->waiting, connection, in_waiting);
}

static void serve_first(struct connection_list *waiting)
{
    struct connection *connection = TAILQ_FIRST(waiting);

    TAILQ_REMOVE(waiting, connection, in_waiting);
    connection->waiting = NULL;
    connection_serve(connection);
}

bool clients_run_ready(struct clients *clients)
{
    while (!TAILQ_EMPTY(&clients->answered))
        serve_first(&clients->answered);
    /* Work for small requests does not count here: small requests cannot starve the queue. */
    quantum_begin(&clients->quantum);
    while (!quantum_used_up(&clients->quantum) && !TAILQ_EMPTY(&clients->queue))
        serve_first(&clients->queue);
    quantum_begin(&clients->quantum);
    clients->quantum.iterations++;
    return TAILQ_EMPTY(&clients->queue);
}

bool clients_may_accept(const struct clients *clients)
{
    return quantum_may_accept(&clients->quantum, !TAILQ_EMPTY(&clients->queue));
}

void clients_cut_off(struct clients *clients, int64_t before_us)
{
    struct connection *connection;

    TAILQ_FOREACH(connection, &clients->all, in_all)
    {
        bool ours = connection->waiting && !connection->lingering; /* it waits in the queue */

        if (connection->stalled_us == 0 || connection->stalled_us >= before_us || ours ||
            connection->killed)
            continue;
        clients->metrics->value[METRIC_CUT_OFF] += !connection->lingering;
        connection_kill(connection);
    }
}

void clients_drain(struct clients *clients)
{
    struct connection *connection, *next;

    clients->draining = true;
    for (connection = TAILQ_FIRST(&clients->all); connection; connection = next) {
        next = TAILQ_NEXT(connection, in_all);
        if (connection->lingering)
            connection_kill(connection);
        if (!connection->closing)
            connection_drain(connection);
        connection_schedule(connection);
    }
}
