/* unit: what every cmocka test needs, in the order that cmocka.h wants it. */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_TESTS_UNIT_H
#define APIKEYD_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <apikeyd/base/slice.h>
#include <apikeyd/model/digest.h>
#include <apikeyd/model/verdict.h>

#define SLICE(literal) ((struct slice){literal, sizeof literal - 1})

/* Digests and IDs that are told apart by a number. */
static inline struct digest digest_number(uint64_t n)
{
    return (struct digest){{n * UINT64_C(0x9e3779b97f4a7c15), n}};
}

static inline struct row_id id_number(uint64_t n)
{
    struct row_id id = {0};

    for (int i = 0; i < 8; i++)
        id.head.bytes[15 - i] = (uint8_t)(n >> (8 * i));
    return id;
}

/* All of a verdict, of which the window is the last field. Attributes are equal if their bytes
 * are. */
static inline void assert_verdict_equal(const struct verdict *a, const struct verdict *b)
{
    struct verdict same = *b;

    assert_int_equal(a->attributes.len, b->attributes.len);
    if (a->attributes.len > 0)
        assert_memory_equal(a->attributes.at, b->attributes.at, a->attributes.len);
    same.attributes = a->attributes;
    assert_memory_equal(&a->window, &b->window, sizeof a->window);
    assert_memory_equal(a, &same, offsetof(struct verdict, user_id) + sizeof a->user_id);
}

/* A verdict of whose fields each is something, for IDs of each type. */
static inline struct verdict verdict_of_all_fields(enum id_type type)
{
    static const char *const text[] = {
        [ID_UUID] = "00112233-4455-6677-8899-aabbccddeeff",
        [ID_BIGINT] = "-9223372036854775807",
        [ID_TEXT] = "012345678901234567890123456789-\xc3\xa9xyz",
    };
    struct verdict verdict;

    memset(&verdict, 1, sizeof verdict);
    verdict.kind = VERDICT_DENY_INACTIVE;
    verdict.rows = 0; /* not kept */
    verdict.id_type = type;
    verdict.attributes = (struct attributes){"a04goldb00", 10};
    assert_true(row_id_from_text((struct slice){text[type], strlen(text[type])}, type,
                                 &verdict.api_key_id));
    verdict.user_id = verdict.api_key_id;
    verdict.user_id.head.bytes[0] ^= 1;
    return verdict;
}

#endif
