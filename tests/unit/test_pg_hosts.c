/* SPDX-License-Identifier: MIT */
#include "unit.h"

#include <unistd.h>

#include "pg_hosts.h"

static void assert_hosts(struct pg_hosts *hosts, size_t count, const char *host,
                         const char *hostaddr, const char *port)
{
    assert_null(hosts->unresolved);
    assert_int_equal(hosts->count, count);
    assert_string_equal(hosts->host.data, host);
    assert_string_equal(hosts->hostaddr.data, hostaddr);
    assert_string_equal(hosts->port.data, port);
}

static void test_what_needs_no_name_server(void **state)
{
    static const struct {
        const char *dsn;
        size_t count;
        const char *host, *hostaddr, *port;
    } cases[] = {
        {"app", 1, "", "", "5432"},
        {"dbname=app port=6000", 1, "", "", "6000"},
        {"host=127.0.0.9", 1, "127.0.0.9", "127.0.0.9", "5432"},
        {"postgresql://u@[::1]:7/app", 1, "::1", "::1", "7"},
        {"host=/run/postgresql", 1, "/run/postgresql", "", "5432"},
        {"host=@abstract,127.0.0.9", 2, "@abstract,127.0.0.9", ",127.0.0.9", "5432,5432"},
        {"host=,127.0.0.9 port=1,2", 2, ",127.0.0.9", ",127.0.0.9", "1,2"},
        /* A name that has its address is not asked for. */
        {"host=a.test hostaddr=127.0.0.9", 1, "a.test", "127.0.0.9", "5432"},
        {"hostaddr=127.0.0.9,127.0.0.8", 2, ",", "127.0.0.9,127.0.0.8", "5432,5432"},
        {"host=a.test,127.0.0.8 hostaddr=127.0.0.9,", 2, "a.test,127.0.0.8", "127.0.0.9,127.0.0.8",
         "5432,5432"},
        {"postgresql://127.0.0.1,127.0.0.2:2/app", 2, "127.0.0.1,127.0.0.2", "127.0.0.1,127.0.0.2",
         ",2"},
        /* What libpq refuses is left to it. */
        {"host=a.test,b.test hostaddr=127.0.0.9", 0, "", "", ""},
        {"host=a.test port=1,2", 0, "", "", ""},
        {"service=none-that-there-is", 1, "", "", ""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pg_hosts hosts = {0};

        pg_hosts_resolve(&hosts, cases[i].dsn);
        print_message("%s\n", cases[i].dsn);
        assert_hosts(&hosts, cases[i].count, cases[i].host, cases[i].hostaddr, cases[i].port);
        pg_hosts_free(&hosts);
    }
}

static void test_each_address_comes_first_in_turn(void **state)
{
    struct pg_hosts hosts = {0};

    (void)state;
    pg_hosts_resolve(&hosts, "host=/a,127.0.0.2,c.test hostaddr=,,127.0.0.3 port=1,2,3");
    assert_hosts(&hosts, 3, "/a,127.0.0.2,c.test", ",127.0.0.2,127.0.0.3", "1,2,3");
    pg_hosts_rotate(&hosts);
    assert_hosts(&hosts, 3, "127.0.0.2,c.test,/a", "127.0.0.2,127.0.0.3,", "2,3,1");
    pg_hosts_rotate(&hosts);
    pg_hosts_rotate(&hosts);
    assert_hosts(&hosts, 3, "/a,127.0.0.2,c.test", ",127.0.0.2,127.0.0.3", "1,2,3");
    pg_hosts_free(&hosts);
}

/* The port follows its host; a service and the environment count as libpq has it. */
static void test_service_and_environment(void **state)
{
    char path[] = "/tmp/apikeyd-service-XXXXXX";
    int fd = mkstemp(path);
    struct pg_hosts hosts = {0};

    (void)state;
    assert_true(fd >= 0);
    assert_true(dprintf(fd, "[far]\nhost=127.0.0.7\nport=7\n") > 0);
    close(fd);
    setenv("PGSERVICEFILE", path, 1);
    setenv("PGHOST", "127.0.0.6", 1);
    pg_hosts_resolve(&hosts, "service=far");
    assert_hosts(&hosts, 1, "127.0.0.7", "127.0.0.7", "7");
    pg_hosts_free(&hosts);
    hosts = (struct pg_hosts){0};
    pg_hosts_resolve(&hosts, "service=far host=127.0.0.8");
    assert_hosts(&hosts, 1, "127.0.0.8", "127.0.0.8", "7");
    pg_hosts_free(&hosts);
    hosts = (struct pg_hosts){0};
    pg_hosts_resolve(&hosts, "dbname=app");
    assert_hosts(&hosts, 1, "127.0.0.6", "127.0.0.6", "5432");
    pg_hosts_free(&hosts);
    unsetenv("PGSERVICEFILE");
    unsetenv("PGHOST");
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_needs_no_name_server),
        cmocka_unit_test(test_each_address_comes_first_in_turn),
        cmocka_unit_test(test_service_and_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
