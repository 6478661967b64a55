/* SPDX-License-Identifier: MIT */
#include "transaction.h"

enum { SPARE_MAX = 256 * 1024 };

void transaction_open(struct transaction *transaction, struct buffer *spare)
{
    transaction->stage = TRANSACTION_OPEN;
    buffer_borrow(&transaction->requests, spare, SPARE_MAX);
}

static void erase(struct buffer *requests)
{
    if (requests->len > 0)
        explicit_bzero(requests->data, requests->len);
    buffer_consume(requests, requests->len);
}

bool transaction_keep(struct transaction *transaction, struct slice request, size_t max)
{
    if (transaction->failed)
        return true;
    if (transaction->requests.len + request.len > max) {
        transaction_fail(transaction);
        return false;
    }
    buffer_append(&transaction->requests, request.at, request.len);
    transaction->count++;
    return true;
}

void transaction_fail(struct transaction *transaction)
{
    if (transaction->stage != TRANSACTION_OPEN)
        return;
    transaction->failed = true;
    erase(&transaction->requests);
}

void transaction_end(struct transaction *transaction, struct buffer *spare)
{
    erase(&transaction->requests);
    if (spare)
        buffer_give_back(&transaction->requests, spare, SPARE_MAX);
    else
        buffer_free(&transaction->requests);
    *transaction = (struct transaction){0};
}
