/* still_tried: which refused keys the daemon has been sent lately. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_STILL_TRIED_H
#define APIKEYCTL_STILL_TRIED_H

#include <jansson.h>

#include "command.h"
#include "keys_db.h"

/* Returns the rows of inactive and expired keys that the daemon of --socket was sent, the last one
 * first, each with the members "verdict", "refusals", "first_refused" and "last_refused". Tells on
 * stderr what the list cannot have. Rows that pass again are left out. */
json_t *still_tried(const struct request *request, struct keys_db *db);

#endif
