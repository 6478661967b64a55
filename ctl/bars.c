/* SPDX-License-Identifier: MIT */
#include "bars.h"

#include <langinfo.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

int bars_terminal_width(void)
{
    static const int usual = 80;
    struct winsize size = {0};

    if (!isatty(STDOUT_FILENO))
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : usual;
}

void bars_append(struct buffer *text, int64_t number, int64_t max, int width)
{
    static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
    static const int eighths = 8;
    bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    int unit = utf8 ? eighths : 1;
    int len = number > 0 ? (int)((double)number / (double)max * width * unit + 0.5) : 0;

    if (number > 0 && len == 0)
        len = 1;
    for (int i = 0; i < len / unit; i++)
        buffer_text(text, utf8 ? parts[eighths] : "#");
    buffer_text(text, parts[len % unit]);
}
