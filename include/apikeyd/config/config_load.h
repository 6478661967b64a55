/* config_load: a configuration from its file and the environment. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONFIG_LOAD_H
#define APIKEYD_CONFIG_LOAD_H

#include <apikeyd/config/config.h>

/* The defaults, then the file at `path` (NULL: none), then APIKEYD_<SECTION>_<OPTION> from the
 * environment. NULL on any error; `errors` gets a line for each error. Reads no other file:
 * config_check.h does. */
struct config *config_load(const char *path, struct buffer *errors);

/* The same, but an option with an error keeps its default, and rules about several options are not
 * checked: for a program that needs one option, of a file that the daemon would refuse. NULL if the
 * file cannot be read. */
struct config *config_load_sound(const char *path, struct buffer *errors);

#endif
