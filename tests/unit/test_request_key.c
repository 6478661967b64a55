/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/wire/request_key.h>

static const char *const forms[] = {"header:NAME",       "bearer",      "basic-user", "query:NAME",
                                    "query:NAME@HEADER", "cookie:NAME", NULL};

/* Fields as "Name: value", one a line, and the target behind "> ". */
static void find(const char *list, const char *request, struct request_key *ret)
{
    struct key_sources sources;
    char scratch[256];
    struct slice text = {request, strlen(request)}, line;

    *ret = (struct request_key){0};
    assert_null(key_sources_parse(list, forms, &sources, scratch, sizeof scratch));
    while (slice_take_line(&text, &line)) {
        const char *colon = memmem(line.at, line.len, ": ", 2);

        if (line.at[0] == '>') {
            request_key_target(ret, &sources, (struct slice){line.at + 2, line.len - 2});
            continue;
        }
        size_t len = (size_t)(colon - line.at);
        request_key_field(ret, &sources, (struct slice){line.at, len},
                          (struct slice){colon + 2, line.len - len - 2});
    }
}

static void expect(const char *list, const char *request, const char *key)
{
    struct request_key found;

    find(list, request, &found);
    if (found.wrong)
        fail_msg("%s: %s", request, found.wrong);
    assert_true(found.found);
    assert_int_equal(found.key.len, strlen(key));
    assert_memory_equal(found.key.at, key, found.key.len);
}

static void expect_none(const char *list, const char *request)
{
    struct request_key found;

    find(list, request, &found);
    assert_null(found.wrong);
    assert_false(found.found);
}

static void expect_wrong(const char *list, const char *request, const char *why)
{
    struct request_key found;

    find(list, request, &found);
    assert_non_null(found.wrong);
    assert_non_null(strstr(found.wrong, why));
}

static void test_headers(void **state)
{
    (void)state;
    expect("header:X-API-Key", "x-api-key: Bearer k", "Bearer k");
    expect("header:X-API-Key", "X-API-Key: ", "");
    expect("header:Authorization", "authorization: k", "k");
    expect("header:Authorization", "Authorization: bEARER  k", "k");
    expect("header:Authorization", "Authorization: ApiKey k", "k");
    expect("header:Authorization", "Authorization: Bearer Bearer k", "Bearer k");
    expect("header:Authorization", "Authorization: Bearerk", "Bearerk");
    expect_none("header:X-API-Key", "X-API-Keys: k");
}

static void test_bearer(void **state)
{
    (void)state;
    expect("bearer", "Authorization: Bearer k", "k");
    expect("bearer", "Authorization: APIKEY \t k", "k");
    expect("bearer", "Authorization: Bearer", "");
    expect("bearer", "Authorization: Bearer a b", "a b");
    expect_none("bearer", "Authorization: k");
    expect_none("bearer", "Authorization: Basic azo=");
    expect_none("bearer", "Authorization: Bearerk");
    expect_none("bearer", "Authorization: ");
}

static void test_basic(void **state)
{
    static const char *const bad[] = {
        "Basic",          /* nothing */
        "Basic aw==",     /* "k": no colon */
        "Basic azo",      /* no padding */
        "Basic azp=",     /* bits left over */
        "Basic azo==",    /* too much padding */
        "Basic azo=azo=", /* padding inside */
        "Basic a-o=",     /* another alphabet */
        "Basic az o=",    "Basic ====",
    };

    (void)state;
    expect("basic-user", "Authorization: Basic azo=", "k");
    expect("basic-user", "Authorization: basic  azpwOnc=", "k"); /* "k:p:w" */
    expect("basic-user", "Authorization: Basic OnB3", "");       /* ":pw" */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char field[64];

        snprintf(field, sizeof field, "Authorization: %s", bad[i]);
        expect_wrong("basic-user", field, "Base64");
    }
    expect_none("basic-user", "Authorization: Bearer azo=");
    expect_none("basic-user", "Authorization: Basicazo=");
}

static void test_queries(void **state)
{
    (void)state;
    expect("query:key", "> /a?key=k", "k");
    expect("query:key", "> /a?b=1&key=k#key=other", "k");
    expect("query:key", "> http://h/a?key=%6b%2B+%C3%a9", "k+ \xc3\xa9");
    expect("query:key", "> /a?%6bey=%256b", "%6b");
    expect("query:key", "> /a?key", "");
    expect("query:key", "> /a?key=&&x&=y", "");
    expect("query:key", "> /a?key=a=b", "a=b");
    expect("query:key", "> /a?key=k&x=%zz&%zz=1", "k");
    expect("query:key", "> /a?key=a?key=b", "a?key=b");
    expect_wrong("query:key", "> /a?key=%zz", "two hex digits");
    expect_wrong("query:key", "> /a?key=%6", "two hex digits");
    expect_wrong("query:key", "> /a?key=a&key=%", "two hex digits");
    expect_none("query:key", "> /a/key=k");
    expect_none("query:key", "> /a?Key=k&keys=k&xkey=k");
    expect_none("query:key", "> /a;key=k?x;key=k");
    expect_none("query:key", "> *");
    expect_none("query:key", "X-Original-URI: /a?key=k");
    expect("query:key@X-Original-URI", "X-Original-URI: /a?key=k\n> /authorize?key=other", "k");
    expect_none("query:key@X-Original-URI", "> /authorize?key=k");
    expect_wrong("query:key@X-Original-URI", "X-Original-URI: /a\nx-original-uri: /a?key=k",
                 "more than one field");
}

static void test_cookies(void **state)
{
    (void)state;
    expect("cookie:k", "Cookie: a=b; k=v; c=d", "v");
    expect("cookie:k", "Cookie: k=v", "v");
    expect("cookie:k", "Cookie:  k = v ;", "v");
    expect("cookie:k", "Cookie: k=\"v\"", "v");
    expect("cookie:k", "Cookie: k=\"\"", "");
    expect("cookie:k", "Cookie: k=", "");
    expect("cookie:k", "Cookie: k=%76=", "%76=");
    expect("cookie:k", "Cookie: a=b\nCookie: k=v", "v");
    expect_none("cookie:k", "Cookie: K=v; kk=v; a=k=v");
    expect_none("cookie:k", "Cookie: ");
    expect_wrong("cookie:k", "Cookie: k=\"v", "quote");
    expect_wrong("cookie:k", "Cookie: k=v\"", "quote");
    expect_wrong("cookie:k", "Cookie: k=\"", "quote");
    expect_wrong("cookie:k", "Cookie: k=\"a;b\"", "quote");
}

/* In one source or in two, in either order: the same key is one, another is one too many. */
static void test_several(void **state)
{
    static const char all[] = "header:X-API-Key, bearer, basic-user, query:key, cookie:k";
    static const char *const place[] = {
        "X-API-Key: k", "Authorization: Bearer k", "Authorization: Basic azo=",
        "> /?key=%6b",  "Cookie: k=\"k\"",         "> /?key=k&key=k",
    };
    static const char *const other[] = {
        "X-API-Key: o", "X-API-Key: ", "Authorization: ApiKey", "Authorization: Basic bzo=",
        "> /?key=o",    "> /?key",     "Cookie: k=kk",          "Authorization: Basic k",
    };

    (void)state;
    for (size_t i = 0; i < sizeof place / sizeof place[0]; i++) {
        char request[128];

        for (size_t k = 0; k < sizeof place / sizeof place[0]; k++) {
            snprintf(request, sizeof request, "%s\n%s", place[i], place[k]);
            expect(all, request, "k");
        }
        for (size_t k = 0; k < sizeof other / sizeof other[0]; k++) {
            snprintf(request, sizeof request, "%s\n%s", place[i], other[k]);
            expect_wrong(all, request, k == 7 ? "Base64" : "more than one key");
            snprintf(request, sizeof request, "%s\n%s", other[k], place[i]);
            expect_wrong(all, request, k == 7 ? "Base64" : "more than one key");
        }
    }
    /* A source that is not listed does not count. */
    expect("bearer", "Authorization: Bearer k\nX-API-Key: o\n> /?key=o", "k");
}

/* Too long in either form: the check refuses it, and sees no byte behind what is kept. */
static void test_long_keys(void **state)
{
    char request[700] = "X-API-Key: ", key[257];
    struct request_key found;

    (void)state;
    memset(request + 11, 'k', 300);
    find("header:X-API-Key", request, &found);
    assert_int_equal(found.key.len, 256);
    snprintf(request, sizeof request, "> /?key=%255s", "");
    for (char *at = request + 8; *at; at++)
        *at = 'k';
    memset(key, 'k', 256);
    key[255] = '\0';
    expect("query:key", request, key);
    memset(request + 8, 'k', 400);
    find("query:key", request, &found);
    assert_int_equal(found.key.len, 256);
    assert_ptr_equal(found.key.at, found.decoded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),   cmocka_unit_test(test_bearer),
        cmocka_unit_test(test_basic),     cmocka_unit_test(test_queries),
        cmocka_unit_test(test_cookies),   cmocka_unit_test(test_several),
        cmocka_unit_test(test_long_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
