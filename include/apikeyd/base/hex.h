/* hex: hexadecimal digits. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_HEX_H
#define APIKEYD_HEX_H

/* The digit's value, or -1. Either case is taken. */
static inline int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return -1;
}

#endif
