/* inspection_sql: inspection.sql as bytes. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_INSPECTION_SQL_H
#define APIKEYD_INSPECTION_SQL_H

#include <stddef.h>

extern const unsigned char inspection_sql[];
extern const size_t inspection_sql_len;

#endif
