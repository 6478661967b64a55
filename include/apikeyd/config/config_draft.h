/* config_draft: options while they are read and checked, and where each value comes from.
 *
 * An error names the place (file and line, or the environment's variable), the option, its value
 * with passwords blotted out, and what is expected. An option that was found wrong keeps its
 * default and is not complained about again, so checks that come later need not care. */
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

/* The defaults, the file, the environment. 0 whether they are right or not (see draft->failed);
 * -EINVAL when the file cannot be read, so that nobody knows what was meant; -ENOMEM. With an error
 * a line is in *errors, and the draft is closed. */
__attribute__((warn_unused_result)) int config_draft_open(struct config_draft *draft,
                                                          const char *path, struct buffer *errors);

/* Ends the draft. NULL if it failed. */
struct config *config_draft_close(struct config_draft *draft);

/* The option "section.name", which the table must have, does not say what is expected. */
__attribute__((format(printf, 3, 4))) void
config_draft_fail(struct config_draft *draft, const char *name, const char *expected, ...);

/* No error was found in the option "section.name". */
bool config_draft_sound(const struct config_draft *draft, const char *name);

/* Append a line for each option that the file or the environment sets by its deprecated name. */
void config_draft_deprecated(const struct config_draft *draft, struct buffer *out);

/* Append where the option's value comes from: "apikeyd.conf:12", "APIKEYD_CACHE_TTL", "the
 * default". */
void config_draft_place(const struct config_draft *draft, const char *name, struct buffer *out);

#endif
