/* redis_value: the text form of a verdict in Redis.
 *
 *     1 ALLOW <api_key_id> <user_id> <read time> [<tag>]
 *     1 INACTIVE <api_key_id> <user_id> <read time> [<tag>]
 *     2 <start> <end> ALLOW <api_key_id> <user_id> <read time> [<tag>]
 *     3 <start> <end> ALLOW <api_key_id> <user_id> <read time> <attributes> [<tag>]
 *     tombstone [<time>]
 *
 * A value is one readable line: a format number, the key's window where the table has windows
 * (key_window.h) or attributes, the verdict, the IDs, the time at which PostgreSQL was read (its
 * own clock, µs since 1970), the attributes (attributes.h; perhaps none) where there are columns
 * for them, and, with a secret, an HMAC-SHA-256 tag over the Redis key and the line before the tag.
 * With a secret, a value without the right tag is FORGED: an attacker who can write to Redis cannot
 * forge an ALLOW. DENY unknown is never written. A tombstone holds the latest time, by PostgreSQL's
 * clock, at which its writer heard of the change. A tombstone has no tag, because it can only
 * suppress verdicts.
 */
/* SPDX-License-Identifier: MIT */
#ifndef APIKEYD_REDIS_VALUE_H
#define APIKEYD_REDIS_VALUE_H

#include <apikeyd/base/slice.h>
#include <apikeyd/model/verdict.h>

/* The longest value, and its NUL: without attributes, and with them. */
enum {
    REDIS_VALUE_PLAIN_SIZE = 256,
    REDIS_VALUE_SIZE = REDIS_VALUE_PLAIN_SIZE + 1 + ATTRIBUTES_LEN_MAX
};

/* A daemon writes and reads one format only. Values of the others are BROKEN to it: it asks
 * PostgreSQL. */
enum redis_value_format {
    REDIS_VALUE_PLAIN = 1,
    REDIS_VALUE_WITH_WINDOW = 2,
    REDIS_VALUE_WITH_ATTRIBUTES = 3
};

struct redis_value_form {
    enum redis_value_format format;
    enum id_type id_type;
    unsigned attribute_columns; /* of format 3; … */
    bool quotas;                /* … and whether a quota may stand in front of attributes */
};

enum redis_value_kind {
    REDIS_VALUE_VERDICT,
    REDIS_VALUE_TOMBSTONE, /* the key changed: ask PostgreSQL */
    REDIS_VALUE_FORGED,    /* no tag or a wrong one */
    REDIS_VALUE_BROKEN,    /* not of this format */
};

/* Write a tombstone. `server_us`: PostgreSQL's clock; 0: not known. Returns the length; the text
 * also ends in a NUL. */
size_t redis_value_encode_tombstone(int64_t server_us, char ret_text[static REDIS_VALUE_SIZE]);

/* Write `verdict` (ALLOW or DENY inactive) for the Redis key `key`. `secret` may be empty.
 * Returns the length; the text also ends in a NUL. 0 when libcrypto fails. A format without
 * attributes leaves them out. */
size_t redis_value_encode(struct slice key, enum redis_value_format format,
                          const struct verdict *verdict, int64_t server_read_us,
                          struct slice secret, char ret_text[static REDIS_VALUE_SIZE]);

/* Read a value found under `key`, of that form. For VERDICT sets *ret (all but its read
 * time; its attributes are bytes of `value`) and *ret_server_read_us; for TOMBSTONE sets only the
 * latter, to its time or 0; leaves both alone otherwise. */
enum redis_value_kind redis_value_decode(struct slice key, struct slice value, struct slice secret,
                                         struct redis_value_form form, struct verdict *ret,
                                         int64_t *ret_server_read_us);

#endif
