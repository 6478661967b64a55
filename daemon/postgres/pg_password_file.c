/* SPDX-License-Identifier: MIT */
#include "pg_password_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 512 };

/* How far a line has been read. */
struct line {
    unsigned colons; /* … that are not escaped */
    bool begun, comment, escaped;
};

/* Returns whether the line has a fifth field by now, the password. */
static bool read_on(struct line *line, char byte)
{
    if (byte == '\n') {
        *line = (struct line){.begun = false};
        return false;
    }
    line->comment |= !line->begun && byte == '#';
    line->begun = true;
    line->colons += byte == ':' && !line->escaped;
    line->escaped = byte == '\\' && !line->escaped;
    return line->colons >= 4 && !line->comment;
}

static bool has_entry(int fd)
{
    struct line line = {.begun = false};
    char chunk[CHUNK];
    bool entry = false;
    ssize_t len;

    while (!entry && (len = read(fd, chunk, sizeof chunk)) > 0) {
        for (ssize_t i = 0; i < len && !entry; i++)
            entry = read_on(&line, chunk[i]);
    }
    explicit_bzero(chunk, sizeof chunk);
    return entry;
}

static const char *wrong_with(int fd)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return strerrordesc_np(errno);
    if (!S_ISREG(status.st_mode))
        return "a regular file is needed";
    if (status.st_mode & (S_IRWXG | S_IRWXO))
        return "libpq uses no password file that group or others can read; its mode has to be 0600";
    if (status.st_size == 0)
        return "it is empty; a line host:port:database:user:password is needed";
    if (!has_entry(fd))
        return "none of its lines has the form host:port:database:user:password";
    return NULL;
}

const char *pg_password_file_wrong(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return strerrordesc_np(errno);
    const char *wrong = wrong_with(fd);
    close(fd);
    return wrong;
}

bool pg_password_file_default(char ret[static PATH_MAX])
{
    const char *home = getenv("HOME");
    struct passwd entry, *found = NULL;
    char room[1024];

    if ((!home || !home[0]) && getpwuid_r(getuid(), &entry, room, sizeof room, &found) == 0 &&
        found)
        home = found->pw_dir;
    return home && snprintf(ret, PATH_MAX, "%s/.pgpass", home) < PATH_MAX;
}
