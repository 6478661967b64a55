/* config_file: the lines of a configuration file.
 *
 *     # comment          ; comment
 *     [section]
 *     name = value       ; comment, after a blank
 *
 * This module knows the form only, no option. Nothing is cut or skipped in silence: a line of
 * another form is reported, and reading continues after it. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONFIG_FILE_H
#define APIKEYD_CONFIG_FILE_H

#include <stddef.h>

#include <apikeyd/base/buffer.h>

enum { CONFIG_FILE_MAX = 1 << 20, CONFIG_LINE_MAX = 1 << 14 };

struct config_reader {
    /* The names and the value are valid until the call returns. */
    void (*section)(void *arg, int line, const char *section);
    void (*option)(void *arg, int line, const char *name, const char *value);
    void (*wrong)(void *arg, int line, const char *expected);
    void *arg;
};

/* Append the file at `path` to *ret. 0, -EISDIR, -EFBIG (more than CONFIG_FILE_MAX bytes), -ENODATA
 * (an empty pipe, perhaps read before) or another -errno. */
__attribute__((warn_unused_result)) int config_file_read(const char *path, struct buffer *ret);

/* Call `reader` for each line of `text`, which is overwritten. */
void config_file_parse(struct buffer *text, const struct config_reader *reader);

#endif
