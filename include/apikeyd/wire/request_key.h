/* request_key: the key ID of an HTTP request, wherever it stands.
 *
 * Every source of http.key_from is read, also behind the first that has a key: a request with two
 * different keys means one to the gateway and perhaps another to the application, so it has none.
 * The same key twice is one key. An empty value is a value like any other. Whatever can be decoded
 * in two ways (half an escape, Base64 with foreign characters, half a pair of quotes) is refused.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REQUEST_KEY_H
#define APIKEYD_REQUEST_KEY_H

#include <apikeyd/base/slice.h>
#include <apikeyd/model/key_hasher.h>
#include <apikeyd/model/key_source.h>

/* All zeros at first. */
struct request_key {
    bool found;
    struct slice key;  /* in the request, or in `decoded`; a longer one is cut to KEY_LEN_MAX + 1 */
    const char *wrong; /* why the request names no key, although it tries; lives forever */
    unsigned uris;     /* sources whose URI has been seen, a bit each */
    char decoded[KEY_LEN_MAX + 1];
};

/* Read a field. */
void request_key_field(struct request_key *found, const struct key_sources *sources,
                       struct slice name, struct slice value);

/* Read the request's own target. */
void request_key_target(struct request_key *found, const struct key_sources *sources,
                        struct slice target);

/* Wipe the key, which is a secret. */
void request_key_clear(struct request_key *found);

/* Returns what stands behind a scheme (Bearer or ApiKey, in any case), or everything if there is no
 * scheme; without blanks around. */
struct slice request_key_credentials(struct slice value);

#endif
