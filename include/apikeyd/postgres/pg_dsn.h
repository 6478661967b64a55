/* pg_dsn: libpq's check of a connection string, before it connects.
 *
 * libpq's messages quote the string, which may hold a password, so the quoted part is removed. Host
 * names are not resolved, and no service file is read: a host or a service may appear later.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_DSN_H
#define APIKEYD_PG_DSN_H

#include <apikeyd/base/buffer.h>

/* Returns whether libpq can parse `dsn`; "" and the bare name of a database are fine. False with
 * the reason appended to *why. */
bool pg_dsn_check(const char *dsn, struct buffer *why);

/* Returns whether a connection string that libpq can parse, or the environment, says which
 * database: without a word about it libpq takes one that bears the user's name, on this host. */
bool pg_dsn_names_database(const char *dsn);

/* Returns whether this user can use the files that `dsn`, or else the environment, names by a full
 * path: passfile, sslcert, sslkey, sslrootcert, sslcrl. A password file that libpq would skip, or
 * that can hold no password, is an error too. False with the reason appended to *why. */
bool pg_dsn_check_files(const char *dsn, struct buffer *why);

#endif
