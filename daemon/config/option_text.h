/* option_text: what texts the options of the table take. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_OPTION_TEXT_H
#define APIKEYD_OPTION_TEXT_H

#include <apikeyd/config/option.h>

/* NULL, or what is expected instead of `text` (perhaps in `scratch`). */
const char *option_text_wrong(const struct option *option, const char *text, char *scratch,
                              size_t scratch_size);

#endif
