/* SPDX-License-Identifier: MIT */
#include <apikeyd/base/utf8.h>

#include <stdint.h>

/* The rows of Unicode's table 3-7. */
size_t utf8_sequence_len(struct slice text)
{
    const uint8_t *at = (const uint8_t *)text.at;

    static const struct {
        uint8_t first_low, first_high, second_low, second_high;
        size_t len;
    } form[] = {
        {0x01, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
        {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
        {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
    };

    for (size_t i = 0; i < sizeof form / sizeof form[0]; i++) {
        if (at[0] < form[i].first_low || at[0] > form[i].first_high)
            continue;
        if (form[i].len > text.len)
            return 0;
        if (form[i].len > 1 && (at[1] < form[i].second_low || at[1] > form[i].second_high))
            return 0;
        for (size_t k = 2; k < form[i].len; k++) {
            if ((at[k] & 0xc0) != 0x80)
                return 0;
        }
        return form[i].len;
    }
    return 0;
}

bool utf8_valid_text(struct slice text)
{
    for (size_t step; text.len > 0; text = (struct slice){text.at + step, text.len - step}) {
        step = utf8_sequence_len(text);
        if (step == 0)
            return false;
    }
    return true;
}
