/* config_check: the one validation of a configuration.
 *
 * --check-config, the start and a reload all call it, so all three accept and refuse the same
 * configurations, in the same words. It checks the options and the things that options name on this
 * host: directories, groups, files of secrets, connection strings.
 *
 * Things that may appear later are no error: a server that is down, a host that does not resolve
 * yet, an address that no interface has yet, a socket that another process still listens on. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONFIG_CHECK_H
#define APIKEYD_CONFIG_CHECK_H

#include <apikeyd/config/config.h>

/* Load as config_load() does, and check. Returns 0 with the config, to be freed by config_free(),
 * and a line in *warnings for each deprecated name in use; -EINVAL with a line in *errors for every
 * error found; -ENOMEM, also with a line there. The check reads files and the system's group
 * database (getgrnam(3)), so it may block: never call it on the front thread. */
__attribute__((warn_unused_result)) int
config_check(const char *path, struct config **ret, struct buffer *errors, struct buffer *warnings);

#endif
