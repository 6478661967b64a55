/* month: months of the calendar, in UTC, by number: 0 is January 1970. Pure. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_MONTH_H
#define APIKEYD_MONTH_H

#include <stdint.h>

/* The month that an hour is in. Hours count from 1970. */
uint32_t month_of_hour(uint32_t hour);

/* The first hour of a month. */
uint32_t month_first_hour(uint32_t month);

#endif
