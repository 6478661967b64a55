/* usage_check_sql: usage_check.sql as bytes. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_CHECK_SQL_H
#define APIKEYD_USAGE_CHECK_SQL_H

#include <stddef.h>

extern const unsigned char usage_check_sql[];
extern const size_t usage_check_sql_len;

#endif
