/* SPDX-License-Identifier: MIT */
#include "log_json.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <apikeyd/base/utf8.h>

/* Bytes kept for what follows the message: the names and the place. */
enum { REST_SIZE = 512 };

struct text {
    char *data;
    size_t len, size;
};

static struct slice string(const char *text)
{
    return (struct slice){text, strlen(text)};
}

__attribute__((format(printf, 2, 3))) static void print(struct text *out, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int len = vsnprintf(out->data + out->len, out->size - out->len, format, args);
    va_end(args);
    if (len > 0 && (size_t)len < out->size - out->len)
        out->len += (size_t)len;
}

/* The form of the character that `text` begins with, and its bytes there. */
static size_t encode_first(struct slice text, char ret[8])
{
    unsigned char first = (unsigned char)text.at[0];
    size_t len = utf8_sequence_len(text);

    if (len == 0) {
        strcpy(ret, "\xef\xbf\xbd");
        return 1;
    }
    if (first == '"' || first == '\\')
        snprintf(ret, 8, "\\%c", first);
    else if (first < 0x20 || first == 0x7f)
        snprintf(ret, 8, "\\u%04x", first);
    else
        snprintf(ret, 8, "%.*s", (int)len, text.at);
    return len;
}

/* A character is written whole or, like all that follow, not at all. */
static void print_string(struct text *out, struct slice text, size_t end)
{
    char one[8];

    print(out, "\"");
    while (text.len > 0) {
        size_t taken = encode_first(text, one);

        if (out->len + strlen(one) > end)
            break;
        print(out, "%s", one);
        text = (struct slice){text.at + taken, text.len - taken};
    }
    print(out, "\"");
}

static void print_member(struct text *out, const char *name, struct slice value, size_t end)
{
    print(out, ",\"%s\":", name);
    print_string(out, value, end);
}

static void print_time(struct text *out, int64_t at_us)
{
    time_t seconds = (time_t)(at_us / 1000000);
    struct tm parts = {0};
    char text[40];

    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    print(out, "{\"time\":\"%s.%06" PRId64 "Z\"", text, at_us % 1000000);
}

/* The folder of the source: "postgres" of daemon/postgres/pg_pool.c. */
static struct slice subsystem(const struct log_place *place)
{
    const char *name = strrchr(place->file, '/');
    const char *folder = name;

    if (!name)
        return string("daemon");
    while (folder > place->file && folder[-1] != '/')
        folder--;
    return (struct slice){folder, (size_t)(name - folder)};
}

struct slice log_place_module(const struct log_place *place)
{
    const char *name = strrchr(place->file, '/');

    name = name ? name + 1 : place->file;
    return (struct slice){name, strcspn(name, ".")};
}

size_t log_json_encode(const struct log_record *record, char out[LOG_JSON_SIZE])
{
    struct text text = {.data = out, .size = LOG_JSON_SIZE};
    const struct log_place *place = &record->place;
    size_t end = LOG_JSON_SIZE - REST_SIZE;

    print_time(&text, record->at_us);
    print_member(&text, "level", string(log_level_name(record->level)), end);
    print_member(&text, "subsystem", subsystem(place), end);
    print_member(&text, "message", string(record->line), end);
    print_member(&text, "module", log_place_module(place), end + REST_SIZE / 4);
    print_member(&text, "file", string(place->file), end + REST_SIZE / 2);
    print(&text, ",\"line\":%d", place->line);
    print_member(&text, "function", string(place->function), end + REST_SIZE * 3 / 4);
    print(&text, "}\n");
    return text.len;
}
