/* SPDX-License-Identifier: MIT */
#include "apikeyd/pg_connect.h"

#include <stdlib.h>

/* What libpq is told. What comes before "dbname", which holds the whole connection string, that
 * string may override; what comes after it, it may not. See "Parameter Key Words" and
 * PQconnectStartParams() in the PostgreSQL manual. */
struct parameters {
    const char *keyword[12], *value[12];
    size_t len;
};

static void add_parameter(struct parameters *parameters, const char *keyword, const char *value)
{
    parameters->keyword[parameters->len] = keyword;
    parameters->value[parameters->len++] = value;
}

PGconn *pg_connect_start(const char *dsn, const struct pg_hosts *hosts)
{
    struct parameters parameters = {0};

    if (!getenv("PGTARGETSESSIONATTRS"))
        add_parameter(&parameters, "target_session_attrs", "primary");
    /* A peer that has silently gone is noticed in seconds, not hours. */
    add_parameter(&parameters, "keepalives_idle", "5");
    add_parameter(&parameters, "keepalives_interval", "2");
    add_parameter(&parameters, "keepalives_count", "3");
    add_parameter(&parameters, "tcp_user_timeout", "10000");
    add_parameter(&parameters, "fallback_application_name", "apikeyd");
    add_parameter(&parameters, "dbname", dsn);
    add_parameter(&parameters, "client_encoding", "UTF8");
    if (hosts->host.len > 0) {
        add_parameter(&parameters, "host", hosts->host.data);
        add_parameter(&parameters, "hostaddr", hosts->hostaddr.data);
        add_parameter(&parameters, "port", hosts->port.data);
    }
    return PQconnectStartParams(parameters.keyword, parameters.value, 1);
}
