/* metrics_server: the metrics listener, over HTTP.
 *
 *     /            the status page, for people
 *     /status.json what it shows
 *     /metrics     Prometheus' text exposition format
 *     /healthz     200 while both threads are alive
 *     /readyz      200 while a check can be answered; says why not
 *
 * The methods are GET and HEAD. libmicrohttpd implements the protocol, on the back thread's loop;
 * it serves a bounded number of connections, and closes idle ones. Each request costs the front
 * thread one message. Back thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_METRICS_SERVER_H
#define APIKEYD_METRICS_SERVER_H

#include <event2/event.h>

#include <apikeyd/observe/monitor.h>

struct metrics_server;

/* Serve on `fd`, a listening socket, which is not owned. NULL when out of memory or the library
 * fails. Free the monitor before the server: that answers waiting requests. */
struct metrics_server *metrics_server_new(struct event_base *base, struct monitor *monitor, int fd);
void metrics_server_free(struct metrics_server *server);

#endif
