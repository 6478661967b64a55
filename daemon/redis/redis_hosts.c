/* SPDX-License-Identifier: MIT */
#include "redis_hosts.h"

#include <assert.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <apikeyd/thread/worker.h>

/* Owned by the worker while it runs. */
struct query {
    struct redis_hosts *hosts; /* for the loop's thread only: may be freed meanwhile */
    char host[256];
    char port[8];
    int error;
    struct addrinfo *found;
};

struct redis_hosts {
    struct event_base *base;
    void (*answered)(void *arg, const char *error);
    void *arg;
    char host[256]; /* empty: the list never changes */
    char port[8];
    struct worker *worker; /* a query is under way */
    struct redis_address list[REDIS_ADDRESSES_MAX], worked;
    size_t len, next;
    bool has_worked;   /* there is such an address, … */
    bool worked_tried; /* … and this round has come to it */
    bool fresh;        /* the list is this round's answer */
};

static void set_address(struct redis_address *address, const void *at, socklen_t len)
{
    assert(len <= sizeof address->at);
    *address = (struct redis_address){.len = len};
    memcpy(&address->at, at, len);
}

static bool same_address(const struct redis_address *a, const struct redis_address *b)
{
    return a->len == b->len && memcmp(&a->at, &b->at, a->len) == 0;
}

/* Replace the known addresses. */
static void adopt(struct redis_hosts *hosts, const struct addrinfo *found)
{
    hosts->len = 0;
    for (; found && hosts->len < REDIS_ADDRESSES_MAX; found = found->ai_next)
        set_address(&hosts->list[hosts->len++], found->ai_addr, found->ai_addrlen);
    hosts->next = 0;
    hosts->fresh = true;
}

static int resolve(const char *host, const char *port, int flags, struct addrinfo **ret)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};

    return getaddrinfo(host, port, &hints, ret);
}

static void free_query(void *arg)
{
    struct query *query = arg;

    if (query->found)
        freeaddrinfo(query->found);
    free(query);
}

static void run_query(void *arg)
{
    struct query *query = arg;

    query->error = resolve(query->host, query->port, 0, &query->found);
}

static void on_answer(void *arg)
{
    struct query *query = arg;
    struct redis_hosts *hosts = query->hosts;
    const char *error = query->error ? gai_strerror(query->error) : NULL;

    hosts->worker = NULL;
    if (!error)
        adopt(hosts, query->found);
    free_query(query);
    hosts->answered(hosts->arg, error);
}

static void start_query(struct redis_hosts *hosts)
{
    struct query *query = calloc(1, sizeof *query);

    if (!query)
        return;
    query->hosts = hosts;
    memcpy(query->host, hosts->host, sizeof query->host);
    memcpy(query->port, hosts->port, sizeof query->port);
    hosts->worker = worker_start(hosts->base, run_query, on_answer, free_query, query);
    if (!hosts->worker)
        free_query(query);
}

static void set_path(struct redis_hosts *hosts, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert(strlen(path) < sizeof address.sun_path); /* redis_url_parse() has checked the length */
    memcpy(address.sun_path, path, strlen(path) + 1);
    set_address(&hosts->list[0], &address, sizeof address);
    hosts->len = 1;
}

struct redis_hosts *redis_hosts_new(struct event_base *base, const struct redis_host *host,
                                    void (*answered)(void *arg, const char *error), void *arg)
{
    struct redis_hosts *hosts = calloc(1, sizeof *hosts);
    struct addrinfo *found;

    if (!hosts)
        return NULL;
    hosts->base = base;
    hosts->answered = answered;
    hosts->arg = arg;
    snprintf(hosts->port, sizeof hosts->port, "%d", host->port);
    if (host->name[0] == '/')
        set_path(hosts, host->name);
    else if (resolve(host->name, hosts->port, AI_NUMERICHOST, &found) == 0) {
        adopt(hosts, found);
        freeaddrinfo(found);
    } else
        snprintf(hosts->host, sizeof hosts->host, "%s", host->name);
    return hosts;
}

void redis_hosts_free(struct redis_hosts *hosts)
{
    if (hosts && hosts->worker)
        worker_abandon(hosts->worker);
    free(hosts);
}

bool redis_hosts_ask(struct redis_hosts *hosts)
{
    hosts->next = 0;
    hosts->worked_tried = false;
    if (!hosts->host[0])
        return false;
    hosts->fresh = false;
    if (!hosts->worker)
        start_query(hosts);
    return hosts->worker != NULL;
}

bool redis_hosts_next(struct redis_hosts *hosts, struct redis_address *ret)
{
    bool has_old = hosts->has_worked && !hosts->fresh;

    if (has_old && !hosts->worked_tried) {
        hosts->worked_tried = true;
        *ret = hosts->worked;
        return true;
    }
    while (hosts->next < hosts->len) {
        const struct redis_address *address = &hosts->list[hosts->next++];

        if (has_old && same_address(address, &hosts->worked))
            continue;
        *ret = *address;
        return true;
    }
    return false;
}

void redis_hosts_worked(struct redis_hosts *hosts, const struct redis_address *address)
{
    hosts->worked = *address;
    hosts->has_worked = true;
}

void redis_address_to_text(const struct redis_address *address,
                           char ret[static REDIS_ADDRESS_TEXT_SIZE])
{
    const struct sockaddr *at = (const struct sockaddr *)&address->at;
    char host[INET6_ADDRSTRLEN + 16] = "?";
    char port[8] = "?";

    if (at->sa_family == AF_UNIX) {
        snprintf(ret, REDIS_ADDRESS_TEXT_SIZE, "%s", ((const struct sockaddr_un *)at)->sun_path);
        return;
    }
    (void)getnameinfo(at, address->len, host, sizeof host, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(ret, REDIS_ADDRESS_TEXT_SIZE, at->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
             port);
}
