/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/secret.h>

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void secret_free(void *memory)
{
    if (memory)
        explicit_bzero(memory, malloc_usable_size(memory));
    free(memory);
}

bool secret_path(const char *path, struct buffer *ret, struct buffer *why)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");

    if (!strchr(path, '/') && !folder) {
        buffer_text(
            why,
            "a name without any / is a credential's (LoadCredential= of systemd), and there are "
            "none here: $CREDENTIALS_DIRECTORY is not set");
        return false;
    }
    if (!strchr(path, '/'))
        buffer_printf(ret, "%s/", folder);
    buffer_text(ret, path);
    buffer_append(ret, "", 1);
    return true;
}

/* O_NONBLOCK: a FIFO in the secret's place does not block the open. */
static int open_secret(const char *path, bool *ret_exposed, struct buffer *why)
{
    struct buffer file = {0};
    struct stat status;

    if (!secret_path(path, &file, why))
        return -1;
    int fd = open(file.data, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int error = errno;
    buffer_free(&file);
    if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        *ret_exposed = status.st_mode & S_IROTH;
        return fd;
    }
    buffer_text(why, fd < 0 ? strerror(error) : "a regular file is needed");
    if (fd >= 0)
        close(fd);
    return -1;
}

bool secret_read(const char *path, struct secret *ret, struct buffer *why)
{
    if (!path[0])
        return true;
    int fd = open_secret(path, &ret->exposed, why);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, ret->bytes, sizeof ret->bytes);
    int error = errno;

    close(fd);
    if (len < 0) {
        buffer_text(why, strerror(error));
        return false;
    }
    while (len > 0 && (ret->bytes[len - 1] == '\n' || ret->bytes[len - 1] == '\r'))
        len--;
    if (len == 0 || (size_t)len == sizeof ret->bytes) {
        buffer_printf(why, "a secret of 1 to %d bytes is needed in the file", SECRET_MAX - 1);
        return false;
    }
    ret->len = (size_t)len;
    return true;
}
