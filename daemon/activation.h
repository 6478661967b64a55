/* activation: sockets that systemd hands over (sd_listen_fds(3)).
 *
 * A socket is known by its name (FileDescriptorName= check, admin, http or metrics) or, without
 * one, by the address that the configuration gives it. It outlives the daemon, so that a restart
 * refuses nobody. Nothing is taken over unseen: a TCP socket, or a file that everybody may write
 * to, under the name "admin" would give everybody the admin commands. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ACTIVATION_H
#define APIKEYD_ACTIVATION_H

#include <apikeyd/base/log.h>

#include "sockets.h"

/* Take over what was handed over. False: a socket is not what its name needs, which is logged; that
 * is an error of the configuration. An admin socket whose file is gone cannot be judged, nor
 * reached: it is left alone, and told. */
bool activation_take(struct sockets *sockets, const struct config *config, const struct log *log);

#endif
