/* SPDX-License-Identifier: MIT */
#include <apikeyd/observe/busy_keys.h>

#include <stdlib.h>

enum {
    WINDOWS = 6, /* an hour, the window under way included */
    ROOM = 256,  /* keys of a window */
};

static const int64_t window_us = INT64_C(600000000);

struct window {
    int64_t number;  /* counted from the daemon's start; those WINDOWS apart share a place */
    uint64_t unseen; /* uses that a key may have besides */
    size_t len;
    struct busy_key key[ROOM];
};

struct busy_keys {
    enum id_type type;
    struct window window[WINDOWS];
    struct busy_key round[2 * ROOM]; /* of the round under way */
    size_t len;
    uint64_t
        enough; /* ROOM keys of the round have at least so many uses; 0: there are not so many */
    uint64_t left_out; /* the most that a key had that is not in `round` */
    struct busy_key sum[WINDOWS * ROOM];
};

static int by_id(const void *a, const void *b)
{
    const struct busy_key *left = a, *right = b;

    return row_id_order(&left->api_key_id, &right->api_key_id);
}

/* The most uses first. */
static int by_uses(const void *a, const void *b)
{
    const struct busy_key *left = a, *right = b;

    if (left->uses != right->uses)
        return left->uses < right->uses ? 1 : -1;
    return by_id(a, b);
}

/* Each key once, the busiest first. Returns how many keys there are. */
static size_t add_up(struct busy_key *keys, size_t len)
{
    size_t out = 0;

    qsort(keys, len, sizeof *keys, by_id);
    for (size_t i = 0; i < len; i++) {
        if (out > 0 && by_id(&keys[out - 1], &keys[i]) == 0)
            keys[out - 1].uses += keys[i].uses;
        else
            keys[out++] = keys[i];
    }
    qsort(keys, out, sizeof *keys, by_uses);
    return out;
}

static void put(struct busy_key *sum, size_t *len, const struct busy_key *keys, size_t add)
{
    memcpy(sum + *len, keys, add * sizeof *keys);
    *len += add;
}

/* Leave the busiest keys of the round. */
static void shorten(struct busy_keys *busy)
{
    if (busy->len <= ROOM)
        return;
    qsort(busy->round, busy->len, sizeof busy->round[0], by_uses);
    busy->len = ROOM;
    busy->enough = busy->round[ROOM - 1].uses;
    if (busy->left_out < busy->round[ROOM].uses)
        busy->left_out = busy->round[ROOM].uses;
}

void busy_keys_add(struct busy_keys *busy, const struct row_id *api_key_id, uint64_t uses)
{
    if (uses <= busy->enough) {
        if (busy->left_out < uses)
            busy->left_out = uses;
        return;
    }
    busy->round[busy->len++] = (struct busy_key){.api_key_id = *api_key_id, .uses = uses};
    if (busy->len == sizeof busy->round / sizeof busy->round[0])
        shorten(busy);
}

/* Add the round to the window. What the first key to go has is taken from all that stay (Misra and
 * Gries). So a use that is not seen took one from each of more than ROOM keys, and there are few.
 */
static void merge(struct busy_keys *busy, struct window *window)
{
    size_t len = 0;

    put(busy->sum, &len, window->key, window->len);
    put(busy->sum, &len, busy->round, busy->len);
    len = add_up(busy->sum, len);
    const uint64_t taken = len > ROOM ? busy->sum[ROOM].uses : 0;
    window->unseen += busy->left_out + taken;
    window->len = 0;
    for (size_t i = 0; i < len && i < ROOM && busy->sum[i].uses > taken; i++) {
        busy->sum[i].uses -= taken;
        window->key[window->len++] = busy->sum[i];
    }
}

void busy_keys_end(struct busy_keys *busy, int64_t at_us)
{
    const int64_t number = at_us / window_us;
    struct window *window = &busy->window[number % WINDOWS];

    if (window->number != number)
        *window = (struct window){.number = number};
    shorten(busy);
    merge(busy, window);
    busy->len = 0;
    busy->enough = 0;
    busy->left_out = 0;
}

struct busiest busy_keys_look(struct busy_keys *busy, int64_t at_us)
{
    const int64_t first = at_us / window_us - WINDOWS + 1;
    struct busiest busiest = {.type = busy->type, .since_us = first > 0 ? first * window_us : 0};
    size_t len = 0;

    for (size_t i = 0; i < WINDOWS; i++) {
        const struct window *window = &busy->window[i];

        if (window->number < first)
            continue;
        put(busy->sum, &len, window->key, window->len);
        busiest.unseen += window->unseen;
    }
    len = add_up(busy->sum, len);
    busiest.len = len < BUSIEST_MAX ? len : BUSIEST_MAX;
    memcpy(busiest.key, busy->sum, busiest.len * sizeof busiest.key[0]);
    return busiest;
}

struct busy_keys *busy_keys_new(enum id_type type)
{
    struct busy_keys *busy = calloc(1, sizeof *busy);

    if (busy)
        busy->type = type;
    return busy;
}

void busy_keys_free(struct busy_keys *busy)
{
    free(busy);
}
