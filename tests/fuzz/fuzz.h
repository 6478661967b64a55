/* fuzz: what the fuzzers share.
 *
 * Each is a program of libFuzzer's (LLVM documentation, "libFuzzer"): it is given bytes, and more
 * than not crashing is asked of the code: what FUZZ_MUST() says has to hold for any bytes at all.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_FUZZ_H
#define APIKEYD_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What libFuzzer calls with each input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* abort() is what libFuzzer takes for a finding, and keeps the input of. */
#define FUZZ_MUST(holds)                                                                           \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #holds);             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
