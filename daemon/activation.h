/* activation: sockets that systemd hands over (sd_listen_fds(3)).
 *
 * A socket is known by its name (FileDescriptorName= check, admin, http or metrics) or, without
 * one, by the address that the configuration gives it. The socket outlives the daemon, so a restart
 * refuses no connection. Each socket is checked first: a TCP socket, or a file that all users may
 * write to, under the name "admin" would give all users the admin commands. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ACTIVATION_H
#define APIKEYD_ACTIVATION_H

#include <apikeyd/base/log.h>

#include "sockets.h"

/* Take over the sockets from systemd. False: a socket does not fit its name, which is logged; that
 * is an error of the configuration. An admin socket whose file is gone can be neither judged nor
 * reached: the daemon leaves it alone, and logs that. */
bool activation_take(struct sockets *sockets, const struct config *config, const struct log *log);

#endif
