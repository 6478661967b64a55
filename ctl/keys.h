/* keys: the commands that create, list and change keys in the database.
 *
 * A key is shown when it is created and never again; later its fingerprint stands for it, as in the
 * daemon's log. The triggers make changes take effect in milliseconds. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_KEYS_H
#define APIKEYCTL_KEYS_H

#include <apikeyd/model/key_form.h>

#include "command.h"
#include "keys_db.h"

/* Judge the IDs of the request, and connect. The first argument is a key's ID, where there are
 * arguments. */
struct keys_db *keys_connect(const struct request *request, const struct config *config);

/* End the program if `text`, which may be NULL, is no ID of postgres.id_type. */
void keys_check_id(const struct config *config, const char *what, const char *text);

/* Make a random key of the configured prefix. The caller wipes it. */
void keys_make(const struct config *config, char ret[static KEY_MADE_SIZE]);

/* Returns the ID for a new row: the given one, else a random one in `random` for UUIDs, else NULL
 * for the column's default. */
enum { KEYS_ID_SIZE = 37 };
const char *keys_new_id(const struct request *request, const struct config *config,
                        char random[static KEYS_ID_SIZE]);

int run_keys_create(const struct request *request);
int run_keys_list(const struct request *request);
int run_keys_show(const struct request *request);
int run_keys_rename(const struct request *request);
int run_keys_deactivate(const struct request *request);
int run_keys_activate(const struct request *request);
int run_keys_delete(const struct request *request);

#endif
