/* resp_client: the state of a connection that speaks RESP. Zeros at first. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_RESP_CLIENT_H
#define APIKEYD_RESP_CLIENT_H

#include <apikeyd/conn/connection.h>

#include "transaction.h"

enum { CLIENT_NAME_SIZE = 64 };

struct resp_client {
    char name[CLIENT_NAME_SIZE]; /* by CLIENT SETNAME or HELLO */
    bool resp3;                  /* by HELLO 3 */
    struct transaction transaction;
};

static inline struct resp_client *resp_client(const struct connection *connection)
{
    return connection->state;
}

#endif
