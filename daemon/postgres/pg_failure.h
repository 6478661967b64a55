/* pg_failure: why an attempt to connect failed, from libpq's message.
 *
 * libpq gives the SQLSTATE of an attempt only in its message (PQERRORS_VERBOSE), and that in any
 * language. Faults that libpq finds itself have no SQLSTATE: they are known by words of libpq 15 to
 * 17, and a message in other words counts as `other`. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_FAILURE_H
#define APIKEYD_PG_FAILURE_H

#include <stdbool.h>

enum pg_failure {
    PG_FAILURE_LOGIN, /* the role, its password or certificate, or pg_hba.conf */
    PG_FAILURE_TLS,   /* no TLS, or a certificate that does not hold */
    PG_FAILURE_ROOM,  /* too many connections of a role, a database or the server */
    PG_FAILURE_OTHER, /* nobody answers, or something else */
};

enum pg_failure pg_failure_of(const char *message);

/* Returns whether the server wanted a password, and libpq had none. */
bool pg_failure_no_password(const char *message);

#endif
