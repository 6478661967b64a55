/* reload: puts the configuration file into force again. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RELOAD_H
#define APIKEYD_RELOAD_H

#include <apikeyd/thread/back_env.h>

/* Read the file at `path` again. A valid file replaces *config (which env->config points to), and
 * the front thread gets a copy. An invalid file changes nothing, and the call returns false. The
 * result is logged, and appended to *reply in RESP. */
bool reload_config(struct back_env *env, struct config **config, const char *path,
                   struct buffer *reply);

#endif
