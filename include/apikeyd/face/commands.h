/* commands: RESP, and the request table of the check and admin sockets. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_COMMANDS_H
#define APIKEYD_COMMANDS_H

#include <stdio.h>

#include <apikeyd/conn/connection.h>

/* The argument of their handlers is the front. */
extern const struct protocol check_protocol, admin_protocol;

/* Print the table for the manual. */
void commands_print_markdown(FILE *out);

#endif
