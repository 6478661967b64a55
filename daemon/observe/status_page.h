/* status_page: the bytes of status_page.html, made into C by the build. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_STATUS_PAGE_H
#define APIKEYD_STATUS_PAGE_H

#include <stddef.h>

extern const unsigned char status_page[];
extern const size_t status_page_len;

#endif
