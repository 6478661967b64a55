/* pg_dsn: what libpq says about a connection string, before it connects.
 *
 * Its messages quote the string, which may hold a password, so they are told with that cut out.
 * Names of hosts are not looked up, and no file is read: a host or a service file may come later.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_DSN_H
#define APIKEYD_PG_DSN_H

#include <apikeyd/base/buffer.h>

/* Whether libpq can understand `dsn`; "" and the bare name of a database are fine. False with the
 * reason appended to *why. */
bool pg_dsn_check(const char *dsn, struct buffer *why);

#endif
