/* quotas: judges keys by their quotas, and asks the back thread for what others have counted.
 *
 * A key is asked for when it is used for the first time in a round. Until the first sum has come
 * its own uses on this host are all that is known. Front thread only. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_QUOTAS_H
#define APIKEYD_QUOTAS_H

#include <apikeyd/model/quota.h>
#include <apikeyd/model/row_id.h>

struct front;

/* The key of an ALLOW, which has this quota, is about to be answered: count the use. */
struct quota_told quotas_use(struct front *front, const struct row_id *api_key_id, uint64_t quota);

#endif
