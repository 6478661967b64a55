/* http: the authorizer for gateways, over HTTP.
 *
 * /authorize, by any method, is for nginx's auth_request, Caddy's forward_auth, Traefik's
 * ForwardAuth, Envoy's ext_authz and the like: the key ID stands where http.key_from says, the
 * answer is the status. /aws/authorizer takes Lambda authorizer events. Both use the code of CHECK
 * and of its connections: replies in order, limits, draining. Front thread only.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HTTP_H
#define APIKEYD_HTTP_H

#include <apikeyd/conn/connection.h>

/* The argument of its handler is the front. */
extern const struct protocol http_protocol;

#endif
