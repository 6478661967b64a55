/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <openssl/evp.h>

#include <apikeyd/model/key_hasher.h>

/* What psql computes: left(encode(sha256('abc'), 'hex'), 32). */
static void test_is_the_front_of_sha256(void **state)
{
    struct key_hasher *hasher = key_hasher_new(KEY_TRANSFORM_NONE, SLICE(""));
    char hex[DIGEST_HEX_SIZE];
    struct digest digest;
    struct slice column;

    (void)state;
    for (int i = 0; i < 2; i++) { /* contexts are used again */
        assert_true(key_hasher_digest(hasher, SLICE("abc"), &column, &digest));
        digest_to_hex(&digest, hex);
        assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223");
        assert_int_equal(column.len, 3);
        assert_memory_equal(column.at, "abc", 3);
    }
    key_hasher_free(hasher);
}

/* RFC 4231, test case 2; the digest is that of the hex text. */
static void test_transform_is_the_hex_hmac(void **state)
{
    static const char hmac[] = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    struct key_hasher *plain = key_hasher_new(KEY_TRANSFORM_NONE, SLICE(""));
    struct key_hasher *hasher = key_hasher_new(KEY_TRANSFORM_HMAC_SHA256, SLICE("Jefe"));
    struct digest digest, expected;
    struct slice column, ignored;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_true(
            key_hasher_digest(hasher, SLICE("what do ya want for nothing?"), &column, &digest));
        assert_int_equal(column.len, 64);
        assert_memory_equal(column.at, hmac, 64);
    }
    assert_true(key_hasher_digest(plain, SLICE(hmac), &ignored, &expected));
    assert_true(digest_equal(&digest, &expected));
    key_hasher_free(hasher);
    key_hasher_free(plain);
}

/* Of one block, of two, and around the border, against libcrypto's other way. */
static void test_every_length_is_sha256(void **state)
{
    struct key_hasher *hasher = key_hasher_new(KEY_TRANSFORM_NONE, SLICE(""));
    unsigned char hash[EVP_MAX_MD_SIZE];
    char key[KEY_LEN_MAX];
    struct digest digest;
    struct slice column;

    (void)state;
    for (size_t len = 1; len <= sizeof key; len++) {
        memset(key, (int)('A' + len % 50), len);
        assert_true(key_hasher_digest(hasher, (struct slice){key, len}, &column, &digest));
        assert_true(EVP_Digest(key, len, hash, NULL, EVP_sha256(), NULL));
        assert_memory_equal(&digest, hash, sizeof digest);
    }
    key_hasher_free(hasher);
}

static void test_fingerprint_is_short(void **state)
{
    struct key_hasher *hasher = key_hasher_new(KEY_TRANSFORM_NONE, SLICE(""));
    char text[FINGERPRINT_SIZE];
    struct digest digest;
    struct slice column;

    (void)state;
    assert_true(key_hasher_digest(hasher, SLICE("abc"), &column, &digest));
    digest_fingerprint(&digest, text);
    assert_string_equal(text, "fp:ba7816bf");
    key_hasher_free(hasher);
}

static void test_uuid_text_goes_both_ways(void **state)
{
    static const char text[] = "00112233-4455-6677-8899-aabbccddeeff";
    char out[UUID_TEXT_LEN + 1] = "";
    struct id_head uuid;

    (void)state;
    assert_true(uuid_from_text(text, &uuid));
    uuid_to_text(&uuid, out);
    assert_string_equal(out, text);
    assert_false(uuid_from_text("00112233-4455-6677-8899-aabbccddeefg", &uuid));
    assert_false(uuid_from_text("00112233x4455-6677-8899-aabbccddeeff", &uuid));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_the_front_of_sha256),
        cmocka_unit_test(test_transform_is_the_hex_hmac),
        cmocka_unit_test(test_every_length_is_sha256),
        cmocka_unit_test(test_fingerprint_is_short),
        cmocka_unit_test(test_uuid_text_goes_both_ways),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
