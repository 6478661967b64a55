/* SPDX-License-Identifier: MIT */
#include "key_input.h"

#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "command.h"
#include "die.h"

static void read_line(char ret[static KEY_INPUT_SIZE])
{
    struct termios shown, hidden;
    bool terminal = tcgetattr(STDIN_FILENO, &shown) == 0;

    if (terminal) {
        hidden = shown;
        hidden.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden);
        fprintf(stderr, "key: "); /* from here on nothing that is typed is shown */
    }
    const char *line = fgets(ret, KEY_INPUT_SIZE, stdin);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &shown);
        fprintf(stderr, "\n");
    }
    if (!line)
        die(EX_NOINPUT, "a key is expected on stdin");
    ret[strcspn(ret, "\n")] = '\0';
    /* A file of another system ends its lines with one more, which is none of the key. */
    size_t len = strlen(ret);
    if (len > 0 && ret[len - 1] == '\r')
        ret[len - 1] = '\0';
}

void key_input(const char *given, char ret[static KEY_INPUT_SIZE])
{
    if (!given || strcmp(given, "-") == 0)
        read_line(ret);
    else if (snprintf(ret, KEY_INPUT_SIZE, "%s", given) >= KEY_INPUT_SIZE)
        die(EX_DATAERR, "the key is longer than 255 bytes");
    if (!ret[0])
        die(EX_DATAERR, "the key is empty");
}
