/* SPDX-License-Identifier: MIT */
#include "still_tried.h"

#include <stdlib.h>
#include <string.h>

#include "daemon_client.h"
#include "die.h"

/* The value of a map in RESP2, or NULL. */
static const redisReply *value_of(const redisReply *map, const char *name, int type)
{
    for (size_t i = 0; map->type == REDIS_REPLY_ARRAY && i + 1 < map->elements; i += 2) {
        const redisReply *key = map->element[i], *value = map->element[i + 1];

        if (key->type == REDIS_REPLY_STRING && strcmp(key->str, name) == 0)
            return value->type == type ? value : NULL;
    }
    return NULL;
}

static const redisReply *expect(const redisReply *map, const char *name, int type)
{
    const redisReply *value = value_of(map, name, type);

    if (!value)
        die(EX_PROTOCOL, "REFUSED: the daemon's reply is not understood; are both of one version?");
    return value;
}

static const char *text_of(const redisReply *map, const char *name)
{
    return expect(map, name, REDIS_REPLY_STRING)->str;
}

static struct buffer ids_of(const redisReply *keys)
{
    struct buffer ids = {0};

    for (size_t i = 0; i < keys->elements; i++)
        keys_db_array_add(&ids, text_of(keys->element[i], "api_key_id"));
    keys_db_array_end(&ids);
    return ids;
}

/* The rows of these keys that are refused now, by their IDs. */
static json_t *refused_rows(struct keys_db *db, const char *user, const redisReply *keys)
{
    const struct config *config = keys_db_config(db);
    const char *active = config->postgres_active_column[0] ? "{active} IS NOT TRUE" : "false";
    const char *expired =
        config->postgres_expires_column[0]
            ? "{expires}::pg_catalog.timestamptz OPERATOR(pg_catalog.<=) pg_catalog.now()"
            : "false";
    struct buffer ids = ids_of(keys);
    const char *const values[] = {user, ids.data};
    json_t *by_id = json_object(), *rows, *row;
    struct buffer condition = {0};
    size_t i;

    buffer_printf(&condition, "{id} OPERATOR(pg_catalog.=) ANY ($2) AND (%s OR %s)", active,
                  expired);
    buffer_append(&condition, "", 1);
    rows = keys_db_rows(db, condition.data, 2, values);
    json_array_foreach(rows, i, row)
    {
        json_object_set(by_id, json_string_value(json_object_get(row, "api_key_id")), row);
    }
    json_decref(rows);
    buffer_free(&condition);
    buffer_free(&ids);
    return by_id;
}

static json_t *joined(const redisReply *keys, const json_t *by_id)
{
    json_t *found = json_array();

    for (size_t i = 0; i < keys->elements; i++) {
        const redisReply *key = keys->element[i];
        json_t *row = json_copy(json_object_get(by_id, text_of(key, "api_key_id")));

        if (!row)
            continue;
        json_object_set_new(row, "verdict", json_string(text_of(key, "verdict")));
        json_object_set_new(row, "refusals",
                            json_integer(expect(key, "refusals", REDIS_REPLY_INTEGER)->integer));
        json_object_set_new(row, "first_refused", json_string(text_of(key, "first")));
        json_object_set_new(row, "last_refused", json_string(text_of(key, "last")));
        json_array_append_new(found, row);
    }
    return found;
}

/* A report must not seem to know more than it does. */
static void tell_limits(const redisReply *reply, size_t keys, size_t shown, bool of_user)
{
    long long replaced = expect(reply, "replaced", REDIS_REPLY_INTEGER)->integer;

    fprintf(
        stderr,
        "As one daemon has been asked since %s, when it started: refusals of other hosts and of "
        "earlier runs are not in the list.\n",
        text_of(reply, "since"));
    if (replaced > 0)
        fprintf(stderr,
                "The list has no room for all: %lld entries went for keys that were refused "
                "later.\n",
                replaced);
    if (keys > shown && !of_user)
        fprintf(stderr, "%zu refused keys pass by now, or have no row any more.\n", keys - shown);
}

json_t *still_tried(const struct request *request, struct keys_db *db)
{
    const struct config *config = keys_db_config(db);

    if (!config->postgres_active_column[0] && !config->postgres_expires_column[0])
        die(EX_CONFIG, "--still-tried needs postgres.active_column or postgres.expires_column: "
                       "without both no key is inactive or expires");
    redisContext *context = daemon_connect(request);
    redisReply *reply = daemon_ask(context, 1, (const char *[]){"REFUSED"});
    const redisReply *keys = expect(reply, "keys", REDIS_REPLY_ARRAY);
    json_t *by_id = refused_rows(db, request->user, keys);
    json_t *found = joined(keys, by_id);
    tell_limits(reply, keys->elements, json_array_size(found), request->user != NULL);
    json_decref(by_id);
    freeReplyObject(reply);
    redisFree(context);
    return found;
}
