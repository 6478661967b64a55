"""Two real PostgreSQL servers in streaming replication, one of which can fail and the other take over.

A cluster is migrated once (`template`) and copied for each node, which takes less time than initdb and
pg_basebackup; so all nodes have one system identifier, as servers in replication do."""

import contextlib
import getpass
import os
import re
import shutil
import signal
import subprocess
import sysconfig
from pathlib import Path

import psycopg
from harness.servers import Postgres, Process, accepts, migrate, postgres_user, wait_until

DATABASE, TABLE = "app", "api.user_api_key"
# Shared memory is kept in the data directory, so that nothing of it outlives a server that was killed.
SETTINGS = ["dynamic_shared_memory_type=mmap", "wal_keep_size=128MB", "wal_retrieve_retry_interval=100ms",
            "log_connections=on", "log_statement=all", "log_line_prefix=%u ", "shared_buffers=32MB"]
FAKETIME = f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/faketime/libfaketime.so.1"
STORE = f"""SELECT format('%s/%s/%s/%s', system_identifier,
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int,
    (SELECT oid FROM pg_database WHERE datname = current_database()), '{TABLE}'::regclass::oid)
    FROM pg_control_system()"""


def template(folder):
    """A stopped cluster with a migrated database, and a role for the change feed."""
    server = Postgres(folder, SETTINGS)
    try:
        server.start()
        server.create_database(DATABASE)
        done = migrate(server.uri(DATABASE))
        assert done.returncode == 0, done.stdout + done.stderr
        with psycopg.connect(server.dsn(DATABASE), autocommit=True) as db:
            db.execute("CREATE ROLE feed LOGIN")
    finally:
        server.stop()
    return server


class Node(Postgres):
    """A copy of `cluster`, a primary until it follows another one."""

    def __init__(self, folder, cluster):
        self.cluster = cluster
        super().__init__(folder, SETTINGS)

    def make(self, primary):
        subprocess.run(["cp", "-a", self.cluster.data, self.data], check=True)

    def run(self, sql, *params, database=DATABASE):
        with psycopg.connect(self.dsn(database), autocommit=True) as db:
            cursor = db.execute(sql, params or None)
            return cursor.fetchall() if cursor.description else None

    def one(self, sql, *params):
        return self.run(sql, *params)[0][0]

    def follow(self, primary, *settings):
        """Be its standby from the next start on, with settings of a standby's own."""
        (self.data / "standby.signal").touch()
        if self.user:
            shutil.chown(self.data / "standby.signal", self.user)
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as conf:
            conf.write(f"primary_conninfo = 'host={primary.folder} user=postgres'\n")
            conf.writelines(f"{setting}\n" for setting in settings)

    def rejoin(self, primary, *settings):
        """Come back as a standby, from a new base backup."""
        shutil.rmtree(self.data)
        super().make(primary)
        self.follow(primary, *settings)
        self.start()

    def crash(self):
        """What is left is what was written, as when the machine fails."""
        self.process.stop(signal.SIGQUIT)
        self.process = None

    def promote(self):
        assert self.one("SELECT pg_promote()")

    def set_clock(self, offset):
        """By how much its clock is wrong from the next start on: "-1h"."""
        self.env = {**os.environ, "LD_PRELOAD": FAKETIME, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def start(self):
        super().start()
        if self.env:
            for left in Path("/dev/shm").glob(f"*faketime_*_{self.process.pid}"):
                left.unlink(missing_ok=True)  # libfaketime seldom does, and needs the name no more

    def stop_receiving(self):
        """WAL does not come any more; what has come stays."""
        self.run("ALTER SYSTEM SET primary_conninfo = ''", database="postgres")
        self.run("SELECT pg_reload_conf()")
        wait_until(lambda: self.one("SELECT count(*) = 0 FROM pg_stat_wal_receiver"), "the WAL receiver to end")

    def pause_replay(self):
        self.run("SELECT pg_wal_replay_pause()")
        wait_until(lambda: self.one("SELECT pg_get_wal_replay_pause_state() = 'paused'"), "replay to pause")

    def has_all_of(self, primary):
        """Whether it has replayed what is now on the primary."""
        return self.one("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn",
                        primary.one("SELECT pg_current_wal_lsn()::text"))

    def store(self):
        """What INFO calls a primary."""
        return self.one(STORE)

    def cut(self, *roles):
        """End the roles' sessions."""
        self.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY(%s)", list(roles))

    def sessions(self, role):
        return self.one("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", role)

    def connections(self, role):
        """How many there have been since the first start."""
        return self.log().count(f"connection authorized: user={role} ")

    def statements(self, role):
        """The same of statements, but for the SET that PgBouncer begins with."""
        return len(re.findall(rf"^{role} LOG:  (?:execute|statement)[^:]*: (?!SET )", self.log(), re.MULTILINE))

    def log(self):
        return self.folder.with_suffix(".log").read_text(errors="replace")


class Pair:
    """`a` is the primary, `b` its standby."""

    def __init__(self, folder, cluster):
        self.folder = folder
        self.a, self.b = Node(folder / "a", cluster), Node(folder / "b", cluster)

    def start(self, *settings):
        """With settings of the standby's own."""
        self.a.start()
        self.b.follow(self.a, *settings)
        self.b.start()
        wait_until(lambda: self.a.one("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"),
                   "replication")

    def fail_over(self):
        """The primary fails, and the standby takes over."""
        self.a.crash()
        self.b.promote()

    def dsn(self, database=DATABASE, user="postgres"):
        """Both, the first primary first."""
        return f"host={self.a.folder},{self.b.folder} user={user} dbname={database}"

    def stop(self):
        for node in (self.b, self.a):
            if node.process:
                with contextlib.suppress(ProcessLookupError):
                    node.resume()
                node.process.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


class Bouncer:
    """PgBouncer in transaction mode, whose database `app` can be pointed elsewhere while clients stay."""

    def __init__(self, folder):
        self.folder = folder
        self.process = None
        folder.mkdir()

    def write(self, server, database):
        user = postgres_user() or getpass.getuser()
        (self.folder / "users.txt").write_text('"apikeyd" ""\n"postgres" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n{DATABASE} = host={server.folder} dbname={database} user=apikeyd\n"
            f"[pgbouncer]\nlisten_port = 6432\nlisten_addr =\nunix_socket_dir = {self.folder}\n"
            f"auth_type = trust\nauth_file = {self.folder}/users.txt\nadmin_users = postgres\n"
            f"pool_mode = transaction\ndefault_pool_size = 2\nserver_login_retry = 0.2\nlogfile =\n")
        if os.geteuid() == 0:
            for path in (self.folder, self.folder / "users.txt", self.folder / "pgbouncer.ini"):
                shutil.chown(path, user)

    def start(self, server, database=DATABASE):
        self.write(server, database)
        self.process = Process(["/usr/sbin/pgbouncer", self.folder / "pgbouncer.ini"],
                               self.folder.with_suffix(".log"), postgres_user())
        wait_until(lambda: accepts(self.folder / ".s.PGSQL.6432"), "PgBouncer")

    def point_to(self, server, database=DATABASE):
        self.write(server, database)
        with psycopg.connect(self.dsn("postgres", "pgbouncer"), autocommit=True) as console:
            console.execute("RELOAD")
            console.execute("WAIT_CLOSE")  # connections to where it was pointed before

    def dsn(self, user="apikeyd", database=DATABASE):
        return f"host={self.folder} port=6432 user={user} dbname={database}"

    def stop(self):
        """At once: from 1.23 on a SIGTERM waits for clients."""
        if self.process:
            with (contextlib.suppress(psycopg.OperationalError),
                  psycopg.connect(self.dsn("postgres", "pgbouncer"), autocommit=True) as console):
                console.execute("SHUTDOWN")
            self.process.stop()
