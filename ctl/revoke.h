/* revoke: deactivates the keys of a list of leaked ones.
 *
 * The list is read twice: if a line of it is broken, nothing is changed. Then it goes to the
 * database in batches, each in a transaction of its own, so that the first keys are refused while
 * the last are still looked up, no lock is held for long, and memory is bounded. A run that fails
 * has revoked what it printed; the same command again goes on where it ended, since a key that is
 * inactive stays so. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_REVOKE_H
#define APIKEYCTL_REVOKE_H

#include "command.h"

int run_keys_revoke(const struct request *request);

#endif
