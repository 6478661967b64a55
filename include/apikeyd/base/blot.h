/* blot: connection strings and URLs as they may be shown.
 *
 * "***" stands for what may be a password, also in a text that is none of these forms: rather too
 * much is hidden than too little. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_BLOT_H
#define APIKEYD_BLOT_H

#include <apikeyd/base/buffer.h>

void blot_passwords(const char *text, struct buffer *out);

/* Append `text` with control characters as \xNN, and "..." for what is beyond 100 bytes. */
void blot_control(struct slice text, struct buffer *out);

#endif
