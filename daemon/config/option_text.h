/* option_text: which texts each type of option accepts. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_OPTION_TEXT_H
#define APIKEYD_OPTION_TEXT_H

#include <apikeyd/config/option.h>

/* Returns NULL, or the form that is expected instead of `text` (perhaps in `scratch`). */
const char *option_text_wrong(const struct option *option, const char *text, char *scratch,
                              size_t scratch_size);

#endif
