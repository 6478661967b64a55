/* duration: times on the command line, as 90d. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_DURATION_H
#define APIKEYCTL_DURATION_H

#include <stdint.h>

/* Returns the seconds in `text`: a number and s, m, h, d or w, from `least` seconds up to a hundred
 * years. Ends the program when it is anything else, and names the option. */
int64_t duration_seconds(const char *option, const char *text, int64_t least);

#endif
