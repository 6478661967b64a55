/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/quota.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

void quota_append(struct attributes_draft *draft, uint64_t quota)
{
    char digits[QUOTA_DIGITS_MAX + 2];
    int len = snprintf(digits, sizeof digits, "%" PRIu64, quota);

    bool fits = attributes_append(draft, (unsigned)ATTRIBUTE_QUOTA - 'a',
                                  (struct slice){digits, (size_t)len});
    assert(fits && len <= QUOTA_DIGITS_MAX);
    (void)fits;
    draft->values_len = 0; /* the attributes have all of their room */
}
