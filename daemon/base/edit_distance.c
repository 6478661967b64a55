/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/edit_distance.h>

#include <string.h>

enum { WORD_MAX = 63 };

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: row i, column k holds the distance of the first i letters of `a` from
 * the first k of `b`. */
size_t edit_distance(const char *a, const char *b)
{
    size_t distance[WORD_MAX + 1][WORD_MAX + 1];
    size_t a_len = strlen(a), b_len = strlen(b);

    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return EDIT_DISTANCE_FAR;
    for (size_t k = 0; k <= b_len; k++)
        distance[0][k] = k;
    for (size_t i = 1; i <= a_len; i++) {
        distance[i][0] = i;
        for (size_t k = 1; k <= b_len; k++) {
            size_t changed = distance[i - 1][k - 1] + (a[i - 1] != b[k - 1]);
            size_t best = smaller(changed, smaller(distance[i - 1][k], distance[i][k - 1]) + 1);

            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                best = smaller(best, distance[i - 2][k - 2] + 1);
            distance[i][k] = best;
        }
    }
    return distance[a_len][b_len];
}
