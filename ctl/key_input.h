/* key_input: a key from the command line, or, where others may not see it, from stdin. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_KEY_INPUT_H
#define APIKEYCTL_KEY_INPUT_H

enum { KEY_INPUT_SIZE = 1024 };

/* The key: `given`, or a line of stdin when that is NULL or "-" (asked for without echo on a
 * terminal). Ends the program when there is none. */
void key_input(const char *given, char ret[static KEY_INPUT_SIZE]);

#endif
