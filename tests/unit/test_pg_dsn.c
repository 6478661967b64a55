/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <sys/stat.h>
#include <unistd.h>

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

static void test_names_a_database(void **state)
{
    (void)state;
    unsetenv("PGHOST");
    unsetenv("PGHOSTADDR");
    unsetenv("PGDATABASE");
    unsetenv("PGSERVICE");
    assert_true(pg_dsn_names_database("app"));
    assert_false(pg_dsn_names_database(""));
    assert_false(pg_dsn_names_database(" \t"));
    setenv("PGSERVICE", "", 1);
    assert_false(pg_dsn_names_database(""));
    setenv("PGSERVICE", "app", 1);
    assert_true(pg_dsn_names_database(""));
    unsetenv("PGSERVICE");
}

/* `dsn` ends with a keyword and "=", to which the path is added. */
static void expect_file(const char *dsn, const char *path, const char *expected)
{
    struct buffer text = {0}, why = {0};

    buffer_printf(&text, "%s%s", dsn, path);
    buffer_append(&text, "", 1);
    bool fine = pg_dsn_check_files(text.data, &why);
    buffer_append(&why, "", 1);
    if (fine != !expected || (expected && !strstr(why.data, expected)) ||
        strstr(why.data, "hunter2"))
        fail_msg("%s: %s", text.data, why.data);
    buffer_free(&text);
    buffer_free(&why);
}

static void test_files(void **state)
{
    char path[] = "/tmp/test_pg_dsn.XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    expect_file("host=a passfile=", path, "it is empty");
    assert_int_equal(write(fd, "*:*:*:*:p", 9), 9);
    expect_file("host=a passfile=", path, NULL);
    expect_file("host=a sslrootcert=", path, NULL);
    expect_file("host=a sslrootcert=", "system", NULL);
    expect_file("host=a sslkey=", "engine:key", NULL);
    expect_file("app", "", NULL);
    assert_int_equal(fchmod(fd, 0640), 0);
    expect_file("host=a passfile=", path, "its mode has to be 0600");
    expect_file("postgres://u:hunter2@h/db?passfile=", path, "passfile /tmp/test_pg_dsn.");
    expect_file("host=a sslrootcert=", path, NULL);
    expect_file("host=a sslcert=", "/tmp", "a regular file is needed");
    assert_int_equal(unlink(path), 0);
    expect_file("host=a passfile=", path, "No such file");
    expect_file("host=a sslkey=", path, "sslkey /tmp/test_pg_dsn.");
    /* The environment counts where the string is silent. */
    setenv("PGPASSFILE", path, 1);
    expect_file("host=a", "", "PGPASSFILE /tmp/test_pg_dsn.");
    expect_file("host=a passfile=", "relative", NULL);
    unsetenv("PGPASSFILE");
    close(fd);
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
        cmocka_unit_test(test_names_a_database),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
