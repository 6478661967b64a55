/* config_draft: options during reading and checking, with the origin of each value.
 *
 * An error names the place (file and line, or the environment's variable), the option, its value
 * without passwords, and the expected form. A wrong option keeps its default and is not reported
 * again, so later checks need not care. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_CONFIG_DRAFT_H
#define APIKEYD_CONFIG_DRAFT_H

#include <errno.h>
#include <stdbool.h>

#include <apikeyd/config/config.h>
#include <apikeyd/config/option.h>

struct config_origin {
    int line;         /* of the file; 0: not set there */
    bool environment; /* a variable overrides the file */
    /* The line, or the variable, has the deprecated name. */
    bool line_is_old, variable_is_old;
    bool wrong;
};

struct config_draft {
    const char *path;             /* NULL: there is no file */
    struct config *config;        /* never NULL between _open() and _close() */
    struct config_origin *origin; /* of each option of the table */
    struct buffer *errors;        /* a line each */
    bool failed;
};

/* Read the defaults, the file, the environment. Returns 0 whether the values are right or not (see
 * draft->failed); -EINVAL when the file cannot be read; -ENOMEM. On an error *errors has a line,
 * and the draft is closed. */
__attribute__((warn_unused_result)) int config_draft_open(struct config_draft *draft,
                                                          const char *path, struct buffer *errors);

/* Ends the draft. NULL if it failed. */
struct config *config_draft_close(struct config_draft *draft);

/* Report that the value of option "section.name", which the table must have, is not as expected. */
__attribute__((format(printf, 3, 4))) void
config_draft_fail(struct config_draft *draft, const char *name, const char *expected, ...);

/* Returns whether no error was found in the option "section.name". */
bool config_draft_sound(const struct config_draft *draft, const char *name);

/* Append a line for each option that the file or the environment sets by its deprecated name. */
void config_draft_deprecated(const struct config_draft *draft, struct buffer *out);

/* Append the origin of the option's value: "apikeyd.conf:12", "APIKEYD_CACHE_TTL", "the
 * default". */
void config_draft_place(const struct config_draft *draft, const char *name, struct buffer *out);

#endif
