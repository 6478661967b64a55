/* SPDX-License-Identifier: MIT */
#include "leak_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apikeyd/base/utf8.h>
#include <apikeyd/model/key_hasher.h>

#include "die.h"

enum { LINE_MAX_BYTES = 1024, FINGERPRINT_DIGITS = 8 };

struct leak_file {
    FILE *stream;
    const char *name;
    uint64_t number;
    char line[LINE_MAX_BYTES];
};

static void cannot_read(const struct leak_file *file)
{
    die(EX_NOINPUT, "%s: %s", file->name, strerror(errno));
}

/* What comes by a pipe cannot be read twice. */
static void copy_pipe(struct leak_file *file)
{
    FILE *copy = tmpfile();
    char bytes[BUFSIZ];
    size_t len;

    if (!copy)
        die(EX_CANTCREAT, "a temporary file for %s: %s", file->name, strerror(errno));
    while ((len = fread(bytes, 1, sizeof bytes, file->stream)) > 0) {
        if (fwrite(bytes, 1, len, copy) != len)
            die(EX_IOERR, "a temporary file for %s: %s", file->name, strerror(errno));
    }
    if (ferror(file->stream))
        cannot_read(file);
    explicit_bzero(bytes, sizeof bytes);
    fclose(file->stream);
    file->stream = copy;
    if (fseek(copy, 0, SEEK_SET) != 0)
        die(EX_IOERR, "a temporary file for %s: %s", file->name, strerror(errno));
}

struct leak_file *leak_file_open(const char *path)
{
    struct leak_file *file = calloc(1, sizeof *file);
    bool is_stdin = strcmp(path, "-") == 0;

    if (!file)
        die(EX_OSERR, "out of memory");
    file->name = is_stdin ? "stdin" : path;
    file->stream = is_stdin ? stdin : fopen(path, "re");
    if (!file->stream)
        cannot_read(file);
    if (is_stdin || fseek(file->stream, 0, SEEK_SET) != 0)
        copy_pipe(file);
    return file;
}

void leak_file_close(struct leak_file *file)
{
    fclose(file->stream);
    explicit_bzero(file, sizeof *file);
    free(file);
}

const char *leak_file_name(const struct leak_file *file)
{
    return file->name;
}

/* The bytes up to the end of the line, as many as have room; *ret_len counts all. False at the end
 * of the file. */
static bool read_bytes(struct leak_file *file, size_t *ret_len)
{
    size_t len = 0;
    int byte;

    while ((byte = getc_unlocked(file->stream)) != EOF && byte != '\n') {
        if (len < sizeof file->line)
            file->line[len] = (char)byte;
        len++;
    }
    if (ferror(file->stream))
        cannot_read(file);
    *ret_len = len;
    return byte != EOF || len > 0;
}

static bool is_fingerprint(char *text, size_t len)
{
    if (len != strlen("fp:") + FINGERPRINT_DIGITS)
        return false;
    for (char *at = text + strlen("fp:"); at < text + len; at++) {
        if (*at >= 'A' && *at <= 'F')
            *at = (char)(*at | 0x20);
        if (!((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f')))
            return false;
    }
    return true;
}

/* `whole`: the line had room. */
static void judge(struct leak_file *file, bool whole, struct leak_line *line)
{
    struct slice text = line->text;

    line->kind = LEAK_BROKEN;
    if ((text.len == 0 && whole) || (text.len > 0 && text.at[0] == '#'))
        line->kind = LEAK_BLANK;
    else if (text.len > KEY_LEN_MAX || !whole)
        line->wrong = "a key has at most 255 bytes";
    else if (!utf8_valid_text(text))
        line->wrong = "a key is UTF-8 text without NUL";
    else if (text.len < 3 || memcmp(text.at, "fp:", 3) != 0)
        line->kind = LEAK_KEY;
    else if (is_fingerprint(file->line + (text.at - file->line), text.len))
        line->kind = LEAK_FINGERPRINT;
    else
        line->wrong = "a fingerprint is fp: and 8 hexadecimal digits";
}

bool leak_file_read(struct leak_file *file, struct leak_line *ret)
{
    static const char mark[] = "\xef\xbb\xbf";
    size_t len;

    if (!read_bytes(file, &len)) {
        if (fseek(file->stream, 0, SEEK_SET) != 0)
            die(EX_IOERR, "%s: %s", leak_file_name(file), strerror(errno));
        file->number = 0;
        return false;
    }
    *ret = (struct leak_line){.number = ++file->number};
    ret->text = (struct slice){file->line, len < sizeof file->line ? len : sizeof file->line};
    if (ret->number == 1 && ret->text.len >= 3 && memcmp(file->line, mark, 3) == 0)
        ret->text = (struct slice){file->line + 3, ret->text.len - 3};
    if (ret->text.len > 0 && ret->text.at[ret->text.len - 1] == '\r')
        ret->text.len--;
    ret->text = slice_trim(ret->text);
    judge(file, len <= sizeof file->line, ret);
    return true;
}
