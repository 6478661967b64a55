/* serving: what the clients as a whole ask of each connection. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SERVING_H
#define APIKEYD_SERVING_H

#include <apikeyd/conn/connection.h>

/* Handle what can be handled in this quantum, write what can be written, and close or wait for what
 * comes next. The connection may be gone afterwards. */
void connection_serve(struct connection *connection);

/* Read and handle what has arrived, and take no more. */
void connection_drain(struct connection *connection);

/* Now, whatever is in hand. */
void connection_close(struct connection *connection);

#endif
