/* redis_hosts: the possible addresses of Redis.
 *
 *     ask ──▶ worker: getaddrinfo ──▶ answered ──▶ next, next, … until one works
 *
 * Before each round of tries a worker's thread resolves the host name again, so a name that moves
 * is found and a silent name server holds up nothing. The last answer is kept, and so is the
 * address that worked last: these are tried while the name server is silent. A Unix socket or an IP
 * address is a list of one that never changes. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_HOSTS_H
#define APIKEYD_REDIS_HOSTS_H

#include <stdbool.h>
#include <sys/socket.h>

#include <event2/event.h>

#include <apikeyd/config/redis_url.h>

/* Maximum of addresses of one name; more are not tried. */
enum { REDIS_ADDRESSES_MAX = 16, REDIS_ADDRESS_TEXT_SIZE = 128 };

struct redis_address {
    struct sockaddr_storage at;
    socklen_t len;
};

struct redis_hosts;

/* `answered` is called when the name server has answered, perhaps late: with NULL when there are
 * new addresses, else with the reason. NULL when out of memory. `host` is not kept; a
 * name that starts with / is the path of a Unix socket. */
struct redis_hosts *redis_hosts_new(struct event_base *base, const struct redis_host *host,
                                    void (*answered)(void *arg, const char *error), void *arg);

/* `answered` is not called any more. Does not wait. */
void redis_hosts_free(struct redis_hosts *hosts);

/* Begin a round of tries. True when `answered` will be called: wait for that. False when the
 * addresses are known. A resolution under way is not started twice. */
bool redis_hosts_ask(struct redis_hosts *hosts);

/* Set *ret to the next address of this round; false when all have been tried. The addresses of a
 * new answer are tried from the first on, even in the middle of a round. */
bool redis_hosts_next(struct redis_hosts *hosts, struct redis_address *ret);

/* Redis was found there. */
void redis_hosts_worked(struct redis_hosts *hosts, const struct redis_address *address);

/* "10.0.0.1:6379", "[::1]:6379", or a path. */
void redis_address_to_text(const struct redis_address *address,
                           char ret[static REDIS_ADDRESS_TEXT_SIZE]);

#endif
