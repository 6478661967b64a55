/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <netinet/in.h>

#include <apikeyd/base/address.h>

static void test_forms(void **state)
{
    struct sockaddr_storage address;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
    socklen_t len;

    (void)state;
    assert_true(address_parse("127.0.0.1:9464", &address, &len));
    assert_int_equal(len, sizeof *in);
    assert_int_equal(in->sin_family, AF_INET);
    assert_int_equal(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(ntohs(in->sin_port), 9464);
    assert_true(address_parse("[::1]:65535", &address, &len));
    assert_int_equal(len, sizeof *in6);
    assert_int_equal(in6->sin6_family, AF_INET6);
    assert_memory_equal(&in6->sin6_addr, &in6addr_loopback, sizeof in6addr_loopback);
    assert_int_equal(ntohs(in6->sin6_port), 65535);
    assert_true(address_parse("[fe80::1%lo]:1", &address, &len));
    assert_int_not_equal(in6->sin6_scope_id, 0);
}

static void test_refused(void **state)
{
    static const char *const bad[] = {
        "",
        ":",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "1.2.3:80",
        "1.2.3.4:0",
        "1.2.3.4:65536",
        "1.2.3.4:80x",
        "1.2.3.4:-1",
        "1.2.3.4: 8",
        "localhost:80",
        "::1:80",
        "[::1]",
        "[::1]80",
        "[]:80",
        "[::1:80",
        "[1.2.3.4]:80",
        "[fe80::1%none0]:1",
        "99999999999999999999999999999999999999999999999999999999999999999999999999999999:80"};
    struct sockaddr_storage address;
    socklen_t len;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (address_parse(bad[i], &address, &len))
            fail_msg("%s", bad[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
