/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include "key_query.h"

#define KEY "a-key-of-a-client"
#define LIKE_A_HASH "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

/* The hashes of KEY by the secrets "new" and "old", and of another key; and one of them otherwise.
 */
struct made {
    char text[64];
};

static struct made hash_of(struct slice secret, struct slice key)
{
    struct key_hasher *hasher = key_hasher_new(&secret, 1, false);
    struct key_names names;
    struct made made;

    key_hasher_names(hasher, key, &names);
    memcpy(made.text, names.hash[0], sizeof made.text);
    key_hasher_free(hasher);
    return made;
}

static enum key_row_standing judge(struct slice key, struct slice in_key, struct slice in_fallback)
{
    const struct slice secrets[] = {SLICE("new"), SLICE("old")};
    struct key_hasher *hasher = key_hasher_new(secrets, 2, true);
    struct key_row row = {.key = in_key, .fallback = in_fallback};
    struct key_names names;

    key_hasher_names(hasher, key, &names);
    key_hasher_free(hasher);
    return key_row_judge(&row, &names, key);
}

/* What the columns may hold, for the key that finds the row by one of them. */
static void test_each_column_that_holds_something_must_agree(void **state)
{
    struct made new = hash_of(SLICE("new"), SLICE(KEY)), old = hash_of(SLICE("old"), SLICE(KEY));
    struct made other = hash_of(SLICE("new"), SLICE("another"));
    const struct slice none = SLICE(""), key = SLICE(KEY);
    const struct slice by_new = {new.text, 64}, by_old = {old.text, 64};
    const struct slice of_other = {other.text, 64};
    char upper[64];

    (void)state;
    for (size_t i = 0; i < sizeof upper; i++)
        upper[i] = (char)(new.text[i] >= 'a' ? new.text[i] - 32 : new.text[i]);
    const struct {
        struct slice in_key, in_fallback;
        enum key_row_standing expected;
    } cases[] = {
        {by_new, none, KEY_ROW_FITS},
        {by_old, none, KEY_ROW_FITS},
        {none, key, KEY_ROW_FITS},
        {by_new, key, KEY_ROW_FITS},
        {by_old, key, KEY_ROW_FITS},
        {by_new, SLICE("another"), KEY_ROW_TORN},
        {of_other, key, KEY_ROW_TORN},
        {SLICE("x"), key, KEY_ROW_NO_HASH},
        {{upper, 64}, key, KEY_ROW_NO_HASH},
        {key, key, KEY_ROW_NO_HASH},
        /* The hash was copied into the fallback column. */
        {by_new, by_new, KEY_ROW_FITS},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(judge(key, cases[i].in_key, cases[i].in_fallback), cases[i].expected);
}

/* Whatever rows a stored hash finds, it is the key of none of them, unless of one that holds the
 * hash of this text. */
static void test_a_stored_hash_is_no_key(void **state)
{
    struct made stored = hash_of(SLICE("new"), SLICE(KEY));
    const struct slice hash = {stored.text, 64}, like = SLICE(LIKE_A_HASH);
    struct made of_like = hash_of(SLICE("new"), like);

    (void)state;
    assert_int_equal(judge(hash, SLICE(""), hash), KEY_ROW_HASH_IN_FALLBACK);
    assert_int_equal(judge(hash, hash, hash), KEY_ROW_TORN);
    assert_int_equal(judge(like, SLICE(""), like), KEY_ROW_HASH_IN_FALLBACK);
    assert_int_equal(judge(like, (struct slice){of_like.text, 64}, like), KEY_ROW_FITS);
}

/* Without a transform a row is found by the key itself, whatever its form. */
static void test_a_key_may_look_like_a_hash(void **state)
{
    struct key_hasher *hasher = key_hasher_new(NULL, 0, false);
    struct key_row row = {.key = SLICE(LIKE_A_HASH)};
    struct key_names names;

    (void)state;
    key_hasher_names(hasher, SLICE(LIKE_A_HASH), &names);
    assert_int_equal(key_row_judge(&row, &names, SLICE(LIKE_A_HASH)), KEY_ROW_FITS);
    key_hasher_free(hasher);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_column_that_holds_something_must_agree),
        cmocka_unit_test(test_a_stored_hash_is_no_key),
        cmocka_unit_test(test_a_key_may_look_like_a_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
