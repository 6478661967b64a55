/* SPDX-License-Identifier: MIT */
#include "config_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, struct buffer *ret)
{
    enum { CHUNK = 16384 };

    for (;;) {
        ssize_t got = read(fd, buffer_reserve(ret, CHUNK), CHUNK);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : 0;
        ret->len += (size_t)got;
        if (ret->len > CONFIG_FILE_MAX)
            return -EFBIG;
    }
}

/* A pipe can be read only once: at a reload it seems to be an empty file. */
static bool is_empty_pipe(int fd, size_t len)
{
    struct stat status;

    return len == 0 && fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

int config_file_read(const char *path, struct buffer *ret)
{
    size_t before = ret->len;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error;

    if (fd < 0)
        return -errno;
    error = read_all(fd, ret); /* of a directory: EISDIR */
    if (error == 0 && is_empty_pipe(fd, ret->len - before))
        error = -ENODATA;
    close(fd);
    return error;
}

/* Cut blanks off both ends. */
static char *trim(char *text)
{
    char *end = text + strlen(text);

    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

/* A comment begins with ";" after a blank. */
static void cut_comment(char *text)
{
    for (char *at = text; *at; at++) {
        if (*at == ';' && at > text && isspace((unsigned char)at[-1]))
            *at = '\0';
    }
}

static void parse_section(const struct config_reader *reader, int number, char *line)
{
    char *close = strchr(line, ']');

    if (!close) {
        reader->wrong(reader->arg, number, "a section's name ends with \"]\"");
        return;
    }
    *close = '\0';
    cut_comment(close + 1);
    if (*trim(close + 1))
        reader->wrong(reader->arg, number, "a section's name stands alone in its line");
    reader->section(reader->arg, number, trim(line + 1));
}

static void parse_option(const struct config_reader *reader, int number, char *line)
{
    char *sign = line + strcspn(line, "=:");

    if (!*sign) {
        reader->wrong(reader->arg, number, "[section] or option = value is needed");
        return;
    }
    *sign = '\0';
    cut_comment(sign + 1);
    reader->option(reader->arg, number, trim(line), trim(sign + 1));
}

/* `line` has `len` bytes and a NUL behind them. */
static void parse_line(const struct config_reader *reader, int number, char *line, size_t len)
{
    const char *text = line + strspn(line, " \t\r\f\v");

    if (memchr(line, '\0', len))
        reader->wrong(reader->arg, number, "the line holds a NUL byte; text is needed");
    else if (len > CONFIG_LINE_MAX)
        reader->wrong(reader->arg, number, "the line is longer than 16384 bytes");
    else if (*text == '\0' || *text == '#' || *text == ';')
        return;
    else if (text > line)
        reader->wrong(reader->arg, number,
                      "the line is indented; sections and options start in the first column");
    else if (*line == '[')
        parse_section(reader, number, line);
    else
        parse_option(reader, number, line);
}

void config_file_parse(struct buffer *text, const struct config_reader *reader)
{
    static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, as some editors set it */
    int number = 0;

    buffer_append(text, "", 1);
    char *line = text->data + text->start;
    char *end = line + text->len - 1;
    if (strncmp(line, mark, strlen(mark)) == 0)
        line += strlen(mark);
    while (line < end) {
        char *next = memchr(line, '\n', (size_t)(end - line));

        if (!next)
            next = end;
        *next = '\0';
        parse_line(reader, ++number, line, (size_t)(next - line));
        line = next + 1;
    }
}
