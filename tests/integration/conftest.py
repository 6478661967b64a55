"""Real PostgreSQL and Redis for a whole run; a database and daemons of its own for each test."""

import getpass
import itertools
import os
import random
import shutil
import signal
import struct
import time
import uuid
from collections import Counter
from datetime import datetime, timezone

import arm64
import psycopg
import pytest
import redis
from harness.activation import Notifications
from harness.confined import allowed_calls
from harness.servers import (BUILD, ROOT, Apikeyd, Postgres, Process, Redis, Scratch, accepts,
                             migrate, postgres_user, wait_until)
from http_wire import HttpWire

names = itertools.count(1)


@pytest.fixture(scope="session")
def scratch():
    folder = Scratch()
    yield folder.path
    folder.remove()


@pytest.fixture(scope="session", autouse=True)
def runner(scratch):
    """The release build runs under the unit's filter of system calls, the build arm64 under qemu; with
    APIKEYD_VALGRIND set, each build under valgrind, which makes a daemon exit with 99 for what it finds."""
    if os.environ.get("APIKEYD_VALGRIND"):
        Apikeyd.runner = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
                          "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
    elif BUILD.name == "release":
        calls = scratch / "calls"
        calls.write_text("\n".join(allowed_calls()))
        Apikeyd.runner = ["/usr/bin/python3", "-I", ROOT / "tests" / "harness" / "confined.py", calls]
    elif BUILD.name == "arm64":
        Apikeyd.runner = arm64.RUNNER


@pytest.fixture(scope="session")
def postgres(scratch):
    server = Postgres(scratch / "pg", ["shared_preload_libraries=pg_stat_statements"])
    try:
        server.start()
        server.create_database("migrated")
        done = migrate(server.uri("migrated"))
        assert done.returncode == 0, done.stdout + done.stderr
        with psycopg.connect(server.dsn("migrated"), autocommit=True) as db:
            db.execute("CREATE EXTENSION pg_stat_statements")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_session(scratch):
    server = Redis(scratch / "redis")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_server(redis_session):
    """Empty at first; running and not paused after the test, whatever it did."""
    redis_session.client().flushall()
    yield redis_session
    if redis_session.process is None:
        redis_session.start()
    redis_session.resume()


@pytest.fixture
def figure(record_property):
    """figure(name, value) prints a figure and puts it into the run's results, where ./dev bench tests finds it."""
    def run(name, value):
        print(f"{name}: {value:,.6g}")
        record_property(name, value)
    return run


class Database:
    """One test's database and shorthand for what tests look at in it."""

    def __init__(self, server, name):
        self.server = server
        self.name = name
        self.dsn = server.dsn(name, "apikeyd")
        self.admin_dsn = server.dsn(name)
        self.user_id = uuid.uuid4()

    def connect(self, **options):
        options.setdefault("autocommit", True)
        return psycopg.connect(self.admin_dsn, options="-c timezone=UTC", **options)

    def run(self, sql, *params):
        with self.connect() as db:
            cursor = db.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else None

    def one(self, sql, *params):
        return self.run(sql, *params)[0][0]

    def add_user(self, user_id=None):
        user_id = user_id or self.user_id
        self.run('INSERT INTO api."user" (user_id) VALUES (%s)', user_id)
        return user_id

    def add_key(self, key, active=True, **columns):
        """Insert a key; its api_key_id is returned."""
        columns = {"api_key_id": uuid.uuid4(), "key_name": "test", "key_id": key,
                   "user_id": self.user_id, "is_active": active, **columns}
        places = ", ".join(["%s"] * len(columns))
        self.run(f"INSERT INTO api.user_api_key ({', '.join(columns)}) VALUES ({places})",
                 *columns.values())
        return columns["api_key_id"]

    def add_keys(self, count, prefix="key-"):
        """Insert many active keys: "<prefix>0" and so on."""
        self.run("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id) "
                 "SELECT gen_random_uuid(), 'bulk', %s || n, %s FROM generate_series(0, %s) AS n",
                 prefix, self.user_id, count - 1)

    def last_used(self, key):
        return self.one("SELECT last_used FROM api.user_api_key WHERE key_id = %s", key)

    def row(self, key):
        return self.run("SELECT * FROM api.user_api_key WHERE key_id = %s", key)[0]

    def set_active(self, key, active):
        self.run("UPDATE api.user_api_key SET is_active = %s WHERE key_id = %s", active, key)

    def silence(self):
        """No change is notified any more."""
        self.run("ALTER TABLE api.user_api_key DISABLE TRIGGER USER")

    def reset_statements(self):
        self.run("SELECT pg_stat_statements_reset()")

    def statements(self, start):
        """How often statements that start so were run in this database since the reset."""
        return self.one("SELECT coalesce(sum(calls), 0)::int FROM pg_stat_statements "
                        "WHERE query LIKE %s AND dbid = (SELECT oid FROM pg_database "
                        "WHERE datname = current_database())", start + "%")


LOOKUP = "SELECT t."
USAGE = "WITH pending"


def drop_database(server, name):
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def db(postgres):
    """A migrated database with one user."""
    name = f"test{next(names)}"
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
        # Half the work of the default strategy, which writes all pages to the WAL.
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE migrated STRATEGY file_copy')
    database = Database(postgres, name)
    database.add_user()
    yield database
    if postgres.process is None:
        postgres.start()
    postgres.resume()
    drop_database(postgres, name)


@pytest.fixture
def pgbouncer(postgres, scratch, db):
    """PgBouncer in transaction mode with fewer server connections than the daemon has."""
    folder = scratch / f"pgbouncer-{db.name}"
    folder.mkdir()
    user = postgres_user() or getpass.getuser()
    (folder / "users.txt").write_text('"apikeyd" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n{db.name} = host={postgres.folder} dbname={db.name} user=apikeyd\n"
        f"[pgbouncer]\nlisten_port = 6432\nlisten_addr =\nunix_socket_dir = {folder}\n"
        f"auth_type = trust\nauth_file = {folder}/users.txt\npool_mode = transaction\n"
        f"default_pool_size = 2\nserver_check_query = select 1\nlogfile =\n")
    if os.geteuid() == 0:
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user)
    process = Process(["/usr/sbin/pgbouncer", folder / "pgbouncer.ini"],
                      folder.with_suffix(".log"), postgres_user())
    wait_until(lambda: accepts(folder / ".s.PGSQL.6432"), "PgBouncer")
    yield f"host={folder} port=6432 user=apikeyd dbname={db.name}"
    process.stop(signal.SIGKILL)  # from 1.23 on a SIGTERM waits for clients


def sanitizer_reports(log):
    return [line for line in log.splitlines()
            if "Sanitizer" in line or "runtime error:" in line]


@pytest.fixture
def start(scratch, db, redis_server):
    """start({"section.option": value}) runs a daemon that is connected to its stores, unless
    settled=False. `inside` is the start of a command line that runs the rest of it. All are stopped after the test, must exit with 0 and must not have been reported
    by a sanitizer. It waits for stores so long that only those that hang are late: on a slow machine the
    daemon's own defaults would make healthy ones late. Tests about late stores set the times."""
    daemons = []

    def run(options=None, env=None, wait=True, settled=True, inside=()):
        daemon = Apikeyd(scratch / f"d{next(names)}", {
            "postgres.dsn": db.dsn,
            "redis.url": redis_server.url(),
            "postgres.timeout": "30s",
            "redis.timeout": "10s",
            "usage.flush_interval": "1h",
            "cache.memory": "4MiB",
            "cache.negative_memory": "1MiB",
            **(options or {}),
        }, env={"TSAN_OPTIONS": "halt_on_error=1", **(env or {})})
        daemon.runner = [*inside, *Apikeyd.runner]
        daemons.append(daemon)
        if wait:
            daemon.start()
        if wait and settled:
            wait_until(daemon.settled, "the daemon to be connected")
        return daemon

    yield run
    for daemon in daemons:
        log_path = daemon.folder / "apikeyd.log"
        if daemon.process is not None:
            assert daemon.stop() == 0, daemon.log()
        log = log_path.read_text(errors="replace") if log_path.exists() else ""
        assert not sanitizer_reports(log), log


@pytest.fixture
def daemon(start):
    return start()


@pytest.fixture
def serve(scratch, db, start):
    """serve({options}) starts a daemon with an HTTP socket, and returns both."""
    def run(options=None, **rest):
        path = scratch / f"{db.name}.http"
        return start({"listen.http": path, **(options or {})}, **rest), path
    return run


@pytest.fixture
def wire(db, serve):
    db.add_key("good")
    db.add_key("off", active=False)
    daemon, path = serve()
    with HttpWire(path) as client:
        client.daemon, client.path = daemon, path
        yield client


@pytest.fixture
def notified(scratch, start):
    """notified({…}, watchdog=seconds): a daemon that a systemd of ours is told by."""
    opened = []

    def run(options=None, watchdog=None, **rest):
        notifications = Notifications(scratch / f"notify-{uuid.uuid4().hex[:8]}")
        opened.append(notifications)
        env = {"NOTIFY_SOCKET": str(notifications.path)}
        if watchdog:
            env["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        return start(options, env=env, **rest), notifications
    yield run
    for notifications in opened:
        notifications.close()


def check(client, key, *rest):
    return client.execute_command("CHECK", key, *rest)


def answer(client, key):
    """The same, or ["UNAVAILABLE", why]: where a lookup may fail, as after an outage, when sessions come back one after
    the other, or where postgres.timeout is so short that a busy machine exceeds it."""
    try:
        return check(client, key)
    except redis.ResponseError as error:
        kind, _, why = str(error).partition(" ")
        assert kind == "UNAVAILABLE", error
        return [kind, why]


def known(client, key):
    """The first answer that is not UNAVAILABLE."""
    return wait_until(lambda: [found for found in [answer(client, key)] if found[0] != "UNAVAILABLE"],
                      f"an answer about {key}")[0]


def info(daemon):
    return daemon.admin_client().info()


def has_heard_of(daemon, changes):
    """It has been notified of so many changes. A notification may come after a lookup that has seen the change, and
    then memory forgets the verdict: whoever counts on memory waits for it."""
    wait_until(lambda: info(daemon)["feed_notifications"] >= changes, "the notifications")


def explain(daemon, key):
    fields = daemon.admin_client().execute_command("EXPLAIN", key)
    return dict(zip(fields[::2], fields[1::2]))


def flush(daemon):
    return daemon.admin_client().execute_command("FLUSH")


def utc_now():
    return datetime.now(timezone.utc).replace(tzinfo=None)


def play_enough(play, seconds, enough):
    """Counts of what happened in play(folder, seconds, seed), none of it wrong. It is played again while
    it was not enough(counts): how much happens in so many seconds depends on the machine."""
    seed = os.environ.get("APIKEYD_SEED") or str(random.getrandbits(32))
    counts = Counter()
    for again in range(5):
        this_seed = f"{seed}.{again}" if again else seed
        print(f"seed {this_seed}: APIKEYD_SEED={this_seed} plays it again")
        scratch = Scratch()
        try:
            wrong, found = play(scratch.path, seconds, this_seed)
        finally:
            scratch.remove()
        print(dict(found))
        assert not wrong
        counts.update(found)
        if enough(counts):
            return
    raise AssertionError(f"too little has happened: {dict(counts)}")


def let_redis_be_fresh():
    """What is written to Redis from now on is fresh for daemons that are up, for at least ten seconds.

    A daemon takes nothing from Redis that may be from before its feed came up. It dates what it finds
    there by PostgreSQL's clock: to what a round trip takes, and an eighth of the time that has passed
    since it read that clock, and an eighth of the age."""
    time.sleep(2)


def spilled(daemon):
    """How many keys' usage the spill file holds: its header says so."""
    try:
        return struct.unpack_from("<Q", daemon.spill.read_bytes(), 24)[0]
    except FileNotFoundError:
        return 0
