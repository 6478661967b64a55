/* config_load: a configuration as its file and the environment have it. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONFIG_LOAD_H
#define APIKEYD_CONFIG_LOAD_H

#include <apikeyd/config/config.h>

/* The defaults, then the file at `path` (NULL: none), then APIKEYD_<SECTION>_<OPTION> from the
 * environment. NULL on any error; every one found is described in `errors`, a line each. Looks at
 * no other file: config_check.h does. */
struct config *config_load(const char *path, struct buffer *errors);

#endif
