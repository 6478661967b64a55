/* edit_distance: how far apart two words are, to guess which one was meant. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_EDIT_DISTANCE_H
#define APIKEYD_EDIT_DISTANCE_H

#include <stddef.h>

enum { EDIT_DISTANCE_FAR = 1000, EDIT_DISTANCE_TYPO = 2 };

/* Letters to insert, delete, change, or swap with their neighbour until `a` is `b`. Words of more
 * than 63 bytes are EDIT_DISTANCE_FAR from all others. */
size_t edit_distance(const char *a, const char *b);

#endif
