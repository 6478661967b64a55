/* config_check: the one validation of a configuration.
 *
 * --check-config, the start and a reload all call it, so what one accepts or refuses, so do the
 * others, in the same words. Besides the options themselves it looks at what they name on this
 * host: directories, groups, files of secrets, connection strings.
 *
 * What may come later is no error: a server that is down, a host that does not resolve yet, an
 * address that no interface has yet, a socket that another process still listens on. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONFIG_CHECK_H
#define APIKEYD_CONFIG_CHECK_H

#include <apikeyd/config/config.h>

/* Load as config_load() does, and check. 0 with the config, to be freed by config_free(), and in
 * *warnings a line for each deprecated name that it uses; -EINVAL
 * with every error found, a line each, in *errors; -ENOMEM with a line there too. Reads files, and
 * asks the system's databases for a group (getgrnam(3)), so it may block: never on the front
 * thread. */
__attribute__((warn_unused_result)) int
config_check(const char *path, struct config **ret, struct buffer *errors, struct buffer *warnings);

#endif
