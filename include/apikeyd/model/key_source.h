/* key_source: where in a request the key ID stands.
 *
 * http.key_from and aws.key_from are lists of sources. An option takes the forms that its row
 * names: "bearer" is a form without a name, "header:NAME" one with a name. A list holds no source
 * twice, and no two sources that read one field in different ways.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_KEY_SOURCE_H
#define APIKEYD_KEY_SOURCE_H

#include <apikeyd/base/buffer.h>

enum key_source_kind {
    /* Of HTTP requests, and of events that hold such a request. */
    KEY_IN_HEADER,     /* header:NAME. In an event also without a name: those of http.key_from */
    KEY_IN_BEARER,     /* Authorization: Bearer KEY, or ApiKey KEY */
    KEY_IN_BASIC_USER, /* Authorization: Basic, with the key as the user (RFC 7617) */
    KEY_IN_QUERY,      /* query:NAME, or query:NAME@FIELD: of the URI that the field holds */
    KEY_IN_COOKIE,     /* cookie:NAME */
    /* Of events: requestContext.identity.apiKey and apiKeyId, authorizationToken, identitySource.
     */
    KEY_IN_API_KEY,
    KEY_IN_API_KEY_ID,
    KEY_IN_AUTHORIZATION,
    KEY_IN_IDENTITY_SOURCE,
};

enum { KEY_SOURCES_MAX = 8, KEY_SOURCE_NAME_MAX = 127 };

struct key_source {
    enum key_source_kind kind;
    char name[KEY_SOURCE_NAME_MAX + 1];  /* of the header, the parameter or the cookie */
    char field[KEY_SOURCE_NAME_MAX + 1]; /* of QUERY: holds the URI; "": the request's own target */
};

struct key_sources {
    size_t len;
    struct key_source source[KEY_SOURCES_MAX];
};

/* Parse a list with commas in between; `forms` ends with NULL. Returns NULL, or the expected form
 * (in `scratch`) with *ret unchanged. */
const char *key_sources_parse(const char *text, const char *const *forms, struct key_sources *ret,
                              char *scratch, size_t scratch_size);

/* Append the list as key_sources_parse() takes it. */
void key_sources_print(const struct key_sources *sources, struct buffer *out);

/* Returns the name of the field of an HTTP request that the source reads, or NULL: it reads none.
 */
const char *key_source_field(const struct key_source *source);

#endif
