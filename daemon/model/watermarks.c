/* SPDX-License-Identifier: MIT */
#include "watermarks.h"

/* Only keys that exist raise watermarks, so an attacker cannot gain by choosing keys. */
static size_t place_of(const struct digest *digest)
{
    return digest->word[0] % WATERMARKS;
}

void watermarks_init(struct watermarks *watermarks)
{
    for (size_t i = 0; i < WATERMARKS; i++)
        watermarks->of[i] = TIME_NEVER;
}

void watermarks_raise(struct watermarks *watermarks, const struct digest *digest, int64_t now_us)
{
    int64_t *watermark_us = &watermarks->of[place_of(digest)];

    if (now_us > *watermark_us)
        *watermark_us = now_us;
}

int64_t watermarks_get(const struct watermarks *watermarks, const struct digest *digest)
{
    return watermarks->of[place_of(digest)];
}
