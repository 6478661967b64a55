/* SPDX-License-Identifier: MIT */
#include <apikeyd/observe/metrics_server.h>

#include <stdlib.h>
#include <string.h>

#include <event2/event_struct.h>
#include <microhttpd.h>

#include <apikeyd/observe/report.h>
#include <apikeyd/thread/timer.h>

#include "status_page.h"

/* Fewer than may ask the monitor, so that its own stats poll always finds room. */
enum { CONNECTIONS_MAX = 24, IDLE_SECONDS = 15, CONNECTION_BYTES = 16 * 1024 };

struct metrics_server {
    struct MHD_Daemon *mhd;
    struct monitor *monitor;
    struct event readable, timer;
};

/* Print the page of a path. Without a snapshot the front thread does not answer. */
struct page {
    const char *path, *type;
    unsigned (*print)(struct status_snapshot *snapshot, struct buffer *out);
};

/* One request; suspended while the monitor is asked. */
struct request {
    struct metrics_server *server;
    struct MHD_Connection *connection;
    const struct page *page;
    bool asked;
    struct MHD_Response *response; /* the answer, … */
    unsigned status;               /* … and its status code */
};

static const char silent[] = "the front thread does not answer\n";

static unsigned print_status_page(struct status_snapshot *snapshot, struct buffer *out)
{
    (void)snapshot;
    buffer_append(out, status_page, status_page_len);
    return MHD_HTTP_OK;
}

static unsigned print_status(struct status_snapshot *snapshot, struct buffer *out)
{
    report_print(REPORT_STATUS, "", snapshot, out);
    return MHD_HTTP_OK;
}

static unsigned print_metrics(struct status_snapshot *snapshot, struct buffer *out)
{
    report_print(REPORT_METRICS, "", snapshot, out);
    return MHD_HTTP_OK;
}

static unsigned print_health(struct status_snapshot *snapshot, struct buffer *out)
{
    (void)snapshot;
    buffer_text(out, "alive\n");
    return MHD_HTTP_OK;
}

static unsigned print_readiness(struct status_snapshot *snapshot, struct buffer *out)
{
    struct buffer why = {0};
    bool ready = status_snapshot_ready(snapshot, &why);

    buffer_printf(out, "%sready: %.*s\n", ready ? "" : "not ", (int)why.len, why.data);
    buffer_free(&why);
    return ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static const struct page table[] = {
    {"/", "text/html; charset=utf-8", print_status_page},
    {"/status.json", "application/json", print_status},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", print_metrics},
    {"/healthz", "text/plain; charset=utf-8", print_health},
    {"/readyz", "text/plain; charset=utf-8", print_readiness},
};

static const struct page *find_page(const char *path)
{
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(table[i].path, path) == 0)
            return &table[i];
    }
    return NULL;
}

/* The page loads nothing from other hosts, and no foreign script runs in it. */
static const char policy[] = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; "
                             "script-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
                             "form-action 'none'; frame-ancestors 'none'";

/* Takes the bytes of *text. NULL when out of memory. */
static struct MHD_Response *make_response(struct buffer *text, const char *type)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(text->len, text->data, MHD_RESPMEM_MUST_FREE);

    if (!response) {
        buffer_free(text);
        return NULL;
    }
    *text = (struct buffer){0};
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "Content-Security-Policy", policy);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    return response;
}

static void on_snapshot(void *arg, const struct status_snapshot *snapshot)
{
    struct request *request = arg;
    struct buffer text = {0};
    struct status_snapshot own;

    if (snapshot) {
        own = *snapshot;
        request->status = request->page->print(&own, &text);
        request->response = make_response(&text, request->page->type);
    } else {
        buffer_text(&text, silent);
        request->status = MHD_HTTP_SERVICE_UNAVAILABLE;
        request->response = make_response(&text, "text/plain; charset=utf-8");
    }
    MHD_resume_connection(request->connection);
    /* The library has to run, but not from here, because the library may be the caller. */
    event_active(&request->server->timer, EV_TIMEOUT, 0);
}

static enum MHD_Result refuse(struct MHD_Connection *connection, unsigned status, const char *why)
{
    struct buffer text = {0};

    buffer_text(&text, why);
    struct MHD_Response *response = make_response(&text, "text/plain; charset=utf-8");
    if (!response)
        return MHD_NO;
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result queued = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return queued;
}

/* libmicrohttpd calls this when the head is there (*context is still the result of on_uri()), again
 * for the end of the request, and again when a suspended connection is resumed. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_len, void **context)
{
    struct request *request = *context;

    (void)version;
    (void)body;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD are taken\n");
    if (!request) {
        const struct page *page = find_page(url);

        if (!page)
            return refuse(connection, MHD_HTTP_NOT_FOUND,
                          "here are /, /status.json, /metrics, /healthz and /readyz\n");
        request = calloc(1, sizeof *request);
        if (!request)
            return MHD_NO;
        *request = (struct request){.server = arg, .connection = connection, .page = page};
        *context = request;
        return MHD_YES;
    }
    *body_len = 0;
    if (!request->asked) {
        request->asked = true;
        MHD_suspend_connection(connection);
        monitor_ask(request->server->monitor, on_snapshot, request);
        return MHD_YES;
    }
    return request->response ? MHD_queue_response(connection, request->status, request->response)
                             : MHD_NO;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
                         enum MHD_RequestTerminationCode why)
{
    struct request *request = *context;

    (void)arg;
    (void)connection;
    (void)why;
    if (request && request->response)
        MHD_destroy_response(request->response);
    free(request);
    *context = NULL;
}

/* Run the library, and set the timer to the library's next deadline. */
static void run(struct metrics_server *server)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;

    MHD_run(server->mhd);
    /* The library checks for room for new connections when a run begins. */
    MHD_run(server->mhd);
    if (MHD_get_timeout(server->mhd, &wait_ms) == MHD_YES)
        timer_start(&server->timer, (int64_t)wait_ms * 1000);
    else
        event_del(&server->timer);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    run(arg);
}

/* Malformed requests are not logged. */
static void ignore_message(void *arg, const char *format, va_list args)
{
    (void)arg;
    (void)format;
    (void)args;
}

struct metrics_server *metrics_server_new(struct event_base *base, struct monitor *monitor, int fd)
{
    struct metrics_server *server = calloc(1, sizeof *server);
    const union MHD_DaemonInfo *info;

    if (!server)
        return NULL;
    server->monitor = monitor;
    server->mhd = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request,
        server, MHD_OPTION_EXTERNAL_LOGGER, ignore_message, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    info = server->mhd ? MHD_get_daemon_info(server->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info) {
        if (server->mhd)
            MHD_stop_daemon(server->mhd);
        free(server);
        return NULL;
    }
    event_assign(&server->readable, base, info->epoll_fd, EV_READ | EV_PERSIST, on_event, server);
    event_assign(&server->timer, base, -1, 0, on_event, server);
    event_add(&server->readable, NULL);
    return server;
}

void metrics_server_free(struct metrics_server *server)
{
    if (!server)
        return;
    event_del(&server->readable);
    event_del(&server->timer);
    MHD_run(server->mhd);            /* for the request that was resumed last */
    MHD_quiesce_daemon(server->mhd); /* without this it would close the socket */
    MHD_stop_daemon(server->mhd);
    free(server);
}
