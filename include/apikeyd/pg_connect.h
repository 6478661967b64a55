/* pg_connect: start to connect, with what libpq has to be told besides the connection string. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_CONNECT_H
#define APIKEYD_PG_CONNECT_H

#include <libpq-fe.h>

#include "apikeyd/pg_hosts.h"

/* As PQconnectStartParams(): NULL when memory is short; the caller polls and finishes it. */
PGconn *pg_connect_start(const char *dsn, const struct pg_hosts *hosts);

#endif
