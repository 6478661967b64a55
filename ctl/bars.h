/* bars: numbers as a bar chart in the terminal.
 *
 * Bars are of UTF-8's blocks, to an eighth of a column, or of # where the locale has no UTF-8. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_BARS_H
#define APIKEYCTL_BARS_H

#include <stdint.h>

#include <apikeyd/base/buffer.h>

/* Returns the columns of the terminal that stdout is, or 0 if it is none. */
int bars_terminal_width(void);

/* Append the bar of `number` where that of `max` takes `width` columns. Only 0 has none. */
void bars_append(struct buffer *text, int64_t number, int64_t max, int width);

#endif
