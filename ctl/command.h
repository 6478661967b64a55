/* command: parses the command line, by a table of commands and one of options.
 *
 * The two tables yield the parser, the help, the manual's list and the completion. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_COMMAND_H
#define APIKEYCTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum takes {
    TAKES_JSON = 1 << 0,
    TAKES_WATCH = 1 << 1,
    TAKES_WITHIN = 1 << 2,
    TAKES_ALL = 1 << 3,
    TAKES_DSN = 1 << 4,
    TAKES_USER = 1 << 5,
    TAKES_NAME = 1 << 6,
    TAKES_KEY_ID = 1 << 7,
    TAKES_ACTIVE = 1 << 8,
    TAKES_YES = 1 << 9,
    TAKES_ID = 1 << 10,
    TAKES_ROLE = 1 << 11,
    TAKES_SQL = 1 << 12,
    TAKES_LEAKED = 1 << 13,
    TAKES_REPORT = 1 << 14,
    TAKES_ROTATION = 1 << 15,
    TAKES_ATTRIBUTES = 1 << 16,
    TAKES_CSV = 1 << 17,
    TAKES_USAGE = 1 << 18,
};

struct request;

struct command {
    const char *group;                         /* "" or the word before the name */
    const char *name;                          /* "": the group's word alone */
    const char *arguments;                     /* in the words of the help */
    int min, max;                              /* how many */
    unsigned takes;                            /* options */
    int (*run)(const struct request *request); /* the exit status */
    const char *summary;
};

/* Strings point into the command line; NULL: not given. */
struct request {
    const struct command *command;
    const char *socket, *config;
    bool json, all, yes, no_role, undo, dry_run, skip_broken, csv, never_used, still_tried, rotated;
    bool attributes;
    double watch_s; /* 0: once */
    const char *within, *dsn, *user, *id, *name, *key_id, *active, *role, *part;
    const char *from_file, *idle, *expiring, *overlap, *lifetime, *copy, *key, *top, *since, *by;
    int argc;
    char **argv; /* the arguments */
};

extern const struct command command_table[];
extern const size_t command_count;

/* Parse the command line and run the command; returns the exit status. */
int command_main(int argc, char **argv);

/* Print the tables in roff, for the manual page. */
void command_print_manual(FILE *out);

#endif
