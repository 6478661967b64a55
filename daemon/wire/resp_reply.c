/* SPDX-License-Identifier: MIT */
#include <apikeyd/wire/resp_reply.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void resp_simple(struct buffer *out, const char *text)
{
    buffer_printf(out, "+%s\r\n", text);
}

void resp_error(struct buffer *out, const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *at = text; *at; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = ' ';
    }
    buffer_printf(out, "-%s\r\n", text);
}

void resp_integer(struct buffer *out, int64_t number)
{
    buffer_printf(out, ":%" PRId64 "\r\n", number);
}

void resp_bulk(struct buffer *out, struct slice bytes)
{
    buffer_printf(out, "$%zu\r\n", bytes.len);
    buffer_append(out, bytes.at, bytes.len);
    buffer_append(out, "\r\n", 2);
}

void resp_text(struct buffer *out, const char *text)
{
    resp_bulk(out, (struct slice){text, strlen(text)});
}

void resp_time(struct buffer *out, int64_t wall_us)
{
    time_t seconds = (time_t)(wall_us / 1000000);
    char text[40] = "none";
    struct tm parts;

    if (wall_us != 0 && gmtime_r(&seconds, &parts)) {
        size_t len = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);

        snprintf(text + len, sizeof text - len, ".%06dZ", (int)(wall_us % 1000000));
    }
    resp_text(out, text);
}

void resp_array(struct buffer *out, size_t elements)
{
    buffer_printf(out, "*%zu\r\n", elements);
}

void resp_null(struct buffer *out, bool resp3)
{
    buffer_text(out, resp3 ? "_\r\n" : "$-1\r\n");
}

void resp_set(struct buffer *out, size_t elements, bool resp3)
{
    buffer_printf(out, "%c%zu\r\n", resp3 ? '~' : '*', elements);
}

void resp_map(struct buffer *out, size_t pairs, bool resp3)
{
    buffer_printf(out, "%c%zu\r\n", resp3 ? '%' : '*', resp3 ? pairs : 2 * pairs);
}

void resp_verbatim(struct buffer *out, struct slice text, bool resp3)
{
    static const char format[] = "txt:";

    if (!resp3) {
        resp_bulk(out, text);
        return;
    }
    buffer_printf(out, "=%zu\r\n%s", sizeof format - 1 + text.len, format);
    buffer_append(out, text.at, text.len);
    buffer_append(out, "\r\n", 2);
}

/* The commonest reply of all: its frame is copied whole and the two IDs are written into it. */
static void allow_uuids(struct buffer *out, const struct verdict *verdict)
{
#define BLANK_UUID "00000000-0000-0000-0000-000000000000"
    static const char frame[] =
        "*3\r\n$5\r\nALLOW\r\n$36\r\n" BLANK_UUID "\r\n$36\r\n" BLANK_UUID "\r\n";
    enum {
        LEN = sizeof frame - 1,
        USER_AT = LEN - 2 - UUID_TEXT_LEN,
        KEY_AT = USER_AT - 7 - UUID_TEXT_LEN
    };
#undef BLANK_UUID
    char *at = buffer_reserve(out, LEN);

    memcpy(at, frame, LEN);
    uuid_to_text(&verdict->api_key_id.head, at + KEY_AT);
    uuid_to_text(&verdict->user_id.head, at + USER_AT);
    out->len += LEN;
}

static char *put_id(char *at, const struct row_id *id, enum id_type type)
{
    char text[ID_TEXT_MAX];
    size_t len = row_id_to_text(id, type, text);

    *at++ = '$';
    if (len >= 10)
        *at++ = (char)('0' + len / 10);
    *at++ = (char)('0' + len % 10);
    at = (char *)mempcpy(at, "\r\n", 2);
    at = (char *)mempcpy(at, text, len);
    return (char *)mempcpy(at, "\r\n", 2);
}

static void allow(struct buffer *out, const struct verdict *verdict, char elements)
{
    static const char head[] = "*3\r\n$5\r\nALLOW\r\n";
    enum { ID_LEN_MAX = sizeof "$36\r\n\r\n" - 1 + ID_TEXT_MAX };
    char *start = buffer_reserve(out, sizeof head - 1 + (size_t)2 * ID_LEN_MAX);
    char *at = (char *)mempcpy(start, head, sizeof head - 1);

    start[1] = elements;
    at = put_id(at, &verdict->api_key_id, verdict->id_type);
    at = put_id(at, &verdict->user_id, verdict->id_type);
    out->len += (size_t)(at - start);
}

/* The first line of a reply, with a number below 1000: printf would take longer than all else. */
static char *put_head(char *at, char kind, size_t number)
{
    *at++ = kind;
    if (number >= 100)
        *at++ = (char)('0' + number / 100);
    if (number >= 10)
        *at++ = (char)('0' + number / 10 % 10);
    *at++ = (char)('0' + number % 10);
    return (char *)mempcpy(at, "\r\n", 2);
}

static char *put_text(char *at, struct slice text)
{
    at = put_head(at, '$', text.len);
    at = (char *)mempcpy(at, text.at, text.len);
    return (char *)mempcpy(at, "\r\n", 2);
}

void resp_verdict_attributes(struct buffer *out, const struct verdict *verdict, const char *why,
                             const struct attribute_columns *columns, bool over_quota, bool resp3)
{
    static const char over[] = "$10\r\nover_quota\r\n$4\r\ntrue\r\n";
    enum { FRAMES = sizeof "$63\r\n\r\n$255\r\n\r\n" };
    struct attributes rest = verdict->attributes;
    size_t count = attributes_count(rest), pairs = count + over_quota;
    struct attribute attribute;

    if (verdict->kind != VERDICT_ALLOW) {
        resp_verdict(out, verdict, why);
        return;
    }
    allow(out, verdict, '4');
    char *start = buffer_reserve(out, sizeof "*34\r\n" + sizeof over + rest.len +
                                          count * (size_t)(FRAMES + ATTRIBUTE_NAME_MAX));
    char *at = resp3 ? put_head(start, '%', pairs) : put_head(start, '*', 2 * pairs);
    if (over_quota)
        at = (char *)mempcpy(at, over, sizeof over - 1);
    while (attributes_take(&rest, &attribute)) {
        const char *name = columns->column[attribute.column].name;

        at = put_text(at, (struct slice){name, strlen(name)});
        at = put_text(at, attribute.value);
    }
    out->len += (size_t)(at - start);
}

void resp_verdict(struct buffer *out, const struct verdict *verdict, const char *why)
{
    static const char unknown[] = "*2\r\n$4\r\nDENY\r\n$7\r\nunknown\r\n";
    static const char inactive[] = "*2\r\n$4\r\nDENY\r\n$8\r\ninactive\r\n";
    static const char expired[] = "*2\r\n$4\r\nDENY\r\n$7\r\nexpired\r\n";
    static const char early[] = "*2\r\n$4\r\nDENY\r\n$5\r\nearly\r\n";

    switch (verdict->kind) {
    case VERDICT_ALLOW:
        if (verdict->id_type == ID_UUID)
            allow_uuids(out, verdict);
        else
            allow(out, verdict, '3');
        break;
    case VERDICT_DENY_UNKNOWN:
        buffer_append(out, unknown, sizeof unknown - 1);
        break;
    case VERDICT_DENY_INACTIVE:
        buffer_append(out, inactive, sizeof inactive - 1);
        break;
    case VERDICT_DENY_EXPIRED:
        buffer_append(out, expired, sizeof expired - 1);
        break;
    case VERDICT_DENY_EARLY:
        buffer_append(out, early, sizeof early - 1);
        break;
    case VERDICT_UNAVAILABLE:
        resp_error(out, "UNAVAILABLE %s", why);
        break;
    }
}
