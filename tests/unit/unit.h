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

static inline struct uuid uuid_number(uint64_t n)
{
    struct uuid uuid = {{0}};

    for (int i = 0; i < 8; i++)
        uuid.bytes[15 - i] = (uint8_t)(n >> (8 * i));
    return uuid;
}

#endif
