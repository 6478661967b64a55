/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <errno.h>

#include "redis_reply.h"

static int feed(struct redis_reader *reader, struct slice bytes, const struct redis_reply **ret)
{
    assert_true(redis_reader_feed(reader, bytes.at, bytes.len));
    return redis_reader_take(reader, ret);
}

/* What comes of these bytes, however they are cut. */
static void each_cut(struct slice bytes, void (*look)(const struct redis_reply *reply))
{
    for (size_t cut = 0; cut <= bytes.len; cut++) {
        struct redis_reader *reader = redis_reader_new();
        const struct redis_reply *reply = NULL;
        int taken = feed(reader, (struct slice){bytes.at, cut}, &reply);

        if (cut < bytes.len) {
            assert_int_equal(taken, 0);
            taken = feed(reader, (struct slice){bytes.at + cut, bytes.len - cut}, &reply);
        }
        assert_int_equal(taken, 1);
        look(reply);
        assert_int_equal(redis_reader_take(reader, &reply), 0);
        redis_reader_free(reader);
    }
}

static void is_text(const struct redis_reply *reply, enum redis_reply_kind kind, const char *text)
{
    assert_int_equal(reply->kind, kind);
    assert_int_equal(reply->text.len, strlen(text));
    assert_memory_equal(reply->text.at, text, reply->text.len);
}

static void look_at_mget(const struct redis_reply *reply)
{
    assert_int_equal(reply->kind, REPLY_ARRAY);
    assert_int_equal(reply->len, 5);
    is_text(&reply->element[0], REPLY_STRING, "one");
    assert_int_equal(reply->element[1].kind, REPLY_NIL);
    is_text(&reply->element[2], REPLY_STRING, "");
    assert_int_equal(reply->element[3].kind, REPLY_ARRAY);
    assert_int_equal(reply->element[3].len, 2);
    assert_int_equal(reply->element[3].element[0].kind, REPLY_INTEGER);
    assert_int_equal(reply->element[3].element[0].integer, -17);
    is_text(&reply->element[3].element[1], REPLY_STATUS, "OK");
    is_text(&reply->element[4], REPLY_ERROR, "ERR no");
}

static void test_all_kinds(void **state)
{
    (void)state;
    each_cut(SLICE("*5\r\n$3\r\none\r\n$-1\r\n$0\r\n\r\n*2\r\n:-17\r\n+OK\r\n-ERR no\r\n"),
             look_at_mget);
}

static void test_many_replies_need_no_more_room(void **state)
{
    static char value[8 << 10];
    struct redis_reader *reader = redis_reader_new();
    const struct redis_reply *reply;
    struct slice text = {value, sizeof value};

    (void)state;
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 2 * REDIS_REPLY_MAX / (int)sizeof value; i++) {
        assert_int_equal(feed(reader, SLICE("*1\r\n$8192\r\n"), &reply), 0);
        assert_int_equal(feed(reader, text, &reply), 0);
        assert_int_equal(feed(reader, SLICE("\r\n"), &reply), 1);
        assert_int_equal(reply->element[0].text.len, sizeof value);
    }
    redis_reader_free(reader);
}

/* A length is only a promise: the reader gives up when so much of it has come, and not before. */
static void test_a_long_reply_is_not_waited_for(void **state)
{
    static const struct slice begin[] = {
        {"$104857600\r\n", 12},
        {"$9223372036854775807\r\n", 22},
        {"*2\r\n$104857600\r\n", 16},
        {"+", 1},
        {"*2\r\n*1\r\n*1\r\n$400000\r\n", 22},
    };
    static char chunk[16 << 10];

    (void)state;
    memset(chunk, 'x', sizeof chunk);
    for (size_t i = 0; i < sizeof begin / sizeof begin[0]; i++) {
        struct redis_reader *reader = redis_reader_new();
        const struct redis_reply *reply;
        size_t fed = 0;
        int taken = feed(reader, begin[i], &reply);

        while (taken == 0) {
            taken = feed(reader, (struct slice){chunk, sizeof chunk}, &reply);
            fed += sizeof chunk;
            assert_true(fed <= REDIS_REPLY_MAX + sizeof chunk);
        }
        assert_int_equal(taken, -EMSGSIZE);
        assert_true(fed >= REDIS_REPLY_MAX - sizeof chunk);
        redis_reader_free(reader);
    }
}

static void test_elements_are_counted_at_all_depths(void **state)
{
    struct redis_reader *reader = redis_reader_new();
    const struct redis_reply *reply;

    (void)state;
    assert_int_equal(feed(reader, SLICE("*2147483647\r\n"), &reply), -EMSGSIZE);
    redis_reader_free(reader);
    reader = redis_reader_new();
    assert_int_equal(feed(reader, SLICE("*2\r\n*2046\r\n"), &reply), 0);
    for (int i = 0; i < 2046; i++)
        assert_int_equal(feed(reader, SLICE(":1\r\n"), &reply), 0);
    assert_int_equal(feed(reader, SLICE("*1\r\n"), &reply), -EMSGSIZE);
    redis_reader_free(reader);
}

static void test_what_is_no_reply(void **state)
{
    static const char *const bad[] = {
        "HTTP/1.1 400\r\n",
        "\r\n",
        "$-2\r\n",
        "*-2\r\n",
        "$x\r\n",
        ":x\r\n",
        "*1\r\n?\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct redis_reader *reader = redis_reader_new();
        const struct redis_reply *reply;

        assert_int_equal(feed(reader, (struct slice){bad[i], strlen(bad[i])}, &reply), -EPROTO);
        redis_reader_free(reader);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_kinds),
        cmocka_unit_test(test_many_replies_need_no_more_room),
        cmocka_unit_test(test_a_long_reply_is_not_waited_for),
        cmocka_unit_test(test_elements_are_counted_at_all_depths),
        cmocka_unit_test(test_what_is_no_reply),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
