/* transaction: the requests between MULTI and EXEC.
 *
 * The daemon has nothing that a transaction could change. Transactions exist because client
 * libraries wrap a pipeline in one. The requests are kept as they came. EXEC writes the length of
 * its reply. Then each call of the protocol's handle() takes one request from the transaction and
 * runs it as if it had just come. So a transaction keeps to the quantum, to admission control and
 * to the order of replies as a pipeline does, and its misses are pending replies like all others.
 *
 *     stage       a request is                until
 *     NONE        run                         MULTI
 *     OPEN        kept, answered by +QUEUED   EXEC, DISCARD, RESET
 *     RUNNING     taken from the transaction  none is left
 *
 * The requests hold keys, so their bytes are erased when the transaction ends.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TRANSACTION_H
#define APIKEYD_TRANSACTION_H

#include <apikeyd/base/buffer.h>

enum transaction_stage { TRANSACTION_NONE, TRANSACTION_OPEN, TRANSACTION_RUNNING };

struct transaction {
    enum transaction_stage stage;
    bool failed;            /* a request was refused: EXEC discards the others */
    size_t count;           /* requests kept */
    size_t taken;           /* bytes of those that have been taken */
    size_t exec_len;        /* RUNNING: the length of the request that EXEC is */
    struct buffer requests; /* the bytes of all requests */
};

/* MULTI. The buffer for the requests is that of *spare, if it has one. */
void transaction_open(struct transaction *transaction, struct buffer *spare);

/* Keep one request, unless the transaction has failed. False when all requests would exceed `max`
 * bytes: the transaction fails. */
bool transaction_keep(struct transaction *transaction, struct slice request, size_t max);

/* A request was refused. Does nothing unless the transaction is open. */
void transaction_fail(struct transaction *transaction);

/* Returns the bytes of the requests that are left. */
static inline struct slice transaction_rest(const struct transaction *transaction)
{
    struct slice all = buffer_held(&transaction->requests);

    return (struct slice){all.at + transaction->taken, all.len - transaction->taken};
}

/* Forget all requests; the buffer goes to *spare if that has none. Accepts any stage, and NULL for
 * `spare`. */
void transaction_end(struct transaction *transaction, struct buffer *spare);

#endif
