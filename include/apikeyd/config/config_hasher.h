/* config_hasher: the hasher of keys that a configuration describes. It reads the secret files. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONFIG_HASHER_H
#define APIKEYD_CONFIG_HASHER_H

#include <apikeyd/config/config.h>

enum { SECRET_FILE_SIZE = 3968 + 1 }; /* OPTION_FILE_MAX and a NUL */

/* Split postgres.key_transform_secret_file, with commas in between, into its files. Returns how
 * many there are. */
size_t secret_files_split(const char *list, char ret[static KEY_SECRETS_MAX][SECRET_FILE_SIZE]);

/* The caller frees it. NULL with the reason appended to *why: a file that holds no secret, or the
 * secret of another one. The paths of files that every user of the host may read are appended to
 * *exposed, one a line, unless that is NULL. */
struct key_hasher *config_key_hasher(const struct config *config, struct buffer *why,
                                     struct buffer *exposed);

#endif
