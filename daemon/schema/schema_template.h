/* schema_template: schema.sql as bytes. A section begins with a line "--- NAME". */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SCHEMA_TEMPLATE_H
#define APIKEYD_SCHEMA_TEMPLATE_H

#include <stddef.h>

extern const unsigned char schema_template[];
extern const size_t schema_template_len;

#endif
