/* usage_names: what stands in the database beside the table of counts, named after that table.
 *
 * The names begin with postgres.usage_table, cut so that PostgreSQL does not cut them. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_NAMES_H
#define APIKEYD_USAGE_NAMES_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/config/config.h>

#define USAGE_BEFORE "_before"     /* the table as it was before it had partitions */
#define USAGE_DAILY "_daily"       /* the view of uses a day */
#define USAGE_DAYS "_days"         /* the function behind that */
#define USAGE_MAINTAIN "_maintain" /* the function that makes and drops partitions */

/* Append the name with a suffix, in the table's schema: as text that sql_table_append() takes. The
 * second appends it without the schema; "" is for what partitions' names begin with. */
void usage_name_append(struct buffer *name, const struct config *config, const char *suffix);
void usage_stem_append(struct buffer *name, const struct config *config, const char *suffix);

#endif
