/* redis_tls: TLS to Redis, by certificates that may change.
 *
 *     ask ──▶ worker: reads the files ──▶ answered ──▶ redis_tls_connection(), … of this round
 *
 * Before each round of tries a worker's thread reads the files again, so certificates that are
 * renewed on disk count, and a disk that stands still holds up nothing: while it does, what was
 * read last is used. A file that is wrong ends the round; nothing falls back to earlier
 * certificates, or to a connection without TLS. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_TLS_H
#define APIKEYD_REDIS_TLS_H

#include <stdbool.h>

#include <event2/event.h>

#include <apikeyd/config/config.h>

struct redis_tls;
struct ssl_st;

enum { REDIS_TLS_WHY_SIZE = 256 };

/* `answered` is called when the files have been read, perhaps late: with NULL, or with what is
 * wrong with them. NULL when out of memory. */
struct redis_tls *redis_tls_new(struct event_base *base, const struct config *config,
                                void (*answered)(void *arg, const char *error), void *arg);

/* `answered` is not called any more. Does not wait. */
void redis_tls_free(struct redis_tls *tls);

/* Read the files. True when `answered` will be called: wait for that. Reading under way is not
 * started twice. */
__attribute__((warn_unused_result)) bool redis_tls_ask(struct redis_tls *tls);

/* Returns whether the files have been read once. */
bool redis_tls_ready(const struct redis_tls *tls);

/* Returns a connection to be, to a server whose certificate is for redis.server_name or else for
 * `host`; free with SSL_free(). NULL when out of memory. Not before redis_tls_ready(). */
struct ssl_st *redis_tls_connection(const struct redis_tls *tls, const char *host);

/* Returns why the connection has failed, in *scratch or a text that lives forever. `code` is
 * OpenSSL's last error, 0 when the fault is not of TLS: then NULL. */
const char *redis_tls_fault(const struct ssl_st *connection, unsigned long code,
                            char scratch[static REDIS_TLS_WHY_SIZE]);

#endif
