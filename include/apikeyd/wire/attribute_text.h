/* attribute_text: the value of an attribute, from what PostgreSQL prints for its column.
 *
 *     text, numbers       as PostgreSQL prints them
 *     boolean             true, false
 *     json, jsonb         a scalar: what it says (a string without its quotes); null: no value
 *     text[]              its elements with a blank in between
 *     a JSON array        the same, if all of its elements are strings
 *
 * Lists are scopes, as a rule, and OAuth writes scopes with a blank in between (RFC 6749, section
 * 3.3). An element that has a blank in it, or nothing, could then not be told from others, so such
 * a list has no value. A null element is no element. An empty list is an empty value. Pure.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_ATTRIBUTE_TEXT_H
#define APIKEYD_ATTRIBUTE_TEXT_H

#include <apikeyd/base/buffer.h>

enum attribute_form {
    ATTRIBUTE_TEXT,
    ATTRIBUTE_PADDED, /* char(n): blanks at its end are none of its own */
    ATTRIBUTE_BOOLEAN,
    ATTRIBUTE_JSON,
    ATTRIBUTE_LIST, /* text[] */
};

enum attribute_value {
    ATTRIBUTE_IS_VALUE,
    ATTRIBUTE_IS_NULL,
    ATTRIBUTE_IS_NO_SCALAR, /* a JSON object, or an array of anything but strings */
    ATTRIBUTE_IS_NO_LIST,   /* of more than one dimension, or with an element that is no word */
    ATTRIBUTE_IS_NO_TEXT,   /* no UTF-8 without NUL */
};

/* Append the value that `printed` is to *ret, or a part of it if there is none. */
enum attribute_value attribute_text_read(enum attribute_form form, struct slice printed,
                                         struct buffer *ret);

#endif
