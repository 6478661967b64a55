/* blot: connection strings and URLs without their passwords.
 *
 * "***" replaces anything that may be a password, also in malformed text: the rule hides too much
 * rather than too little. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_BLOT_H
#define APIKEYD_BLOT_H

#include <apikeyd/base/buffer.h>

void blot_passwords(const char *text, struct buffer *out);

/* Append `text` with control characters as \xNN, and "..." for the bytes beyond 100. */
void blot_control(struct slice text, struct buffer *out);

#endif
