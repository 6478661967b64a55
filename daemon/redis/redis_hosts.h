/* redis_hosts: the addresses at which Redis may be.
 *
 *     ask ──▶ worker: getaddrinfo ──▶ answered ──▶ next, next, … until one works
 *
 * A host name is asked for anew before each round of tries, on a worker's thread, so that a name
 * that moves is found and a silent name server holds up nothing. What it said last is kept, and
 * so is the address that worked last: while nobody answers for the name these are tried. A Unix
 * socket or an IP address is a list of one that never changes. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_HOSTS_H
#define APIKEYD_REDIS_HOSTS_H

#include <stdbool.h>
#include <sys/socket.h>

#include <event2/event.h>

#include <apikeyd/config/redis_url.h>

/* Of one name; the others are not tried. */
enum { REDIS_ADDRESSES_MAX = 16, REDIS_ADDRESS_TEXT_SIZE = 128 };

struct redis_address {
    struct sockaddr_storage at;
    socklen_t len;
};

struct redis_hosts;

/* `answered` is called when the name server has answered, which may be late: with NULL when there
 * are new addresses, or with why there are none. NULL when out of memory. `url` is not kept. */
struct redis_hosts *redis_hosts_new(struct event_base *base, const struct redis_url *url,
                                    void (*answered)(void *arg, const char *error), void *arg);

/* `answered` is not called any more. Does not wait. */
void redis_hosts_free(struct redis_hosts *hosts);

/* Begin a round of tries. True when `answered` will be called, which is worth waiting for; false
 * when the addresses are known. A name that is being asked for already is not asked for twice. */
bool redis_hosts_ask(struct redis_hosts *hosts);

/* The next address of this round; false when all have been tried. Those that an answer brings
 * are tried from the first on, even in the middle of a round. */
bool redis_hosts_next(struct redis_hosts *hosts, struct redis_address *ret);

/* Redis was found there. */
void redis_hosts_worked(struct redis_hosts *hosts, const struct redis_address *address);

/* "10.0.0.1:6379", "[::1]:6379", or a path. */
void redis_address_to_text(const struct redis_address *address,
                           char ret[static REDIS_ADDRESS_TEXT_SIZE]);

#endif
