/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/quota_book.h>

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Places of a key, from its home on. Places are not freed, so that a search ends at a free one. */
enum { WAYS = 8 };

/* A sum that was asked for so long ago will not come. */
enum { ASKED_MAX_S = 60 };

enum { SECONDS_MAX = (1 << 30) - 1 };

struct quota_book {
    struct quota_uses *places; /* keys + WAYS - 1 of them, mapped */
    size_t keys;
    bool has_rests;
    uint64_t seed;
    uint64_t evictions;
};

static size_t bytes_of(const struct quota_book *book)
{
    return (book->keys + WAYS - 1) * sizeof book->places[0];
}

/* No page of a new mapping is touched before it is used. */
struct quota_book *quota_book_new(size_t keys, enum id_type type, uint64_t seed)
{
    struct quota_book *book = calloc(1, sizeof *book);

    assert(keys > 0 && (keys & (keys - 1)) == 0);
    if (!book)
        return NULL;
    book->keys = keys;
    book->has_rests = id_has_rest(type);
    book->seed = seed | 1;
    void *mapping =
        mmap(NULL, bytes_of(book), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) {
        free(book);
        return NULL;
    }
    book->places = mapping;
    return book;
}

void quota_book_free(struct quota_book *book)
{
    if (!book)
        return;
    munmap(book->places, bytes_of(book));
    free(book);
}

/* Bits that depend on both words. The owner of the table makes IDs, so they need no more. */
static uint64_t mix(uint64_t seed, const uint8_t bytes[static 16])
{
    uint64_t words[2];

    memcpy(words, bytes, sizeof words);
    uint64_t mixed = (words[0] ^ seed) * UINT64_C(0x9e3779b97f4a7c15);
    mixed = (mixed ^ mixed >> 32 ^ words[1]) * UINT64_C(0xff51afd7ed558ccd);
    return mixed ^ mixed >> 32;
}

static struct quota_uses *home_of(const struct quota_book *book, const struct row_id *id)
{
    uint64_t mixed = mix(book->seed, id->head.bytes);

    if (book->has_rests)
        mixed = mix(mixed, id->rest.bytes) ^ id->rest.bytes[16] ^
                (uint64_t)id->rest.bytes[17] << 8 ^ (uint64_t)id->rest.bytes[18] << 16;
    return &book->places[mixed & (book->keys - 1)];
}

static bool is_of(const struct quota_book *book, const struct quota_uses *uses,
                  const struct row_id *id)
{
    return id_head_equal(&uses->id.head, &id->head) &&
           (!book->has_rests || id_rest_equal(&uses->id.rest, &id->rest));
}

/* Returns the key's place, or NULL with the one that it can have. */
static struct quota_uses *find(const struct quota_book *book, const struct row_id *id,
                               struct quota_uses **ret_other)
{
    struct quota_uses *home = home_of(book, id), *unused = home;

    for (struct quota_uses *uses = home; uses < home + WAYS; uses++) {
        if (uses->month != 0 && is_of(book, uses, id))
            return uses;
        if (uses->month == 0) {
            *ret_other = uses;
            return NULL;
        }
        if (uses->round < unused->round)
            unused = uses;
    }
    *ret_other = unused;
    return NULL;
}

uint64_t quota_book_look(struct quota_book *book, const struct row_id *id, uint32_t month,
                         bool *ret_known)
{
    struct quota_uses *other;
    const struct quota_uses *uses = find(book, id, &other);
    bool current = uses && uses->month == month;

    *ret_known = current && uses->known;
    return current ? uses->uses : 0;
}

static void begin_round(struct quota_uses *uses, uint32_t round)
{
    uses->earlier = uses->round + 1 == round ? uses->own : 0;
    uses->own = 0;
    uses->round = round;
}

struct quota_uses *quota_book_get(struct quota_book *book, const struct row_id *id, uint32_t month,
                                  uint32_t round)
{
    struct quota_uses *other;
    struct quota_uses *uses = find(book, id, &other);

    if (__builtin_expect(!uses, 0)) {
        book->evictions += other->month != 0;
        uses = other;
        *uses = (struct quota_uses){.id = *id, .month = (uint16_t)month, .round = round};
    }
    if (__builtin_expect(uses->round != round, 0))
        begin_round(uses, round);
    if (__builtin_expect(uses->month != month, 0)) {
        uses->month = (uint16_t)month;
        uses->uses = uses->own = uses->earlier = 0;
        uses->known = false;
    }
    return uses;
}

bool quota_uses_due(const struct quota_uses *uses, uint32_t now_s)
{
    return !uses->asked || ((now_s - uses->asked_s) & SECONDS_MAX) > ASKED_MAX_S;
}

void quota_uses_asked(struct quota_uses *uses, uint32_t now_s)
{
    uses->asked = true;
    uses->asked_s = now_s & SECONDS_MAX;
    uses->asked_round = (uint16_t)uses->round;
}

void quota_book_take(struct quota_book *book, const struct quota_sum *sum, uint32_t round)
{
    struct quota_uses *other;
    struct quota_uses *uses = find(book, &sum->id, &other);

    if (!uses)
        return;
    uses->asked = false;
    if (uses->month != sum->month)
        return;
    if (uses->round != round)
        begin_round(uses, round);
    if (round - sum->rounds > 1)
        return;
    uses->uses = sum->uses + uses->own + (round == sum->rounds ? 0 : uses->earlier);
    uses->known = true;
}

uint64_t quota_book_evictions(const struct quota_book *book)
{
    return book->evictions;
}
