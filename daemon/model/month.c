/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/month.h>

/* Years begin in March here, so that a leap day is the last day of its year. Both are counted from
 * March 1600. */
enum { DAYS_BEFORE_1970 = 135080, MONTHS_BEFORE_1970 = 4438 };

static uint32_t first_day(uint32_t months)
{
    uint32_t year = months / 12, month = months % 12;

    return year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5;
}

uint32_t month_of_hour(uint32_t hour)
{
    uint32_t day = hour / 24 + DAYS_BEFORE_1970;
    uint32_t months = (uint32_t)((uint64_t)day * 4800 / 146097); /* or a neighbour */

    while (first_day(months) > day)
        months--;
    while (first_day(months + 1) <= day)
        months++;
    return months - MONTHS_BEFORE_1970;
}

uint32_t month_first_hour(uint32_t month)
{
    return (first_day(month + MONTHS_BEFORE_1970) - DAYS_BEFORE_1970) * 24;
}
