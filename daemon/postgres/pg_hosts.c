/* SPDX-License-Identifier: MIT */
#include "pg_hosts.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

/* Steps through a comma list. A list of one entry repeats it, as libpq does with ports, and an
 * empty list yields "". */
struct entries {
    const char *at;
    size_t count;
};

/* Returns the parameters that libpq makes of connection string, service and environment. libpq
 * tells them only of a connection, so this starts one that ends before it resolves a host, at an
 * sslmode that does not exist. It has a password, or libpq would look for one in the password file.
 * NULL when out of memory. */
static PQconninfoOption *effective_options(const char *dsn)
{
    const char *keyword[] = {"dbname", "sslmode", "password", NULL};
    const char *value[] = {dsn, "none-only-ask", "none", NULL};
    PGconn *pg = PQconnectStartParams(keyword, value, 1);
    PQconninfoOption *options = pg ? PQconninfo(pg) : NULL;

    PQfinish(pg);
    return options;
}

/* The value of a keyword, or "". */
static const char *value_of(const PQconninfoOption *options, const char *keyword)
{
    for (; options && options->keyword; options++) {
        if (strcmp(options->keyword, keyword) == 0 && options->val)
            return options->val;
    }
    return "";
}

/* Split a comma list into consecutive strings in `room`. */
static struct entries split(struct buffer *room, const char *list)
{
    struct entries entries = {.at = "", .count = list[0] != '\0'};

    if (entries.count == 0)
        return entries;
    buffer_append(room, list, strlen(list) + 1);
    entries.at = room->data;
    for (char *comma = room->data; (comma = strchr(comma, ',')); entries.count++)
        *comma++ = '\0';
    return entries;
}

static const char *take(struct entries *entries)
{
    const char *entry = entries->at;

    if (entries->count > 1)
        entries->at += strlen(entry) + 1;
    return entry;
}

static void add_entry(struct buffer *list, bool first, const char *text)
{
    if (!first)
        buffer_text(list, ",");
    buffer_text(list, text);
}

static void add(struct pg_hosts *hosts, const char *host, const char *address, const char *port)
{
    bool first = hosts->count++ == 0;

    add_entry(&hosts->host, first, host);
    add_entry(&hosts->hostaddr, first, address);
    add_entry(&hosts->port, first, port);
}

static void note_unresolved(struct pg_hosts *hosts, const char *name, int error)
{
    char text[sizeof hosts->why] = "";
    const char *why =
        error == EAI_SYSTEM ? strerror_r(errno, text, sizeof text) : gai_strerror(error);

    hosts->unresolved = name;
    snprintf(hosts->why, sizeof hosts->why, "%s", why);
}

static void resolve(struct pg_hosts *hosts, const char *name, const char *port)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses = NULL;

    atomic_store(&hosts->resolving, name);
    int error = getaddrinfo(name, NULL, &hints, &addresses);
    if (error != 0) {
        note_unresolved(hosts, name, error);
        atomic_store(&hosts->resolving, NULL);
        return;
    }
    atomic_store(&hosts->resolving, NULL);
    for (const struct addrinfo *at = addresses; at; at = at->ai_next) {
        char text[NI_MAXHOST];

        if (getnameinfo(at->ai_addr, at->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST) ==
            0)
            add(hosts, name, text, port);
    }
    freeaddrinfo(addresses);
}

static bool is_unix_socket(const char *host)
{
    return host[0] == '\0' || host[0] == '/' || host[0] == '@';
}

void pg_hosts_resolve(struct pg_hosts *hosts, const char *dsn)
{
    PQconninfoOption *options = effective_options(dsn);
    struct buffer address_room = {0}, port_room = {0};
    struct entries names = split(&hosts->names, value_of(options, "host"));
    struct entries addresses = split(&address_room, value_of(options, "hostaddr"));
    struct entries ports = split(&port_room, value_of(options, "port"));
    size_t count = addresses.count > names.count ? addresses.count : names.count;

    if (count == 0)
        count = 1; /* libpq's default, a Unix socket */
    /* libpq refuses lists of different lengths, so nothing is done here. */
    if ((names.count > 0 && addresses.count > 0 && names.count != addresses.count) ||
        (ports.count > 1 && ports.count != count))
        count = 0;
    for (size_t i = 0; i < count; i++) {
        const char *name = take(&names), *address = take(&addresses), *port = take(&ports);

        if (address[0] || is_unix_socket(name))
            add(hosts, name, address, port);
        else
            resolve(hosts, name, port);
    }
    buffer_text(&hosts->password_file, value_of(options, "passfile"));
    buffer_append(&hosts->password_file, "", 1);
    buffer_append(&hosts->host, "", 1);
    buffer_append(&hosts->hostaddr, "", 1);
    buffer_append(&hosts->port, "", 1);
    buffer_free(&address_room);
    buffer_free(&port_room);
    PQconninfoFree(options);
}

/* "a,b,c" becomes "b,c,a". */
static void rotate_list(char *list)
{
    char *comma = strchr(list, ',');

    if (!comma)
        return;
    size_t len = (size_t)(comma - list);
    size_t rest = strlen(comma + 1);
    char *first = strndup(list, len);
    if (!first)
        return;
    memmove(list, comma + 1, rest);
    list[rest] = ',';
    memcpy(list + rest + 1, first, len);
    free(first);
}

void pg_hosts_rotate(struct pg_hosts *hosts)
{
    rotate_list(hosts->host.data);
    rotate_list(hosts->hostaddr.data);
    rotate_list(hosts->port.data);
}

void pg_hosts_free(struct pg_hosts *hosts)
{
    buffer_free(&hosts->host);
    buffer_free(&hosts->hostaddr);
    buffer_free(&hosts->port);
    buffer_free(&hosts->names);
    buffer_free(&hosts->password_file);
}
