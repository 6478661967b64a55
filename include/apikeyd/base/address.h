/* address: a numeric IP address with a port, as text.
 *
 * "127.0.0.1:9464", "[::1]:9464" or, with an interface, "[fe80::1%eth0]:9464". Host names are not
 * accepted: to listen on a name would need a name server at the start. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ADDRESS_H
#define APIKEYD_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

/* False when `text` is not of this form; the port is from 1 to 65535. */
bool address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len);

#endif
