/* usage_template: usage.sql as bytes. A section begins with a line "--- NAME". */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_USAGE_TEMPLATE_H
#define APIKEYD_USAGE_TEMPLATE_H

#include <stddef.h>

extern const unsigned char usage_template[];
extern const size_t usage_template_len;

#endif
