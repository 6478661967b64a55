/* usage_check: the query that tells what counts of uses need in the database, and what stands in
 * their way.
 *
 * It tells of the two tables, their columns, indexes and room, the role's rights, the foreign key,
 * partitions, and the function and the view beside them. Its rows are those of schema_check. The
 * session's search_path must be pg_catalog, pg_temp. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_CHECK_H
#define APIKEYD_USAGE_CHECK_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/config/config.h>

enum { USAGE_CHECK_PARAMS = 12 };

/* The query, and its parameters as strings, all of type text. */
struct usage_check {
    const char *sql;
    struct buffer param[USAGE_CHECK_PARAMS];
};

/* `role` is the daemon's role; "": the session's. */
void usage_check_init(struct usage_check *check, const struct config *config, const char *role);
void usage_check_done(struct usage_check *check);

#endif
