/* SPDX-License-Identifier: MIT */
#include "refused_reply.h"

#include <apikeyd/wire/resp_reply.h>

static void print_key(const struct refused_key *key, enum id_type type, bool resp3,
                      struct buffer *out)
{
    char id[ID_TEXT_MAX + 1] = "", fingerprint[FINGERPRINT_SIZE];

    (void)row_id_to_text(&key->api_key_id, type, id);
    digest_fingerprint(&key->digest, fingerprint);
    resp_map(out, 6, resp3);
    resp_text(out, "api_key_id");
    resp_text(out, id);
    resp_text(out, "key");
    resp_text(out, fingerprint);
    resp_text(out, "verdict");
    resp_text(out, verdict_kind_name(key->kind));
    resp_text(out, "refusals");
    resp_integer(out, (int64_t)key->count);
    resp_text(out, "first");
    resp_time(out, key->first_us);
    resp_text(out, "last");
    resp_time(out, key->last_us);
}

struct buffer refused_reply(struct refused_keys *keys, bool resp3)
{
    struct buffer reply = {0};
    size_t len = refused_keys_sort(keys);

    resp_map(&reply, 3, resp3);
    resp_text(&reply, "since");
    resp_time(&reply, keys->since_us);
    resp_text(&reply, "replaced");
    resp_integer(&reply, (int64_t)keys->replaced);
    resp_text(&reply, "keys");
    resp_array(&reply, len);
    for (size_t i = 0; i < len; i++)
        print_key(&keys->key[i], keys->id_type, resp3, &reply);
    return reply;
}
