/* secret: a secret is read from a file, never from the command line. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_SECRET_H
#define APIKEYD_SECRET_H

#include <apikeyd/base/buffer.h>

enum { SECRET_MAX = 1024 };

struct secret {
    char bytes[SECRET_MAX];
    size_t len;
    bool exposed; /* every user of the host may read the file */
};

/* Read the secret in the file at `path` ("": no secret; *ret stays as it is), without the line
 * break at its end. A name without a slash names a credential (systemd.exec(5), LoadCredential=).
 * False with the reason, which does not name the path, appended to *why. */
__attribute__((warn_unused_result)) bool secret_read(const char *path, struct secret *ret,
                                                     struct buffer *why);

/* Append the path of a file that an option names, NUL-terminated: `path` itself, or the
 * credential's of that name. False with the reason appended to *why. */
__attribute__((warn_unused_result)) bool secret_path(const char *path, struct buffer *ret,
                                                     struct buffer *why);

/* free(), for memory that may hold a secret. */
void secret_free(void *memory);

static inline struct slice secret_slice(const struct secret *secret)
{
    return (struct slice){secret->bytes, secret->len};
}

#endif
