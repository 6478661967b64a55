/* pg_dsn: libpq's check of a connection string, before it connects.
 *
 * libpq's messages quote the string, which may hold a password, so the quoted part is removed. Host
 * names are not resolved, and no file is read: a host or a service file may appear later.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_DSN_H
#define APIKEYD_PG_DSN_H

#include <apikeyd/base/buffer.h>

/* Returns whether libpq can parse `dsn`; "" and the bare name of a database are fine. False with
 * the reason appended to *why. */
bool pg_dsn_check(const char *dsn, struct buffer *why);

#endif
