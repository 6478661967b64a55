/* SPDX-License-Identifier: MIT */
#include "daemon.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include <jansson.h>

#include <apikeyd/back/back.h>
#include <apikeyd/back/config_check.h>
#include <apikeyd/base/secret.h>
#include <apikeyd/config/config_hasher.h>
#include <apikeyd/config/redis_url.h>
#include <apikeyd/front/front.h>
#include <apikeyd/thread/thread.h>
#include <apikeyd/thread/worker.h>

#include "activation.h"
#include "front_cpu.h"
#include "log_hooks.h"
#include "log_sink.h"
#include "signals.h"
#include "socket_watch.h"
#include "sockets.h"
#include "storage.h"
#include "supervisor.h"

struct daemon {
    struct config *config;
    const char *config_path;
    struct log_writer *log_writer;
    struct log log;
    struct secret redis_password, redis_sentinel_password, redis_value;
    struct storage storage;
    struct sockets sockets;
    struct supervisor supervisor;
    bool stopping;
    struct mailbox to_back, to_front;
    struct front_cpu front_cpu;
    struct front *front;
    struct back *back;
};

static bool read_secret(struct daemon *daemon, const char *option, const char *path,
                        struct secret *ret)
{
    struct buffer why = {0};
    bool read = secret_read(path, ret, &why);

    if (!read)
        log_error(&daemon->log, "%s: %.*s", option, (int)why.len, why.data);
    buffer_free(&why);
    return read;
}

/* The password may stand in redis.url instead of a file. */
static void take_url_password(const struct config *config, struct secret *ret)
{
    struct redis_url url = {0};

    if (ret->len == 0 && redis_url_parse(config->redis_url, &url)) {
        ret->len = strlen(url.password);
        memcpy(ret->bytes, url.password, ret->len);
    }
    explicit_bzero(&url, sizeof url);
}

/* The check of the configuration has read all secrets, so a file that cannot be read now has just
 * gone. */
static bool read_secrets(struct daemon *daemon)
{
    const struct config *config = daemon->config;

    if (!read_secret(daemon, "redis.password_file", config->redis_password_file,
                     &daemon->redis_password) ||
        !read_secret(daemon, "redis.sentinel_password_file", config->redis_sentinel_password_file,
                     &daemon->redis_sentinel_password) ||
        !read_secret(daemon, "redis.secret_file", config->redis_secret_file, &daemon->redis_value))
        return false;
    take_url_password(config, &daemon->redis_password);
    return true;
}

/* One descriptor a connection, and some for everything else. */
static void raise_fd_limit(struct daemon *daemon)
{
    struct rlimit limit;
    rlim_t wanted = daemon->config->listen_max_connections + 256;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < wanted)
        log_warning(&daemon->log,
                    "only %llu file descriptors are allowed; listen.max_connections needs %llu",
                    (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
}

/* Room for every lookup that may be in flight, its answer, and the other messages. */
static bool open_mailboxes(struct daemon *daemon)
{
    size_t lookups = config_pending_max(daemon->config);
    int error = mailbox_init(&daemon->to_back, lookups + 1024, sizeof(struct to_back));

    if (error == 0)
        error = mailbox_init(&daemon->to_front, 2 * lookups + 1024, sizeof(struct to_front));
    if (error < 0)
        log_error(&daemon->log, "mailbox: %s", strerror(-error));
    return error == 0;
}

static uint64_t random_seed(void)
{
    uint64_t seed;

    arc4random_buf(&seed, sizeof seed);
    return seed;
}

static void on_moved(void *arg, enum socket_role role, int fd)
{
    struct daemon *daemon = arg;

    back_move_listener(daemon->back, role, fd);
}

static void tell_front_cpu(const struct daemon *daemon)
{
    const struct front_cpu *own = &daemon->front_cpu;

    back_set_front_cpu(daemon->back, own->state == FRONT_CPU_HELD, own->losses, own->description);
}

static void on_alive(void *arg, const struct status_snapshot *snapshot)
{
    struct daemon *daemon = arg;

    supervisor_alive(&daemon->supervisor, snapshot);
    front_cpu_look(&daemon->front_cpu, back_log(daemon->back));
    tell_front_cpu(daemon);
    if (daemon->stopping)
        return;
    back_set_sockets_lost(daemon->back, socket_watch_look(&daemon->sockets, back_log(daemon->back),
                                                          on_moved, daemon));
}

static struct key_hasher *make_hasher(struct daemon *daemon)
{
    struct buffer why = {0};
    struct key_hasher *hasher = config_key_hasher(daemon->config, &why, NULL);

    if (!hasher)
        log_error(&daemon->log, "postgres.key_transform_secret_file: %.*s", (int)why.len, why.data);
    buffer_free(&why);
    return hasher;
}

static bool assemble_front(struct daemon *daemon, const struct key_hasher *hasher)
{
    struct config *copy = config_copy(daemon->config);
    struct key_hasher *own = key_hasher_copy(hasher);

    if (!copy || !own) {
        log_error(&daemon->log, "start: out of memory");
        config_free(copy);
        key_hasher_free(own);
        return false;
    }
    struct front_setup front = {
        .config = copy,
        .hasher = own,
        .seed = random_seed(),
        .usage = ledger_half(daemon->storage.ledger, 0),
        .to_back = &daemon->to_back,
        .to_front = &daemon->to_front,
    };
    for (int role = 0; role < SOCKET_ROLES; role++)
        front.fd[role] = daemon->sockets.of[role].fd;
    daemon->front = front_new(&front);
    if (!daemon->front) {
        log_error(&daemon->log,
                  "start: cannot set up the front thread: out of memory, or of file descriptors");
        return false;
    }
    return true;
}

static bool assemble(struct daemon *daemon)
{
    struct key_hasher *hasher = make_hasher(daemon);

    if (!hasher || !assemble_front(daemon, hasher)) {
        key_hasher_free(hasher);
        return false;
    }
    daemon->back = back_new(&(struct back_setup){
        .config = daemon->config,
        .hasher = hasher,
        .config_path = daemon->config_path,
        .log = daemon->log,
        .log_writer = daemon->log_writer,
        .redis_password = secret_slice(&daemon->redis_password),
        .redis_sentinel_password = secret_slice(&daemon->redis_sentinel_password),
        .redis_secret = secret_slice(&daemon->redis_value),
        .ledger = daemon->storage.ledger,
        .half = ledger_half(daemon->storage.ledger, 1),
        .spilled = daemon->storage.spilled,
        .counts = &daemon->storage.counts,
        .spill = daemon->storage.spill,
        .judged = daemon->storage.judged,
        .metrics_fd = daemon->sockets.of[SOCKET_METRICS].fd,
        .on_alive = on_alive,
        .alive_arg = daemon,
        .tick_us = daemon->supervisor.tick_us,
        .to_back = &daemon->to_back,
        .to_front = &daemon->to_front,
    });
    /* back_new() owns both now, or has freed them. */
    daemon->config = NULL;
    daemon->storage.spilled = (struct usage_batch){0};
    if (!daemon->back)
        log_error(&daemon->log,
                  "start: cannot set up the back thread: out of memory, or of file descriptors");
    return daemon->back != NULL;
}

/* The first signal lingers, if that is set, the next one drains, and one more ends the drain at
 * once: unwritten usage is in the ledger. */
static void on_stop(void *arg)
{
    struct daemon *daemon = arg;

    if (daemon->stopping && !back_lingers(daemon->back)) {
        log_warning(&daemon->log, "second signal: stopping at once; usage %s",
                    ledger_look(daemon->storage.ledger) == LEDGER_SAFE
                        ? "is in the ledger"
                        : "that was in memory is lost");
        log_writer_flush(daemon->log_writer, LOG_FLUSH_US);
        _exit(EXIT_FAILURE);
    }
    daemon->stopping = true;
    log_info(&daemon->log, "stopping");
    supervisor_stopping(&daemon->supervisor, back_stop_max_us(daemon->back));
    back_drain(daemon->back);
}

static void on_reload(void *arg)
{
    struct daemon *daemon = arg;

    supervisor_reloading(&daemon->supervisor);
    back_reload(daemon->back);
    supervisor_ready(&daemon->supervisor);
}

static void *run_front(void *arg)
{
    front_run(arg);
    return NULL;
}

static bool start_front(struct daemon *daemon, pthread_t *ret_thread)
{
    int error = thread_start(ret_thread, "apikeyd-front", run_front, daemon->front);

    if (error < 0)
        log_error(&daemon->log, "start: cannot start the front thread: %s", strerror(-error));
    return error == 0;
}

static bool open_log(struct daemon *daemon)
{
    enum log_level level = (enum log_level)daemon->config->log_level;
    enum log_target target = (enum log_target)daemon->config->log_target;
    enum log_format format = (enum log_format)daemon->config->log_format;
    int error = log_writer_start(log_sink_output(target, format), &daemon->log_writer);

    if (error < 0) {
        fprintf(stderr, "apikeyd: the log thread cannot be started: %s\n", strerror(-error));
        return false;
    }
    daemon->log = log_writer_log(daemon->log_writer, level);
    log_hooks_install(daemon->log_writer, level);
    return true;
}

/* Write the last lines, for a limited time: a log that stands still must not delay the end. */
static void close_log(struct daemon *daemon)
{
    log_hooks_remove();
    log_writer_stop(daemon->log_writer, LOG_FLUSH_US);
}

static void stop_front(struct daemon *daemon, pthread_t thread)
{
    struct to_front stop = {.type = TO_FRONT_STOP};

    while (!mailbox_post_reserved(&daemon->to_front, &stop, sizeof stop))
        mailbox_wake(&daemon->to_front);
    mailbox_wake(&daemon->to_front);
    pthread_join(thread, NULL);
}

/* Serve until the drain ends. Returns what handles signals, or NULL when out of memory. */
static struct signals *run_back(struct daemon *daemon)
{
    struct signals *signals = signals_new(&(struct signals_setup){
        .base = back_base(daemon->back),
        .log = back_log(daemon->back),
        .stop = on_stop,
        .reload = on_reload,
        .arg = daemon,
    });
    if (signals) {
        log_info(&daemon->log, "apikeyd %s answers", APIKEYD_VERSION);
        supervisor_ready(&daemon->supervisor);
        back_run(daemon->back);
    } else {
        log_error(&daemon->log,
                  "start: cannot handle signals: out of memory or of file descriptors");
    }
    return signals;
}

static bool serve(struct daemon *daemon)
{
    struct signals *signals = NULL;
    pthread_t thread;

    if (!start_front(daemon, &thread))
        return false;
    if (front_cpu_start(&daemon->front_cpu, thread, back_log(daemon->back))) {
        tell_front_cpu(daemon);
        signals = run_back(daemon);
    }
    stop_front(daemon, thread);
    signals_free(signals);
    return signals != NULL;
}

/* Returns the exit status on failure; every error is on stderr then, as with --check-config. */
static int load_config(struct daemon *daemon, struct buffer *warnings)
{
    struct buffer errors = {0};
    int error = config_check(daemon->config_path, &daemon->config, &errors, warnings);

    fprintf(stderr, "%.*s", (int)errors.len, buffer_held(&errors).at);
    buffer_free(&errors);
    if (error < 0)
        return error == -ENOMEM ? EX_OSERR : EX_CONFIG;
    return EXIT_SUCCESS;
}

/* Warnings about deprecated names wait for the log, which opens after the configuration has been
 * read. */
static void log_warnings(const struct daemon *daemon, struct buffer *warnings)
{
    struct slice rest = buffer_held(warnings), line;

    while (slice_take_line(&rest, &line))
        log_warning(&daemon->log, "%.*s", (int)line.len, line.at);
    buffer_free(warnings);
}

int daemon_run(const char *config_path)
{
    struct daemon daemon = {.config_path = config_path,
                            .to_back = {.wake_fd = -1},
                            .to_front = {.wake_fd = -1},
                            .storage = {.spill_lock_fd = -1}};
    struct buffer warnings = {0};
    bool files_free;
    int status;

    signals_hold();
    sockets_init(&daemon.sockets);
    status = load_config(&daemon, &warnings);
    if (status != EXIT_SUCCESS) {
        buffer_free(&warnings);
        return status;
    }
    if (!open_log(&daemon)) {
        config_free(daemon.config);
        buffer_free(&warnings);
        return EX_OSERR;
    }
    log_warnings(&daemon, &warnings);
    front_cpu_init(&daemon.front_cpu, daemon.config->listen_cpu);
    if (!config_path)
        log_info(&daemon.log, "configuration: there is no file; the environment has the options");
    supervisor_init(&daemon.supervisor);
    /* Events of Lambda authorizers hold keys. */
    json_set_alloc_funcs(malloc, secret_free);
    /* libpq sends it as the session's TimeZone, so that `timestamp` columns hold UTC. */
    setenv("PGTZ", "UTC", 1);
    raise_fd_limit(&daemon);
    status = EX_CONFIG;
    if (!read_secrets(&daemon) || !activation_take(&daemon.sockets, daemon.config, &daemon.log))
        goto done;
    status = EXIT_FAILURE;
    if (!storage_open(&daemon.storage, daemon.config, &daemon.log))
        goto done;
    if (!sockets_listen(&daemon.sockets, daemon.config, &daemon.log))
        goto done;
    status = EX_OSERR;
    if (open_mailboxes(&daemon) && assemble(&daemon) && serve(&daemon))
        status = EXIT_SUCCESS;

done:
    files_free = back_free(daemon.back);
    front_free(daemon.front);
    sockets_close(&daemon.sockets);
    mailbox_done(&daemon.to_back);
    mailbox_done(&daemon.to_front);
    if (files_free)
        storage_close(&daemon.storage);
    config_free(daemon.config);
    supervisor_done(&daemon.supervisor);
    close_log(&daemon);
    explicit_bzero(&daemon, sizeof daemon);
    /* The disk thread still runs, and may write at any moment, or a worker is in a library. */
    if (!files_free || workers_run())
        _exit(status);
    return status;
}
