/* option: one row of the option table, and the types that a value can have. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_OPTION_H
#define APIKEYD_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <apikeyd/base/buffer.h>

enum option_type {
    /* char *, see option_is_text() */
    OPTION_PREFIX,       /* without blanks: the start of names, a user */
    OPTION_DSN,          /* its passwords are not shown */
    OPTION_REDIS_URL,    /* also not shown */
    OPTION_TABLE,        /* an SQL name, optionally schema.name */
    OPTION_COLUMN,       /* an SQL name */
    OPTION_ZONE,         /* a time zone, by a name that PostgreSQL knows */
    OPTION_FILE,         /* an absolute path; other files may stand beside the file */
    OPTION_SECRET_FILE,  /* an absolute path or the name of a credential */
    OPTION_SECRET_FILES, /* some of these, with commas in between */
    OPTION_SOCKET,       /* an absolute path, of a Unix socket */
    OPTION_ADDRESS,      /* the path of a Unix socket, or address:port */
    OPTION_GROUP,        /* a group's name */
    OPTION_HOST,         /* a host's name or its address */
    OPTION_PROCESSOR,    /* the number of a processor, or "last" */

    OPTION_COUNT,        /* uint64_t */
    OPTION_SIZE,         /* uint64_t, bytes */
    OPTION_MODE,         /* uint64_t, octal file mode */
    OPTION_DURATION,     /* int64_t, µs */
    OPTION_BOOL,         /* bool */
    OPTION_CHOICE,       /* uint64_t, index into `choices` */
    OPTION_IDS,          /* struct id_list */
    OPTION_SOURCES,      /* struct key_sources */
    OPTION_KEY_PREFIXES, /* struct key_prefixes */
    OPTION_ATTRIBUTES,   /* struct attribute_columns */
};

/* Limits in bytes: of Unix sockets' paths (unix(7): sun_path without its NUL); of names in a folder
 * (NAME_MAX), less the suffixes of ledger and spill file: ".new", ".lock", ".<store>",
 * ".damaged-<n>"; of SQL names, which PostgreSQL would cut (NAMEDATALEN). A number: of processors
 * that Linux can have (NR_CPUS). */
enum {
    OPTION_SOCKET_MAX = 107,
    OPTION_FILE_MAX = 3968,
    OPTION_FILE_NAME_MAX = 127,
    OPTION_NAME_MAX = 63,
    OPTION_PROCESSORS = 8192
};

static inline bool option_is_text(enum option_type type)
{
    return type <= OPTION_PROCESSOR;
}

struct option {
    const char *section;
    const char *name;
    enum option_type type;
    size_t offset;     /* of the field in struct config */
    const char *value; /* the default, as it would stand in the file */
    int64_t min, max;  /* bounds: of texts in bytes (min 0: may be empty); of DURATION in µs */
    bool reloadable;
    const char *const *choices; /* of CHOICE, and the forms of SOURCES; ended by NULL */
    const char *help;
    const char *old_name; /* deprecated, in the same section: accepted for a release; NULL: none */
    const char
        *old_prefix; /* what a value by the deprecated name lacks at its start; NULL: nothing */
};

extern const struct option option_table[];
extern const size_t option_count;

/* Returns the option of that name, or NULL. */
const struct option *option_find(const char *section, const char *name);

/* Returns the option with that deprecated name, or NULL. */
const struct option *option_find_old(const char *section, const char *name);

/* Read `text` into the option's field of `config`; the old value is freed. Returns NULL, or the
 * expected form (in `scratch`) with the field unchanged. */
const char *option_parse(const struct option *option, const char *text, void *config, char *scratch,
                         size_t scratch_size);

/* Append the value in `config` as it would stand in the file. */
void option_print(const struct option *option, const void *config, struct buffer *out);

/* As option_print(), without passwords. */
void option_show(const struct option *option, const void *config, struct buffer *out);

/* Release the option's field. */
void option_clear(const struct option *option, void *config);

#endif
