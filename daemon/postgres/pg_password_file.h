/* pg_password_file: why libpq takes no password from a password file.
 *
 * libpq reads the file again for each attempt to connect. A file that is missing or holds no
 * fitting line it passes over without a word, and one that others may read with a warning on
 * stderr: the server then asks for a password that libpq does not have. Blocks: any thread but the
 * loop's. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_PG_PASSWORD_FILE_H
#define APIKEYD_PG_PASSWORD_FILE_H

#include <limits.h>
#include <stdbool.h>

/* Returns why libpq can take no password from the file, or NULL; the text lives forever. Whether a
 * line fits host, port, database and user is left to libpq. */
const char *pg_password_file_wrong(const char *path);

/* libpq's own choice when no file is named: ~/.pgpass. False when there is no home. */
__attribute__((warn_unused_result)) bool pg_password_file_default(char ret[static PATH_MAX]);

#endif
