/* socket_role: the purpose of a listening socket. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SOCKET_ROLE_H
#define APIKEYD_SOCKET_ROLE_H

enum socket_role { SOCKET_CHECK, SOCKET_ADMIN, SOCKET_HTTP, SOCKET_METRICS, SOCKET_ROLES };

#endif
