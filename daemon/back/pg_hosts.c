/* SPDX-License-Identifier: MIT */
#include "apikeyd/pg_hosts.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>

#include <event2/util.h>
#include <libpq-fe.h>

struct pg_hosts_request {
    struct evdns_base *dns;
    char *host, *port; /* comma lists from the connection string */
    const char *next_host, *next_port;
    char current_host[256], current_port[16];
    struct pg_hosts found;
    struct evdns_getaddrinfo_request *query;
    bool starting; /* still inside pg_hosts_resolve() */
    bool cancelled;
    bool finished;
    char why[512];
    void (*done)(void *arg, struct pg_hosts *hosts, const char *why);
    void *arg;
};

static void resolve_next(struct pg_hosts_request *request);

static void request_free(struct pg_hosts_request *request)
{
    buffer_free(&request->found.host);
    buffer_free(&request->found.hostaddr);
    buffer_free(&request->found.port);
    free(request->host);
    free(request->port);
    free(request);
}

static void add_entry(struct buffer *list, bool first, const char *text)
{
    if (!first)
        buffer_append(list, ",", 1);
    buffer_append(list, text, strlen(text));
}

static void add_address(struct pg_hosts_request *request, const char *address)
{
    bool first = request->found.host.len == 0;

    add_entry(&request->found.host, first, request->current_host);
    add_entry(&request->found.hostaddr, first, address);
    add_entry(&request->found.port, first, request->current_port);
}

/* Take the next entry of a comma list; an exhausted list of one stays at its only entry, as
 * libpq has it for ports. */
static bool take_entry(const char **list, char *ret, size_t size)
{
    const char *text = *list;

    if (!text)
        return false;
    const char *comma = strchr(text, ',');
    size_t len = comma ? (size_t)(comma - text) : strlen(text);
    snprintf(ret, size, "%.*s", (int)len, text);
    *list = comma ? comma + 1 : NULL;
    return true;
}

static bool numeric(const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static void finish(struct pg_hosts_request *request)
{
    buffer_append(&request->found.host, "", 1);
    buffer_append(&request->found.hostaddr, "", 1);
    buffer_append(&request->found.port, "", 1);
    request->finished = true;
    if (request->starting)
        return;
    bool any = request->found.host.len > 1;
    request->done(request->arg, any ? &request->found : NULL, request->why);
    request_free(request);
}

static void on_addresses(int error, struct evutil_addrinfo *addresses, void *arg)
{
    struct pg_hosts_request *request = arg;

    request->query = NULL;
    if (request->cancelled) {
        if (addresses)
            evutil_freeaddrinfo(addresses);
        request_free(request);
        return;
    }
    if (error)
        snprintf(request->why, sizeof request->why, "cannot resolve \"%s\": %s",
                 request->current_host, evutil_gai_strerror(error));
    for (struct evutil_addrinfo *at = addresses; at; at = at->ai_next) {
        char text[INET6_ADDRSTRLEN];

        if (getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) ==
            0)
            add_address(request, text);
    }
    if (addresses)
        evutil_freeaddrinfo(addresses);
    resolve_next(request);
}

static void resolve_next(struct pg_hosts_request *request)
{
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};

    while (take_entry(&request->next_host, request->current_host, sizeof request->current_host)) {
        take_entry(&request->next_port, request->current_port, sizeof request->current_port);
        const char *host = request->current_host;
        if (host[0] == '\0' || host[0] == '/' || host[0] == '@') {
            add_address(request, ""); /* a Unix socket */
        } else if (numeric(host)) {
            add_address(request, host);
        } else {
            struct evdns_getaddrinfo_request *query =
                evdns_getaddrinfo(request->dns, host, NULL, &hints, on_addresses, request);
            /* NULL: on_addresses() was called and went on; the request may be gone. */
            if (query)
                request->query = query;
            return;
        }
    }
    finish(request);
}

/* The value of a keyword, or NULL. */
static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options && options->keyword; options++) {
        if (strcmp(options->keyword, keyword) == 0 && options->val && options->val[0])
            return options->val;
    }
    return NULL;
}

/* A string without "=" or "://" is the name of a database. */
static bool is_conninfo(const char *dsn)
{
    return strchr(dsn, '=') || strstr(dsn, "://");
}

/* "a,b,c" becomes "b,c,a". */
static void rotate_list(struct buffer *list)
{
    char *comma = list->len > 0 ? strchr(list->data, ',') : NULL;

    if (!comma)
        return;
    char *first = strndup(list->data, (size_t)(comma - list->data));
    if (!first)
        return;
    size_t rest = strlen(comma + 1);
    memmove(list->data, comma + 1, rest);
    list->data[rest] = ',';
    strcpy(list->data + rest + 1, first);
    free(first);
}

void pg_hosts_rotate(struct pg_hosts *hosts)
{
    rotate_list(&hosts->host);
    rotate_list(&hosts->hostaddr);
    rotate_list(&hosts->port);
}

/* What is to be resolved; false when libpq can do without. */
static bool find_hosts(struct pg_hosts_request *request, const char *dsn)
{
    PQconninfoOption *options = is_conninfo(dsn) ? PQconninfoParse(dsn, NULL) : NULL;
    const char *host = value_of(options, "host");
    const char *port = value_of(options, "port");

    if (!host && !value_of(options, "service"))
        host = getenv("PGHOST");
    if (!port)
        port = getenv("PGPORT");
    if (host && !value_of(options, "hostaddr") && !getenv("PGHOSTADDR")) {
        request->host = strdup(host);
        request->port = strdup(port ? port : "");
    }
    PQconninfoFree(options);
    return request->host && request->port;
}

struct pg_hosts_request *
pg_hosts_resolve(struct evdns_base *dns, const char *dsn,
                 void (*done)(void *arg, struct pg_hosts *hosts, const char *why), void *arg)
{
    struct pg_hosts_request *request = calloc(1, sizeof *request);

    if (!request) {
        done(arg, NULL, "memory is short");
        return NULL;
    }
    request->dns = dns;
    request->done = done;
    request->arg = arg;
    if (!find_hosts(request, dsn)) {
        done(arg, &(struct pg_hosts){0}, NULL);
        request_free(request);
        return NULL;
    }
    request->next_host = request->host;
    request->next_port = request->port;
    request->starting = true;
    resolve_next(request);
    request->starting = false;
    if (!request->finished)
        return request;
    bool any = request->found.host.len > 1;
    done(arg, any ? &request->found : NULL, request->why);
    request_free(request);
    return NULL;
}

void pg_hosts_cancel(struct pg_hosts_request *request)
{
    request->cancelled = true;
    if (request->query)
        evdns_getaddrinfo_cancel(request->query); /* on_addresses() frees the request */
}
