/* die: ends the program on an error. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_DIE_H
#define APIKEYCTL_DIE_H

#include <sysexits.h>

/* Exit statuses beyond sysexits(3): 64 bad usage, 69 no daemon or database, 77 no permission, 78 a
 * configuration with errors. */
enum {
    STATUS_FAILED = 1, /* the daemon or the database refused; not ready; no such key */
    STATUS_UNKNOWN = 2,
    STATUS_INACTIVE = 3,
    STATUS_UNAVAILABLE = 4,
    STATUS_EXPIRED = 5,
    STATUS_EARLY = 6,
};

/* Print the error to stderr and exit. */
__attribute__((format(printf, 2, 3), noreturn)) void die(int status, const char *format, ...);

#endif
