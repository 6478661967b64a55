/* SPDX-License-Identifier: MIT */
#include "die.h"

#include <curses.h>
#include <stdarg.h>
#include <stdlib.h>

void die(int status, const char *format, ...)
{
    va_list args;

    /* Leave curses' screen first: text on it disappears with it. */
    if (stdscr && !isendwin())
        endwin();
    va_start(args, format);
    fprintf(stderr, "apikeyctl: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(status);
}
