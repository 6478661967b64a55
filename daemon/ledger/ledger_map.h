/* ledger_map: a mapped file that others can cut short without killing the daemon.
 *
 * A store into a mapped page that the file no longer has raises SIGBUS. Here such pages are
 * replaced by zeros in memory, the mapping is marked as broken, and the store is repeated:
 *
 *     file, cut short:   | kept        |   (nothing)                      |
 *     mapping:           | file pages  | memory, a step or page at a time |
 *
 * A page belongs to the step in which it begins: steps stand where the file's format puts them, and
 * need not begin where pages do (16 or 64 KiB on some arm64).
 *
 * The data of the lost pages is lost. A SIGBUS outside of these mappings has its former effect.
 * Mappings are made and freed by one thread (the back thread, or before there are two); each step
 * of a mapping is used by one thread at a time.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_LEDGER_MAP_H
#define APIKEYD_LEDGER_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ledger_map;

struct ledger_map_setup {
    int fd;       /* -1: memory. The caller owns it, and keeps it open as long as the mapping. */
    size_t size;  /* bytes */
    size_t first; /* where the first step begins, bytes */
    size_t step;  /* bytes replaced at once beyond the file's end */
};

/* 0, or -errno: -EMFILE when there are too many already. Takes over SIGBUS. */
__attribute__((warn_unused_result)) int ledger_map_new(const struct ledger_map_setup *setup,
                                                       struct ledger_map **ret);
void ledger_map_free(struct ledger_map *map);

/* Returns the size of a page, in bytes; and `at`, rounded up to where a page begins. */
size_t ledger_map_page(void);
size_t ledger_map_up_to_page(size_t at);

char *ledger_map_bytes(const struct ledger_map *map);

/* Returns how often pages had to be replaced: above 0, the file lacks stored data. */
unsigned ledger_map_faults(const struct ledger_map *map);

/* Put zeros in memory in place of `len` bytes of the file from `at` on, whole pages, for which the
 * file system has no room. The caller's own steps only; any thread. False: nothing has changed. */
bool ledger_map_borrow(struct ledger_map *map, size_t at, size_t len);

/* Map the file there again. */
bool ledger_map_return(struct ledger_map *map, size_t at, size_t len);

/* Returns how many bytes are borrowed now. */
size_t ledger_map_borrowed(const struct ledger_map *map);

/* Return whole pages of memory to the system; they then read as zeros. For mappings without a
 * file. */
bool ledger_map_discard(struct ledger_map *map, size_t at, size_t len);

#endif
