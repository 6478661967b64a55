/* rotate: gives a key a successor, and an end.
 *
 * The successor has the old key's owner and attributes, and is shown once. The old key goes on to
 * pass for the overlap, in which its user changes to the new one. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_ROTATE_H
#define APIKEYCTL_ROTATE_H

#include "command.h"

int run_keys_rotate(const struct request *request);

#endif
