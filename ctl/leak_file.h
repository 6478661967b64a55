/* leak_file: a list of leaked keys, a line each, read twice.
 *
 * A line holds a key, or a fingerprint as "keys list" and the daemon's log show it. Blank lines and
 * lines that begin with "#" are passed over; blanks around a key, a CR at the end of a line and a
 * byte order mark are none of the key. The file may have any length: one line at a time is in
 * memory. What comes by a pipe is copied to a file without a name, so that it can be read twice.
 * An error is reported and ends the program. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_LEAK_FILE_H
#define APIKEYCTL_LEAK_FILE_H

#include <stdint.h>

#include <apikeyd/base/slice.h>

enum leak_kind { LEAK_KEY, LEAK_FINGERPRINT, LEAK_BLANK, LEAK_BROKEN };

struct leak_line {
    enum leak_kind kind;
    uint64_t number; /* the first is 1 */
    struct slice
        text; /* without blanks; of a fingerprint in lower case; valid until the next read */
    const char *wrong; /* with a BROKEN line; lives forever */
};

struct leak_file;

/* Open the file; "-" is stdin. */
struct leak_file *leak_file_open(const char *path);
void leak_file_close(struct leak_file *file);

/* For messages. */
const char *leak_file_name(const struct leak_file *file);

/* Read the next line. False at the end; the next call begins at the first line again. */
bool leak_file_read(struct leak_file *file, struct leak_line *ret);

#endif
