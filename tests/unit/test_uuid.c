/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <uuid/uuid.h>

/* What the path of a CHECK has of its own, without a NUL and lower-case only, against libuuid. */
static void assert_as_libuuid(const struct id_head *uuid)
{
    char ours[UUID_TEXT_LEN + 1], theirs[UUID_STR_LEN];
    struct id_head back;
    uuid_t parsed;

    memset(ours, '!', sizeof ours);
    uuid_to_text(uuid, ours);
    assert_int_equal(ours[UUID_TEXT_LEN], '!');
    uuid_unparse_lower(uuid->bytes, theirs);
    assert_memory_equal(ours, theirs, UUID_TEXT_LEN);
    assert_true(uuid_from_text(theirs, &back));
    assert_int_equal(id_head_order(&back, uuid), 0);
    ours[UUID_TEXT_LEN] = '\0';
    assert_int_equal(uuid_parse(ours, parsed), 0);
    assert_memory_equal(parsed, uuid->bytes, sizeof parsed);
}

static void test_any_uuid_is_written_and_read_as_libuuid_does(void **state)
{
    struct id_head uuid;
    uuid_t made;

    (void)state;
    for (int byte = 0; byte <= UINT8_MAX; byte++) {
        memset(&uuid, byte, sizeof uuid); /* all zeros and all ones among them */
        assert_as_libuuid(&uuid);
        for (size_t at = 0; at < sizeof uuid; at++) {
            uuid = (struct id_head){{0}};
            uuid.bytes[at] = (uint8_t)byte;
            assert_as_libuuid(&uuid);
        }
    }
    for (int i = 0; i < 100000; i++) {
        arc4random_buf(&uuid, sizeof uuid);
        assert_as_libuuid(&uuid);
    }
    uuid_generate_random(made);
    memcpy(uuid.bytes, made, sizeof uuid.bytes);
    assert_as_libuuid(&uuid);
}

/* Whatever byte stands wherever: it is read if libuuid reads it, and if it is no upper-case digit,
 * which the daemon never writes. */
static void test_any_other_text_is_refused_as_libuuid_does(void **state)
{
    static const char good[UUID_STR_LEN] = "01234567-89ab-cdef-fedc-ba9876543210";
    unsigned refused = 0;

    (void)state;
    for (size_t at = 0; at < UUID_TEXT_LEN; at++) {
        for (int byte = 0; byte <= UINT8_MAX; byte++) {
            char text[UUID_STR_LEN];
            struct id_head ours;
            uuid_t theirs;

            memcpy(text, good, sizeof text);
            text[at] = (char)byte;
            bool reads = uuid_parse(text, theirs) == 0 && !(byte >= 'A' && byte <= 'F');
            assert_int_equal(uuid_from_text(text, &ours), reads);
            if (reads)
                assert_memory_equal(ours.bytes, theirs, sizeof theirs);
            refused += !reads;
        }
    }
    assert_int_equal(refused, UUID_TEXT_LEN * 256 - 32 * 16 - 4);
}

/* -1, 0 or 1, as the sign of what id_head_order() says. */
static int sign(int order)
{
    return (order > 0) - (order < 0);
}

static void test_the_order_is_that_of_libuuid(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct id_head a, b;

        arc4random_buf(&a, sizeof a);
        b = a;
        b.bytes[arc4random_uniform(sizeof b)] = (uint8_t)arc4random();
        assert_int_equal(sign(id_head_order(&a, &b)), sign(uuid_compare(a.bytes, b.bytes)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_uuid_is_written_and_read_as_libuuid_does),
        cmocka_unit_test(test_any_other_text_is_refused_as_libuuid_does),
        cmocka_unit_test(test_the_order_is_that_of_libuuid),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
