/* daemon: puts the two threads together and runs them. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_DAEMON_H
#define APIKEYD_DAEMON_H

/* Run with the configuration file at `config_path` (NULL: with the environment alone) until SIGTERM
 * or SIGINT. Returns the exit
 * status, of sysexits(3) where it has one: 0; 1 when another process has a socket or file, or the
 * like; EX_OSERR (71) out of memory, descriptors or threads; EX_CONFIG (78). The reason is in the
 * log or on stderr. */
__attribute__((warn_unused_result)) int daemon_run(const char *config_path);

#endif
