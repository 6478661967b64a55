/* admin: the commands that inspect the daemon or change it.
 *
 * Each command gets a number of arguments that its table row allows. Commands that need the back
 * thread open a pending reply. The back thread's reply closes the pending reply, or an error does
 * when that reply takes too long (operator_requests.h).
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ADMIN_H
#define APIKEYD_ADMIN_H

#include <apikeyd/conn/connection.h>
#include <apikeyd/wire/resp_request.h>

struct front;

void admin_info(struct front *front, struct connection *connection,
                const struct resp_request *request);
void admin_metrics(struct front *front, struct connection *connection,
                   const struct resp_request *request);
void admin_status(struct front *front, struct connection *connection,
                  const struct resp_request *request);
void admin_refused(struct front *front, struct connection *connection,
                   const struct resp_request *request);
void admin_explain(struct front *front, struct connection *connection,
                   const struct resp_request *request);
void admin_invalidate(struct front *front, struct connection *connection,
                      const struct resp_request *request);
void admin_flush(struct front *front, struct connection *connection,
                 const struct resp_request *request);
void admin_reload(struct front *front, struct connection *connection,
                  const struct resp_request *request);
void admin_config(struct front *front, struct connection *connection,
                  const struct resp_request *request);
/* The client's own line of CLIENT LIST */
void admin_client_info(struct front *front, struct connection *connection);
void admin_client_list(struct front *front, struct connection *connection);
/* CLIENT KILL ID <id>, or CLIENT KILL <id> */
void admin_client_kill(struct front *front, struct connection *connection, struct slice id);

#endif
