/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/redis_value.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <apikeyd/base/utf8.h>
#include <apikeyd/model/quota.h>

#include "hmac_tag.h"

/* The format and, but for format 1, the window. */
static int put_head(enum redis_value_format format, const struct key_window *window,
                    char ret_text[static REDIS_VALUE_SIZE])
{
    if (format == REDIS_VALUE_PLAIN)
        return snprintf(ret_text, REDIS_VALUE_SIZE, "1");
    return snprintf(ret_text, REDIS_VALUE_SIZE, "%d %" PRId64 " %" PRId64, (int)format,
                    window->start_us, window->end_us);
}

size_t redis_value_encode(struct slice key, enum redis_value_format format,
                          const struct verdict *verdict, int64_t server_read_us,
                          struct slice secret, char ret_text[static REDIS_VALUE_SIZE])
{
    char api_key_id[ID_TEXT_MAX + 1] = "";
    char user_id[ID_TEXT_MAX + 1] = "";

    (void)row_id_to_text(&verdict->api_key_id, verdict->id_type, api_key_id);
    (void)row_id_to_text(&verdict->user_id, verdict->id_type, user_id);
    int len = put_head(format, &verdict->window, ret_text);
    len += snprintf(ret_text + len, REDIS_VALUE_SIZE - (size_t)len, " %s %s %s %" PRId64,
                    verdict->kind == VERDICT_ALLOW ? "ALLOW" : "INACTIVE", api_key_id, user_id,
                    server_read_us);
    if (format == REDIS_VALUE_WITH_ATTRIBUTES) {
        ret_text[len++] = ' ';
        if (verdict->attributes.len > 0)
            memcpy(ret_text + len, verdict->attributes.at, verdict->attributes.len);
        len += (int)verdict->attributes.len;
        ret_text[len] = '\0';
    }
    return hmac_tag_append(key, ret_text, (size_t)len, secret);
}

static const char tombstone[] = "tombstone";

size_t redis_value_encode_tombstone(int64_t server_us, char ret_text[static REDIS_VALUE_SIZE])
{
    if (server_us <= 0)
        return (size_t)snprintf(ret_text, REDIS_VALUE_SIZE, "%s", tombstone);
    return (size_t)snprintf(ret_text, REDIS_VALUE_SIZE, "%s %" PRId64, tombstone, server_us);
}

/* Any other time than one that a daemon writes counts as none. */
static bool is_tombstone(struct slice value, int64_t *ret_server_us)
{
    size_t len = strlen(tombstone);
    int64_t server_us = 0;

    if (value.len < len || memcmp(value.at, tombstone, len) != 0)
        return false;
    if (value.len > len && value.at[len] != ' ')
        return false;
    if (value.len > len &&
        !slice_number((struct slice){value.at + len + 1, value.len - len - 1}, &server_us))
        server_us = 0;
    *ret_server_us = server_us;
    return true;
}

/* Take `word` and the blank behind it off the front. */
static bool take_word(struct slice *line, const char *word)
{
    size_t len = strlen(word);

    if (line->len <= len || memcmp(line->at, word, len) != 0 || line->at[len] != ' ')
        return false;
    line->at += len + 1;
    line->len -= len + 1;
    return true;
}

static bool take_id(struct slice *line, enum id_type type, struct row_id *ret)
{
    const char *blank = memchr(line->at, ' ', line->len);
    size_t len = blank ? (size_t)(blank - line->at) : 0;

    if (!row_id_from_text((struct slice){line->at, len}, type, ret))
        return false;
    line->at += len + 1;
    line->len -= len + 1;
    return true;
}

/* Take a number and the blank behind it off the front. */
static bool take_instant(struct slice *line, int64_t *ret)
{
    const char *blank = memchr(line->at, ' ', line->len);
    size_t len = blank ? (size_t)(blank - line->at) : 0;

    if (!slice_number((struct slice){line->at, len}, ret) || *ret < 0)
        return false;
    line->at += len + 1;
    line->len -= len + 1;
    return true;
}

static bool take_head(struct slice *line, enum redis_value_format format,
                      struct key_window *ret_window)
{
    if (format == REDIS_VALUE_PLAIN)
        return take_word(line, "1");
    return take_word(line, format == REDIS_VALUE_WITH_WINDOW ? "2" : "3") &&
           take_instant(line, &ret_window->start_us) && take_instant(line, &ret_window->end_us);
}

/* A value that anyone may have written: answers that are JSON have no place for any bytes. */
static bool are_text(struct attributes attributes)
{
    return utf8_valid_text((struct slice){attributes.at, attributes.len});
}

/* The read time, and the attributes in format 3, which end the line. A host with a secret may have
 * written the value, and this host has none: then the line is complete without the tag. */
static bool take_rest(struct slice line, const struct redis_value_form *form, bool tagged,
                      int64_t *ret_server_read_us, struct attributes *ret_attributes)
{
    bool has_attributes = form->format == REDIS_VALUE_WITH_ATTRIBUTES;

    if (has_attributes &&
        (!take_instant(&line, ret_server_read_us) ||
         !attributes_parse(&line, form->attribute_columns, ret_attributes) ||
         !are_text(*ret_attributes) || (!form->quotas && quota_leads(*ret_attributes))))
        return false;
    if (tagged)
        hmac_tag_drop(&line);
    return has_attributes ? line.len == 0 : slice_number(line, ret_server_read_us);
}

enum redis_value_kind redis_value_decode(struct slice key, struct slice value, struct slice secret,
                                         struct redis_value_form form, struct verdict *ret,
                                         int64_t *ret_server_read_us)
{
    enum id_type id_type = form.id_type;
    struct verdict verdict = {.id_type = id_type};
    int64_t server_read_us;

    if (is_tombstone(value, ret_server_read_us))
        return REDIS_VALUE_TOMBSTONE;
    if (secret.len > 0 && !hmac_tag_take(key, &value, secret))
        return REDIS_VALUE_FORGED;
    if (!take_head(&value, form.format, &verdict.window))
        return REDIS_VALUE_BROKEN;
    if (take_word(&value, "ALLOW"))
        verdict.kind = VERDICT_ALLOW;
    else if (take_word(&value, "INACTIVE"))
        verdict.kind = VERDICT_DENY_INACTIVE;
    else
        return REDIS_VALUE_BROKEN;
    if (!take_id(&value, id_type, &verdict.api_key_id) ||
        !take_id(&value, id_type, &verdict.user_id))
        return REDIS_VALUE_BROKEN;
    if (!take_rest(value, &form, secret.len == 0, &server_read_us, &verdict.attributes))
        return REDIS_VALUE_BROKEN;
    *ret = verdict;
    *ret_server_read_us = server_read_us;
    return REDIS_VALUE_VERDICT;
}
