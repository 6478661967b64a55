/* daemon: puts the two threads together and runs them. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_DAEMON_H
#define APIKEYD_DAEMON_H

/* Run with the configuration file at `config_path` until SIGTERM or SIGINT. Returns the exit
 * status: 0, 1 (with a message on stderr), or 78, EX_CONFIG of sysexits(3), for a bad
 * configuration. */
int daemon_run(const char *config_path);

#endif
