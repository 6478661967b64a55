/* SPDX-License-Identifier: MIT */
#include "duration.h"

#include <stdlib.h>
#include <string.h>

#include "die.h"

enum { NUMBER_DIGITS = 12 };

int64_t duration_seconds(const char *option, const char *text, int64_t least)
{
    static const char letters[] = "smhdw";
    static const int64_t factors[] = {1, 60, 3600, 86400, 604800};
    static const int64_t max = INT64_C(100) * 366 * 86400;
    size_t digits = strspn(text, "0123456789");
    const char *unit = text[digits] ? strchr(letters, text[digits]) : NULL;
    int64_t seconds = -1;

    if (digits > 0 && digits <= NUMBER_DIGITS && unit && !text[digits + 1])
        seconds = strtoll(text, NULL, 10) * factors[unit - letters];
    if (seconds < least || seconds > max)
        die(EX_USAGE,
            "%s \"%s\": a time is expected, as in 90d (s, m, h, d or w; at most 100 years)", option,
            text);
    return seconds;
}
