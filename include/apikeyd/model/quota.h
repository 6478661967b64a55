/* quota: how often a key may be used in a month, as its row says (postgres.quota_column).
 *
 * A quota is wherever its key's attributes are, in front of them in the same run of bytes:
 *
 *     #06250000a04gold
 *
 * It looks like an attribute whose value is the number in decimal. A key without a quota has
 * nothing there. Whoever shows attributes takes the quota off first. Pure.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_QUOTA_H
#define APIKEYD_QUOTA_H

#include <apikeyd/model/attributes.h>

/* Returns whether the attributes begin with a quota. */
static inline bool quota_leads(struct attributes attributes)
{
    return attributes.len > 0 && attributes.at[0] == ATTRIBUTE_QUOTA;
}

/* Take the quota off *rest. False, and nothing happens, when there is none. */
static inline bool quota_take(struct attributes *rest, uint64_t *ret)
{
    struct attribute attribute;
    uint64_t quota = 0;

    if (!quota_leads(*rest) || !attributes_take(rest, &attribute))
        return false;
    for (size_t i = 0; i < attribute.value.len; i++)
        quota = quota * 10 + (uint64_t)(attribute.value.at[i] - '0');
    *ret = quota;
    return true;
}

/* Begin a draft, which is empty, with a quota of at most INT64_MAX. */
void quota_append(struct attributes_draft *draft, uint64_t quota);

/* Where a key stands in its month. */
struct quota_told {
    uint64_t quota; /* uses a month */
    uint64_t uses;  /* with this one if it is an ALLOW */
    bool known;     /* those that the table of counts has are among them */
    bool over;      /* the quota was used up before */
};

#endif
