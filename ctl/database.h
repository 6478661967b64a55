/* database: a session with the database. An error is reported and ends the program. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_DATABASE_H
#define APIKEYCTL_DATABASE_H

#include <libpq-fe.h>

#include <apikeyd/config/config.h>

#include "command.h"

/* Connect to --dsn, $APIKEYCTL_DSN or the configuration's postgres.dsn. Free with PQfinish(). */
PGconn *database_connect(const struct request *request, const struct config *config);

/* Names without a schema are PostgreSQL's own from here on, whatever other roles have made. */
void database_pin_path(PGconn *connection);

#endif
