/* tcp_socket: listens on an address of this host. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TCP_SOCKET_H
#define APIKEYD_TCP_SOCKET_H

#include <apikeyd/base/buffer.h>

/* Listen on a numeric "address:port" or "[address]:port". The descriptor is non-blocking; -1, with
 * the reason appended to *error, when that fails. */
__attribute__((warn_unused_result)) int tcp_socket_listen(const char *address,
                                                          struct buffer *error);

#endif
