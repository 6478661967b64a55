/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <apikeyd/postgres/pg_dsn.h>

static void test_taken(void **state)
{
    static const char *const good[] = {"",
                                       "app",
                                       "host=a,b port=5432,5433 user=u password='x y'",
                                       "host=a,b,c port=,1, sslmode=verify-full",
                                       "postgresql://u:p%40@[::1]:5432,h/db?sslmode=require",
                                       "service=not_there_yet",
                                       "host=not.resolved.yet hostaddr=10.0.0.1"};
    struct buffer why = {0};

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        if (!pg_dsn_check(good[i], &why))
            fail_msg("%s: %.*s", good[i], (int)why.len, why.data);
    }
    assert_int_equal(why.len, 0);
}

static void test_refused(void **state)
{
    static const struct {
        const char *dsn, *why;
    } cases[] = {
        {"host=a prot=5", "libpq does not know \"prot\"; did you mean \"port\"?"},
        {"host=a colour=5", "libpq says: invalid connection option \"***\""},
        {"password=my hunter2", "libpq says: missing \"=\" after \"***\""},
        {"password='hunter2", "libpq says: unterminated quoted string in connection info string"},
        {"postgres://u:hunter2@[::1/db", "\"]\" in IPv6 host address"},
        {"postgres://u:hunter2@h:1:2/db", "port: numbers from 1 to 65535"},
        {"postgres://u:hunter2%zz@h/db", "libpq says: invalid percent-encoded token: \"***\""},
        {"postgres://u:hunter2@h/db?passwd=hunter2", "did you mean \"password\"?"},
        {"host=a port=70000", "port: numbers from 1 to 65535"},
        {"host=a port=0", "port: numbers from 1 to 65535"},
        {"host=a port=54x", "port: numbers from 1 to 65535"},
        {"host=a,b port=1,2,3", "port: one, or as many as hosts, are needed"},
        {"host=a,b hostaddr=10.0.0.1", "host and hostaddr: as many"},
        {"host=a sslmode=yes", "sslmode: one of disable"},
        {"host=a target_session_attrs=master", "target_session_attrs: one of any"},
        {"host=a connect_timeout=5s", "connect_timeout: a whole number"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buffer why = {0};

        if (pg_dsn_check(cases[i].dsn, &why))
            fail_msg("%s", cases[i].dsn);
        buffer_append(&why, "", 1);
        if (!strstr(why.data, cases[i].why) || strstr(why.data, "hunter2"))
            fail_msg("%s: %s", cases[i].dsn, why.data);
        buffer_free(&why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
