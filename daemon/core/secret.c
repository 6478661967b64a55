/* SPDX-License-Identifier: MIT */
#include "apikeyd/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void secret_free(void *memory)
{
    if (memory)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

static int open_secret(const char *path)
{
    const char *folder = strchr(path, '/') ? NULL : getenv("CREDENTIALS_DIRECTORY");
    char credential[4096];

    if (!folder)
        return open(path, O_RDONLY | O_CLOEXEC);
    snprintf(credential, sizeof credential, "%s/%s", folder, path);
    return open(credential, O_RDONLY | O_CLOEXEC);
}

bool secret_read(const char *option, const char *path, struct secret *ret, struct buffer *error)
{
    if (!path[0])
        return true;
    int fd = open_secret(path);
    ssize_t len = fd < 0 ? -1 : read(fd, ret->bytes, sizeof ret->bytes);
    int why = errno;

    if (fd >= 0)
        close(fd);
    if (len < 0) {
        buffer_printf(error, "%s %s: %s", option, path, strerror(why));
        return false;
    }
    while (len > 0 && (ret->bytes[len - 1] == '\n' || ret->bytes[len - 1] == '\r'))
        len--;
    if (len == 0 || (size_t)len == sizeof ret->bytes) {
        buffer_printf(error, "%s %s: a secret of 1 to %d bytes is expected", option, path,
                      SECRET_MAX - 1);
        return false;
    }
    ret->len = (size_t)len;
    return true;
}
