/* status_json: the status snapshot as JSON, for the status page, apikeyctl and programs. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_STATUS_JSON_H
#define APIKEYD_STATUS_JSON_H

#include <apikeyd/observe/status_snapshot.h>

/* Append the JSON; docs/operations.md describes the members. */
void status_json_print(const struct status_snapshot *snapshot, struct buffer *out);

#endif
