/* reload: put the configuration file into force again. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RELOAD_H
#define APIKEYD_RELOAD_H

#include <apikeyd/thread/back_env.h>

/* Read the file at `path` again. When it is good, *config (which env->config points to) makes way
 * for it and the front thread is told; when it is bad nothing changes, and false is returned. What
 * came of it is logged, and appended to *reply in RESP. */
bool reload_config(struct back_env *env, struct config **config, const char *path,
                   struct buffer *reply);

#endif
