/* SPDX-License-Identifier: MIT */
#include "database.h"

#include <stdlib.h>
#include <string.h>

#include "die.h"

PGconn *database_connect(const struct request *request, const struct config *config)
{
    const char *dsn = request->dsn ? request->dsn : getenv("APIKEYCTL_DSN");
    /* The first four are for a host that has gone without a word, on TCP: a person who waits ends
     * the program, and does not learn whether its last statement was executed. The connection
     * string comes after them, and may say otherwise. */
    const char *const names[] = {
        "tcp_user_timeout", "keepalives_idle",           "keepalives_interval", "keepalives_count",
        "dbname",           "fallback_application_name", "client_encoding",     NULL};
    const char *const values[] = {"30000",     "15",   "5", "3", dsn ? dsn : config->postgres_dsn,
                                  "apikeyctl", "UTF8", NULL};
    PGconn *connection = PQconnectdbParams(names, values, 1);

    if (PQstatus(connection) != CONNECTION_OK) {
        const char *message = PQerrorMessage(connection);

        die(EX_UNAVAILABLE,
            "the database: %.*s; name one with --dsn, $APIKEYCTL_DSN or postgres.dsn",
            (int)strcspn(message, "\n"), message);
    }
    return connection;
}

void database_pin_path(PGconn *connection)
{
    PGresult *result = PQexec(
        connection, "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)");

    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        die(STATUS_FAILED, "the database: %s", PQresultErrorMessage(result));
    PQclear(result);
}
