/* stored_keys: does each row of a table of hashes hold what a check can find?
 *
 * The daemon asks for the hash of a key. A row that holds something else is found by no key, and
 * nothing but a look at all rows can tell. The look is bounded: each statement reads some MiB and
 * holds its lock for no longer, and no statement begins after ten seconds. Hashes are compared with
 * raw keys here, not in the database, which never sees a secret.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_STORED_KEYS_H
#define APIKEYCTL_STORED_KEYS_H

#include <libpq-fe.h>

#include <apikeyd/config/config.h>

/* Says a sentence, and what to do: state is "ok", "in the way" or "advice". */
typedef void stored_keys_say(void *arg, const char *state, const char *what, const char *action);

/* Nothing is said while keys are stored as they are. */
void stored_keys_check(PGconn *connection, const struct config *config, stored_keys_say *say,
                       void *arg);

#endif
