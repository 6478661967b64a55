/* trigger_inspection_sql: trigger_inspection.sql as bytes. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TRIGGER_INSPECTION_SQL_H
#define APIKEYD_TRIGGER_INSPECTION_SQL_H

#include <stddef.h>

extern const unsigned char trigger_inspection_sql[];
extern const size_t trigger_inspection_sql_len;

#endif
