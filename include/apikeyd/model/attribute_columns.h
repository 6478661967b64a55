/* attribute_columns: the columns whose values travel with an ALLOW (postgres.attribute_columns).
 *
 * An attribute is called as its column is: in RESP, in a Lambda authorizer's context and for
 * people. HTTP's names of header fields know no case and no underscore, so there the name is
 * folded: rate_limit is X-Api-Key-Rate-Limit. A list in which two names fold to one, or one to a
 * name that an answer has anyway, is refused.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ATTRIBUTE_COLUMNS_H
#define APIKEYD_ATTRIBUTE_COLUMNS_H

#include <apikeyd/base/buffer.h>
#include <apikeyd/model/attributes.h>

enum { ATTRIBUTE_NAME_MAX = 63 }; /* bytes: PostgreSQL would cut a longer one */

struct attribute_columns {
    size_t len; /* 0: keys have no attributes */
    struct {
        char name[ATTRIBUTE_NAME_MAX + 1];
        char field[ATTRIBUTE_NAME_MAX + 1]; /* what follows "X-Api-Key-" in the header's name */
    } column[ATTRIBUTES_MAX];
};

/* Parse a list with commas in between; "": none. Returns NULL, or what is wrong (perhaps in
 * `scratch`) with *ret unchanged. */
const char *attribute_columns_parse(const char *text, struct attribute_columns *ret, char *scratch,
                                    size_t scratch_size);

/* Append the list as attribute_columns_parse() takes it. */
void attribute_columns_print(const struct attribute_columns *columns, struct buffer *out);

#endif
