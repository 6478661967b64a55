/* SPDX-License-Identifier: MIT */
#include <apikeyd/back/config_check.h>

#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <apikeyd/base/secret.h>
#include <apikeyd/config/config_draft.h>
#include <apikeyd/config/config_hasher.h>
#include <apikeyd/config/config_rules.h>
#include <apikeyd/config/redis_url.h>
#include <apikeyd/postgres/pg_dsn.h>
#include <apikeyd/redis/redis_tls_files.h>
#include <apikeyd/thread/processors.h>

/* With its NUL. */
static struct buffer directory_of(const char *path)
{
    struct buffer directory = {0};
    size_t len = (size_t)(strrchr(path, '/') - path);

    buffer_append(&directory, path, len > 0 ? len : 1);
    buffer_append(&directory, "", 1);
    return directory;
}

/* The directory that a socket is in must be there: the daemon can make a file, but a directory is
 * the operator's decision. Those of ledger and spill file may appear later, since usage never
 * delays an answer.
 */
static void check_directory(struct config_draft *draft, const char *name, const char *path)
{
    struct buffer directory = directory_of(path);
    struct stat status;

    if (stat(directory.data, &status) != 0)
        config_draft_fail(draft, name, "directory %s: %s", directory.data, strerror(errno));
    else if (!S_ISDIR(status.st_mode))
        config_draft_fail(draft, name, "%s is no directory", directory.data);
    buffer_free(&directory);
}

/* A read-only file system stays so, and a ledger in memory is lost with the process: a container
 * whose volume was forgotten would lose usage at each restart. */
static void check_ledger(struct config_draft *draft)
{
    const char *path = draft->config->usage_ledger;

    if (!config_draft_sound(draft, "usage.ledger"))
        return;
    struct buffer directory = directory_of(path);
    if (access(directory.data, W_OK) != 0 && errno == EROFS)
        config_draft_fail(draft, "usage.ledger",
                          "directory %s is on a read-only file system; mount a writable one there, "
                          "best tmpfs, or choose another path",
                          directory.data);
    buffer_free(&directory);
}

/* The daemon replaces a socket file, but no other file, in a socket's place. */
static void check_socket(struct config_draft *draft, const char *name, const char *address)
{
    struct stat status;

    if (address[0] != '/')
        return; /* none, or TCP */
    check_directory(draft, name, address);
    if (lstat(address, &status) == 0 && !S_ISSOCK(status.st_mode))
        config_draft_fail(draft, name,
                          "it exists and is no socket; remove it or choose another path");
}

static void check_group(struct config_draft *draft, const char *name, const char *group)
{
    if (group[0] && !getgrnam(group))
        config_draft_fail(draft, name, "there is no such group on this host");
}

/* With "last" there is always one. */
static void check_cpu(struct config_draft *draft)
{
    const char *cpu = draft->config->listen_cpu;
    struct buffer why = {0};

    if (isdigit((unsigned char)cpu[0]) && !processors_may_use((int)strtol(cpu, NULL, 10), &why))
        config_draft_fail(draft, "listen.cpu", "%.*s", (int)why.len, why.data);
    buffer_free(&why);
}

/* An image or an orchestrator may give no other choice, so the daemon only warns. */
static void warn_exposed(const char *name, struct slice path, struct buffer *warnings)
{
    buffer_printf(warnings,
                  "%s: every user of this host may read %.*s; take that right away (chmod "
                  "o-r), and change the secret if others may have read it\n",
                  name, (int)path.len, path.at);
}

static void check_secret(struct config_draft *draft, const char *name, const char *path,
                         struct buffer *warnings)
{
    struct secret secret = {.len = 0};
    struct buffer why = {0};

    if (!secret_read(path, &secret, &why))
        config_draft_fail(draft, name, "%.*s", (int)why.len, why.data);
    else if (secret.exposed)
        warn_exposed(name, (struct slice){path, strlen(path)}, warnings);
    explicit_bzero(&secret, sizeof secret);
    buffer_free(&why);
}

static void check_redis_tls(struct config_draft *draft)
{
    const struct config *config = draft->config;
    struct buffer why = {0};
    struct redis_url url;
    const char *option;

    if (redis_url_parse(config->redis_url, &url) && url.tls &&
        !redis_tls_files_check(config, &option, &why))
        config_draft_fail(draft, option, "%.*s", (int)why.len, why.data);
    buffer_free(&why);
}

static void check_hasher(struct config_draft *draft, struct buffer *warnings)
{
    static const char name[] = "postgres.key_transform_secret_file";
    struct buffer why = {0}, exposed = {0};
    struct key_hasher *hasher = config_key_hasher(draft->config, &why, &exposed);
    struct slice rest = buffer_held(&exposed), path;

    if (!hasher)
        config_draft_fail(draft, name, "%.*s", (int)why.len, why.data);
    while (slice_take_line(&rest, &path))
        warn_exposed(name, path, warnings);
    key_hasher_free(hasher);
    buffer_free(&why);
    buffer_free(&exposed);
}

static void check_dsn(struct config_draft *draft, const char *name, const char *dsn)
{
    struct buffer why = {0};

    if (!pg_dsn_check(dsn, &why) || !pg_dsn_check_files(dsn, &why))
        config_draft_fail(draft, name, "%.*s", (int)why.len, why.data);
    buffer_free(&why);
}

static void check_database(struct config_draft *draft)
{
    if (!pg_dsn_names_database(draft->config->postgres_dsn))
        config_draft_fail(draft, "postgres.dsn",
                          "the database has to be named (host=db.example dbname=app), here or by "
                          "PGHOST, PGDATABASE or PGSERVICE in the environment");
}

static void check_surroundings(struct config_draft *draft, struct buffer *warnings)
{
    const struct config *config = draft->config;

    check_socket(draft, "listen.check", config->listen_check);
    check_group(draft, "listen.check_group", config->listen_check_group);
    check_socket(draft, "listen.admin", config->listen_admin);
    check_socket(draft, "listen.http", config->listen_http);
    check_socket(draft, "listen.metrics", config->listen_metrics);
    check_cpu(draft);
    check_ledger(draft);
    check_secret(draft, "redis.password_file", config->redis_password_file, warnings);
    check_secret(draft, "redis.sentinel_password_file", config->redis_sentinel_password_file,
                 warnings);
    check_secret(draft, "redis.secret_file", config->redis_secret_file, warnings);
    check_redis_tls(draft);
    check_database(draft);
    check_dsn(draft, "postgres.dsn", config->postgres_dsn);
    if (config->postgres_listen_dsn[0])
        check_dsn(draft, "postgres.listen_dsn", config->postgres_listen_dsn);
    check_hasher(draft, warnings);
}

int config_check(const char *path, struct config **ret, struct buffer *errors,
                 struct buffer *warnings)
{
    struct config_draft draft;
    int error = config_draft_open(&draft, path, errors);

    if (error < 0)
        return error;
    config_rules_check(&draft);
    check_surroundings(&draft, warnings);
    config_draft_deprecated(&draft, warnings);
    struct config *config = config_draft_close(&draft);
    if (!config)
        return -EINVAL;
    *ret = config;
    return 0;
}
