/* key_input: a key from the command line, or from stdin, where other users cannot see it. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYCTL_KEY_INPUT_H
#define APIKEYCTL_KEY_INPUT_H

enum { KEY_INPUT_SIZE = 1024 };

/* Read the key: `given`, or a line of stdin when `given` is NULL or "-" (a prompt without echo on a
 * terminal). Ends the program when there is no key. */
void key_input(const char *given, char ret[static KEY_INPUT_SIZE]);

#endif
