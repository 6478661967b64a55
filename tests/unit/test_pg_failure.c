/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <sys/stat.h>
#include <unistd.h>

#include "pg_failure.h"
#include "pg_password_file.h"

/* libpq's own words, of 15. */
static void test_kinds(void **state)
{
    static const struct {
        enum pg_failure failure;
        const char *message;
    } cases[] = {
        {PG_FAILURE_LOGIN, "connection to server at \"db\" (10.0.0.1), port 5432 failed: FATAL:  "
                           "28P01: password authentication failed for user \"app\"\n"
                           "LOCATION:  auth_failed, auth.c:332\n"},
        {PG_FAILURE_LOGIN,
         "failed: FATAL:  28000: no pg_hba.conf entry for host \"10.0.0.1\", user "
         "\"app\", database \"app\", SSL encryption\n"},
        {PG_FAILURE_LOGIN, "failed: fe_sendauth: no password supplied\n"},
        {PG_FAILURE_LOGIN, "FATAL:  42501: permission denied for database \"app\"\n"},
        {PG_FAILURE_ROOM, "FATAL:  53300: sorry, too many clients already\n"},
        {PG_FAILURE_ROOM, "FATAL:  53300: trop de connexions pour le rôle « app »\n"},
        {PG_FAILURE_TLS, "failed: SSL error: certificate verify failed\n"},
        {PG_FAILURE_TLS, "failed: server certificate for \"a\" does not match host name \"b\"\n"},
        {PG_FAILURE_TLS, "failed: root certificate file \"/ca\" does not exist\n"},
        {PG_FAILURE_TLS, "failed: server does not support SSL, but SSL was required\n"},
        {PG_FAILURE_OTHER, "failed: Connection refused\n"},
        {PG_FAILURE_OTHER, "FATAL:  57P03: the database system is starting up\n"},
        {PG_FAILURE_OTHER, "FATAL:  3D000: database \"28000\" does not exist\n"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (pg_failure_of(cases[i].message) != cases[i].failure)
            fail_msg("%s", cases[i].message);
    }
}

static void expect(int fd, const char *path, const char *text, const char *wrong)
{
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
    const char *found = pg_password_file_wrong(path);
    if (!found != !wrong || (wrong && !strstr(found, wrong)))
        fail_msg("%s: %s", text, found ? found : "nothing");
}

static void test_password_files(void **state)
{
    static const char form[] = "none of its lines has the form";
    char path[] = "/tmp/test_pg_failure.XXXXXX";
    int fd = mkstemp(path);
    char long_comment[2000];

    (void)state;
    assert_true(fd >= 0);
    expect(fd, path, "", "it is empty");
    expect(fd, path, "hunter2\n", form);
    expect(fd, path, "app:hunter2", form);
    expect(fd, path, "#a:b:c:d:e\n\n", form);
    expect(fd, path, "a:b\\:c:d:e\n", form); /* four fields */
    expect(fd, path, "a:b:\nc:d:e", form);   /* of two lines */
    expect(fd, path, "a:b:c:d:e", NULL);
    expect(fd, path, "# the daemon's\n*:*:*:apikeyd:p:w\n", NULL);
    expect(fd, path, "\\:\\:1:5432:a\\\\:u:e\n",
           NULL); /* an IPv6 address; a backslash, then a field */
    memset(long_comment, '#', sizeof long_comment);
    snprintf(long_comment + 1500, sizeof long_comment - 1500, "\na:b:c:d:e");
    expect(fd, path, long_comment, NULL);
    assert_int_equal(fchmod(fd, 0604), 0);
    assert_non_null(strstr(pg_password_file_wrong(path), "its mode has to be 0600"));
    assert_non_null(strstr(pg_password_file_wrong("/tmp"), "a regular file is needed"));
    assert_int_equal(unlink(path), 0);
    assert_string_equal(pg_password_file_wrong(path), "No such file or directory");
    close(fd);
}

static void test_the_default_file(void **state)
{
    char path[PATH_MAX];

    (void)state;
    setenv("HOME", "/home/of its own", 1);
    assert_true(pg_password_file_default(path));
    assert_string_equal(path, "/home/of its own/.pgpass");
    setenv("HOME", "", 1); /* as libpq has it: none */
    assert_true(pg_password_file_default(path));
    assert_string_not_equal(path, "/.pgpass");
    unsetenv("HOME");
    assert_true(pg_password_file_default(path));
    assert_non_null(strstr(path, "/.pgpass"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_password_files),
        cmocka_unit_test(test_the_default_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
