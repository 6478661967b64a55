/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <openssl/evp.h>

#include <apikeyd/model/key_hasher.h>

/* What psql computes: left(encode(sha256('abc'), 'hex'), 32). */
static void test_is_the_front_of_sha256(void **state)
{
    struct key_hasher *hasher = key_hasher_new(NULL, 0, false);
    char hex[DIGEST_HEX_SIZE];
    struct digest digest;

    (void)state;
    for (int i = 0; i < 2; i++) { /* nothing is left of the first */
        assert_true(key_hasher_digest(hasher, SLICE("abc"), &digest));
        digest_to_hex(&digest, hex);
        assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223");
    }
    key_hasher_free(hasher);
}

/* RFC 4231, test case 2; the digest is that of the hex text. */
static void test_transform_is_the_hex_hmac(void **state)
{
    static const char hmac[] = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    struct key_hasher *plain = key_hasher_new(NULL, 0, false);
    struct key_hasher *hasher = key_hasher_new((struct slice[]){SLICE("Jefe")}, 1, false);
    struct digest digest, expected;
    struct key_names names;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_true(key_hasher_digest(hasher, SLICE("what do ya want for nothing?"), &digest));
        key_hasher_names(hasher, SLICE("what do ya want for nothing?"), &names);
        assert_int_equal(names.hashes, 1);
        assert_memory_equal(names.hash[0], hmac, 64);
    }
    assert_true(key_hasher_digest(plain, SLICE(hmac), &expected));
    assert_true(digest_equal(&digest, &expected));
    assert_int_equal(names.digests.len, 1);
    assert_true(digest_equal(&names.digests.of[0], &expected));
    key_hasher_free(hasher);
    key_hasher_free(plain);
}

/* Of one block, of two, and around the border, against libcrypto's other way. */
static void test_every_length_is_sha256(void **state)
{
    struct key_hasher *hasher = key_hasher_new(NULL, 0, false);
    unsigned char hash[EVP_MAX_MD_SIZE];
    char key[KEY_LEN_MAX];
    struct digest digest;

    (void)state;
    for (size_t len = 1; len <= sizeof key; len++) {
        memset(key, (int)('A' + len % 50), len);
        assert_true(key_hasher_digest(hasher, (struct slice){key, len}, &digest));
        assert_true(EVP_Digest(key, len, hash, NULL, EVP_sha256(), NULL));
        assert_memory_equal(&digest, hash, sizeof digest);
    }
    key_hasher_free(hasher);
}

static void judge_hmac(struct slice secret, struct slice key)
{
    struct key_hasher *hasher = key_hasher_new(&secret, 1, false);
    unsigned char mac[32];
    char hex[64];
    struct key_names names;
    size_t len;

    assert_non_null(EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, secret.at, secret.len,
                              (const unsigned char *)key.at, key.len, mac, sizeof mac, &len));
    hex_encode(mac, sizeof mac, hex);
    key_hasher_names(hasher, key, &names);
    assert_memory_equal(names.hash[0], hex, sizeof hex);
    key_hasher_free(hasher);
}

/* Secrets and keys of every length: a secret of more than a block is hashed first. */
static void test_every_length_is_hmac(void **state)
{
    char bytes[KEY_LEN_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)('!' + i % 90);
    for (size_t len = 1; len <= sizeof bytes; len++) {
        judge_hmac((struct slice){bytes, len}, SLICE("a key of the usual form"));
        judge_hmac(SLICE("a secret"), (struct slice){bytes, len});
    }
}

/* By each secret, in order, and of the key itself; the same secret again counts once. */
static void test_keys_have_several_digests(void **state)
{
    const struct slice secrets[] = {SLICE("new"), SLICE("old"), SLICE("new")};
    struct key_hasher *both = key_hasher_new(secrets, 3, true);
    struct key_hasher *alone[] = {key_hasher_new(&secrets[0], 1, false),
                                  key_hasher_new(&secrets[1], 1, false),
                                  key_hasher_new(NULL, 0, false)};
    struct digests digests;
    struct key_names names;
    struct digest expected;

    (void)state;
    assert_int_equal(key_hasher_digest_count(both), 3);
    assert_false(key_hasher_digest(both, SLICE("key"), &expected));
    key_hasher_digests(both, SLICE("key"), &digests);
    key_hasher_names(both, SLICE("key"), &names);
    assert_int_equal(names.hashes, 2);
    assert_int_equal(digests.len, 3);
    assert_memory_equal(&names.digests.of, &digests.of, 3 * sizeof expected);
    for (size_t i = 0; i < 3; i++) {
        assert_true(key_hasher_digest(alone[i], SLICE("key"), &expected));
        assert_true(digest_equal(&digests.of[i], &expected));
        key_hasher_free(alone[i]);
    }
    key_hasher_free(both);
}

/* Sets of secrets are told apart, by order too; a copy is the same. */
static void test_hashers_are_compared(void **state)
{
    const struct slice secrets[] = {SLICE("a"), SLICE("b"), SLICE("a")};
    struct key_hasher *hasher[] = {
        key_hasher_new(secrets, 2, false), key_hasher_new(&secrets[1], 2, false),
        key_hasher_new(secrets, 1, false), key_hasher_new(secrets, 2, true),
        key_hasher_new(NULL, 0, false)};
    enum { HASHERS = sizeof hasher / sizeof hasher[0] };
    struct key_hasher *copy = key_hasher_copy(hasher[0]);
    struct digest a, b;

    (void)state;
    assert_true(key_hasher_equal(hasher[0], copy));
    for (size_t i = 0; i < HASHERS; i++) {
        for (size_t k = 0; k < HASHERS; k++)
            assert_int_equal(key_hasher_equal(hasher[i], hasher[k]), i == k);
    }
    key_hasher_mark(hasher[0], &a);
    key_hasher_mark(hasher[1], &b);
    assert_false(digest_equal(&a, &b));
    key_hasher_mark(copy, &b);
    assert_true(digest_equal(&a, &b));
    for (size_t i = 0; i < HASHERS; i++)
        key_hasher_free(hasher[i]);
    key_hasher_free(copy);
}

static void test_form_of_a_stored_hash(void **state)
{
    (void)state;
    assert_true(
        key_hash_form(SLICE("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")));
    assert_true(
        key_hash_form(SLICE("5BDCC146BF60754E6A042426089575C75A003F089D2739839DEC58B964EC3843")));
    assert_false(
        key_hash_form(SLICE("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec384g")));
    assert_false(
        key_hash_form(SLICE("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec384")));
    assert_false(key_hash_form(SLICE("")));
}

static void test_fingerprint_is_short(void **state)
{
    struct key_hasher *hasher = key_hasher_new(NULL, 0, false);
    char text[FINGERPRINT_SIZE];
    struct digest digest;

    (void)state;
    assert_true(key_hasher_digest(hasher, SLICE("abc"), &digest));
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
        cmocka_unit_test(test_every_length_is_hmac),
        cmocka_unit_test(test_keys_have_several_digests),
        cmocka_unit_test(test_hashers_are_compared),
        cmocka_unit_test(test_form_of_a_stored_hash),
        cmocka_unit_test(test_fingerprint_is_short),
        cmocka_unit_test(test_uuid_text_goes_both_ways),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
