/* check_sql: check.sql as bytes. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CHECK_SQL_H
#define APIKEYD_CHECK_SQL_H

#include <stddef.h>

extern const unsigned char check_sql[];
extern const size_t check_sql_len;

#endif
