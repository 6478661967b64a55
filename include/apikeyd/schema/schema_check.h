/* schema_check: the query that tells what else the daemon needs, and what stands in its way.
 *
 * schema_inspection tells of the triggers. This one tells of the table, its columns and their
 * types, the role's rights, row security, the index and other sessions' locks. Each row says what
 * to do. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SCHEMA_CHECK_H
#define APIKEYD_SCHEMA_CHECK_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/config/config.h>

/* State: "ok", "missing", "in the way", or "advice", without which the daemon works. */
enum { SCHEMA_CHECK_STATE, SCHEMA_CHECK_WHAT, SCHEMA_CHECK_ACTION };

enum { SCHEMA_CHECK_PARAMS = 9 };

/* The query, and its parameters as strings, all of type text. */
struct schema_check {
    const char *sql;
    struct buffer param[SCHEMA_CHECK_PARAMS];
};

/* `role` is the daemon's role; "": the session's. */
void schema_check_init(struct schema_check *check, const struct config *config, const char *role);
void schema_check_done(struct schema_check *check);

#endif
