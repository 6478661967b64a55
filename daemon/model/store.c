/* SPDX-License-Identifier: MIT */
#include <apikeyd/model/store.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool store_mark_equal(const struct store_mark *a, const struct store_mark *b)
{
    return a->started_us == b->started_us && a->table == b->table &&
           strcmp(a->database, b->database) == 0;
}

bool store_id_same_table(const struct store_id *a, const struct store_id *b)
{
    return a->system == b->system && a->database == b->database && a->table == b->table;
}

bool store_id_known(const struct store_id *id)
{
    return id->system != 0 || id->database != 0 || id->table != 0;
}

bool store_id_equal(const struct store_id *a, const struct store_id *b)
{
    return store_id_same_table(a, b) && a->timeline == b->timeline &&
           a->started_us == b->started_us;
}

const struct store *stores_find(const struct stores *stores, const struct store_mark *mark)
{
    for (size_t i = 0; i < stores->count; i++) {
        if (store_mark_equal(&stores->known[i].mark, mark))
            return &stores->known[i];
    }
    return NULL;
}

void stores_learn(struct stores *stores, const struct store *store)
{
    struct store *known = (struct store *)stores_find(stores, &store->mark);

    if (!known && stores->count < STORES_KNOWN)
        known = &stores->known[stores->count++];
    if (!known) {
        known = &stores->known[stores->next];
        stores->next = (stores->next + 1) % STORES_KNOWN;
    }
    *known = *store;
}

static enum store_change switch_to(struct stores *stores, const struct store_id *id)
{
    enum store_change change = STORE_KEPT;

    if (stores->has_current && !store_id_equal(&stores->current, id))
        change = store_id_same_table(&stores->current, id) ? STORE_RESTARTED : STORE_REPLACED;
    stores->has_current = true;
    stores->current = *id;
    return change;
}

/* Forget servers of earlier timelines. One that still answers is asked again. */
static void drop_outdated(struct stores *stores)
{
    size_t kept = 0;

    for (size_t i = 0; i < stores->count; i++) {
        const struct store *known = &stores->known[i];

        if (known->standby || !stores_outdated(stores, known))
            stores->known[kept++] = *known;
    }
    if (kept < stores->count)
        stores->next = 0;
    stores->count = kept;
}

enum store_change stores_feed(struct stores *stores, const struct store *store)
{
    stores_learn(stores, store);
    stores->has_feed = true;
    stores->feed = *store;
    drop_outdated(stores);
    return switch_to(stores, &store->id);
}

void stores_feed_lost(struct stores *stores)
{
    stores->has_feed = false;
}

enum store_change stores_use(struct stores *stores, const struct store_id *id)
{
    return switch_to(stores, id);
}

bool stores_answered(struct stores *stores, const struct store_id *id)
{
    bool other = !stores->has_home || !store_id_equal(&stores->home, id);

    stores->has_home = true;
    stores->home = *id;
    return other;
}

/* The current store counts too: it may have been seen too long ago to be among the known ones. */
bool stores_outdated(const struct stores *stores, const struct store *store)
{
    if (store->standby)
        return true;
    if (stores->has_current && stores->current.system == store->id.system &&
        stores->current.timeline > store->id.timeline)
        return true;
    for (size_t i = 0; i < stores->count; i++) {
        const struct store *known = &stores->known[i];

        if (!known->standby && known->id.system == store->id.system &&
            known->id.timeline > store->id.timeline)
            return true;
    }
    return false;
}

bool stores_forget_later(struct stores *stores)
{
    bool barred = false;

    for (size_t i = 0; !stores->has_feed && i < stores->count; i++)
        barred =
            barred || (!stores->known[i].standby && stores_outdated(stores, &stores->known[i]));
    if (!barred)
        return false;
    stores->count = stores->next = 0;
    stores->has_feed = stores->has_current = false;
    return true;
}

enum store_standing stores_judge(const struct stores *stores, const struct store_mark *mark,
                                 bool standby, struct store_id *ret_id)
{
    const struct store *known = stores_find(stores, mark);

    if (standby)
        return STORE_OUTDATED;
    /* A standby that has been promoted is on a timeline that has to be asked for. */
    if (!known || known->standby)
        return STORE_UNKNOWN;
    if (!known->plain)
        return STORE_NO_TABLE;
    if (stores_outdated(stores, known))
        return STORE_OUTDATED;
    *ret_id = known->id;
    if (stores->has_feed && !(store_mark_equal(&stores->feed.mark, mark) &&
                              store_id_equal(&stores->feed.id, &known->id)))
        return STORE_ELSEWHERE;
    return STORE_CURRENT;
}

void store_id_to_text(const struct store_id *id, char ret[static STORE_TEXT_SIZE])
{
    snprintf(ret, STORE_TEXT_SIZE, "%" PRIu64 "/%" PRIu32 "/%" PRIu32 "/%" PRIu32, id->system,
             id->timeline, id->database, id->table);
}

void store_id_to_key(const struct store_id *id, char ret[static STORE_KEY_SIZE])
{
    store_id_to_text(id, ret);
    size_t len = strlen(ret);
    snprintf(ret + len, STORE_KEY_SIZE - len, "/%" PRId64, id->started_us);
}
