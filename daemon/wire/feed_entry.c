/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/feed_entry.h>

#include <inttypes.h>
#include <stdio.h>

#include "hmac_tag.h"

enum { RELAY_BYTES = sizeof(uint64_t), RELAY_HEX_LEN = 2 * RELAY_BYTES };

static const char *const kinds[] = {
    [FEED_ENTRY_KEY] = "key",
    [FEED_ENTRY_ALL] = "all",
    [FEED_ENTRY_MISSING] = "missing",
    [FEED_ENTRY_CONFIRMED] = "confirmed",
};

size_t feed_entry_encode(struct slice name, const struct feed_entry *entry, struct slice secret,
                         char ret_text[static FEED_ENTRY_SIZE])
{
    char digest[DIGEST_HEX_SIZE];
    int len =
        snprintf(ret_text, FEED_ENTRY_SIZE, "1 %016" PRIx64 " %" PRId64 " %" PRId64 " %s %" PRId64,
                 entry->relay, entry->epoch, entry->number, kinds[entry->kind], entry->server_us);
    size_t room = FEED_ENTRY_SIZE - (size_t)len;

    if (entry->kind == FEED_ENTRY_KEY) {
        digest_to_hex(&entry->digest, digest);
        len += snprintf(ret_text + len, room, " %s", digest);
    } else if (entry->kind == FEED_ENTRY_CONFIRMED) {
        len += snprintf(ret_text + len, room, " %" PRIu32 " %" PRId64 " %d %" PRId64,
                        entry->timeline, entry->started_us, entry->gap, entry->delay_us);
    }
    return hmac_tag_append(name, ret_text, (size_t)len, secret);
}

static bool take_number(struct slice *line, int64_t min, int64_t max, int64_t *ret)
{
    struct slice word;

    return slice_take_part(line, ' ', &word) && slice_number(word, ret) && *ret >= min &&
           *ret <= max;
}

static bool take_relay(struct slice *line, uint64_t *ret)
{
    unsigned char bytes[RELAY_BYTES];
    struct slice word;

    if (!slice_take_part(line, ' ', &word) || word.len != RELAY_HEX_LEN ||
        !hex_decode(word.at, RELAY_BYTES, bytes))
        return false;
    *ret = 0;
    for (int i = 0; i < RELAY_BYTES; i++)
        *ret = *ret << 8 | bytes[i];
    return true;
}

static bool take_kind(struct slice *line, enum feed_entry_kind *ret)
{
    struct slice word;

    if (!slice_take_part(line, ' ', &word))
        return false;
    for (int i = FEED_ENTRY_KEY; i <= FEED_ENTRY_CONFIRMED; i++) {
        if (slice_equal(word, (struct slice){kinds[i], strlen(kinds[i])})) {
            *ret = (enum feed_entry_kind)i;
            return true;
        }
    }
    return false;
}

static bool take_digest(struct slice *line, struct digest *ret)
{
    struct slice word;

    return slice_take_part(line, ' ', &word) && word.len == DIGEST_HEX_SIZE - 1 &&
           digest_from_hex(word.at, ret);
}

static bool take_confirmed(struct slice *line, struct feed_entry *ret)
{
    int64_t timeline, gap;

    if (!take_number(line, 0, UINT32_MAX, &timeline) ||
        !take_number(line, 0, INT64_MAX, &ret->started_us) || !take_number(line, 0, 1, &gap) ||
        !take_number(line, 0, INT64_MAX, &ret->delay_us))
        return false;
    ret->timeline = (uint32_t)timeline;
    ret->gap = gap == 1;
    return true;
}

static bool take_rest(struct slice *line, struct feed_entry *ret)
{
    if (ret->kind == FEED_ENTRY_KEY)
        return take_digest(line, &ret->digest);
    return ret->kind != FEED_ENTRY_CONFIRMED || take_confirmed(line, ret);
}

enum feed_entry_fault feed_entry_decode(struct slice name, struct slice text, struct slice secret,
                                        struct feed_entry *ret)
{
    struct feed_entry entry = {0};
    struct slice line = text;
    int64_t format;

    if (secret.len > 0 && !hmac_tag_take(name, &line, secret))
        return FEED_ENTRY_FORGED;
    if (secret.len == 0)
        hmac_tag_drop(&line);
    if (!take_number(&line, 1, 1, &format) || !take_relay(&line, &entry.relay) ||
        !take_number(&line, 1, INT64_MAX, &entry.epoch) ||
        !take_number(&line, 1, INT64_MAX, &entry.number) || !take_kind(&line, &entry.kind) ||
        !take_number(&line, 0, INT64_MAX, &entry.server_us) || !take_rest(&line, &entry) ||
        line.len > 0)
        return FEED_ENTRY_BROKEN;
    *ret = entry;
    return FEED_ENTRY_FINE;
}
