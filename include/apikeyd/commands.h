/* commands: the request table of the check and admin sockets. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_COMMANDS_H
#define APIKEYD_COMMANDS_H

#include <stdio.h>

#include "apikeyd/connection.h"

struct front;

/* Answer one request. */
void commands_handle(struct front *front, struct connection *connection,
                     const struct resp_request *request);

/* The table for the manual. */
void commands_print_markdown(FILE *out);

#endif
