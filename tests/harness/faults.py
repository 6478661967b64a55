"""What can go wrong around a daemon, each thing begun and ended: for ./dev chaos.

A fault is a generator: it breaks something, yields while it stays broken, and mends it.
"""

import contextlib
import inspect
import os
import shutil
import signal
import subprocess
import threading
import time

import psycopg
import redis
from harness.proxy import POSTGRES, RESET, SILENT, TRICKLE
from harness.servers import wait_until

TABLE = "api.user_api_key"
ROLE = "apikeyd"


class Faults:
    """`changes.lock` is held by whoever changes keys: a server that dies in the middle of a COMMIT
    would leave nobody knowing whether it was one."""

    def __init__(self, rng, world, changes):
        self.rng, self.world, self.changes = rng, world, changes
        self.redis, self.daemons = world.redis, world.daemons

    @property
    def postgres(self):
        """The primary; a failover makes it another one."""
        return self.world.postgres

    def sql(self, *statements):
        with psycopg.connect(self.world.owner, autocommit=True) as db:
            for statement in statements:
                db.execute(statement)

    def end_sessions(self):
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")

    def for_role(self, setting, value):
        """All of the daemons' sessions get this setting, then lose it."""
        self.sql(f"ALTER ROLE {ROLE} SET {setting} = {value}")
        self.end_sessions()
        yield
        self.sql(f"ALTER ROLE {ROLE} RESET {setting}")
        self.end_sessions()

    # PostgreSQL

    def kill_postgres(self):
        for pid in self.postgres.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.postgres.process.child.wait()

    def postgres_killed(self):
        with self.changes.lock:
            self.kill_postgres()
            yield
            self.postgres.start()

    def postgres_stopped(self):
        with self.changes.lock:
            self.postgres.pause()
        yield
        self.postgres.resume()

    def postgres_restarted(self):
        with self.changes.lock:
            self.postgres.stop()
            yield
            self.postgres.start()

    def postgres_full(self):
        """max_connections: sessions that end find no place again."""
        held = []
        for _ in range(2):
            self.end_sessions()
            with contextlib.suppress(psycopg.OperationalError):
                while True:
                    held.append(psycopg.connect(self.world.filler))
        yield
        for session in held:
            session.close()

    def statements_time_out(self):
        yield from self.for_role("statement_timeout", "'1ms'")

    def locks_time_out(self):
        yield from self.for_role("lock_timeout", "'1ms'")

    def postgres_read_only(self):
        """As on a standby, as far as writing goes."""
        yield from self.for_role("default_transaction_read_only", "on")

    def grant_lost(self):
        self.sql(f"REVOKE ALL ON {TABLE} FROM {ROLE}")
        yield
        self.sql(f"GRANT SELECT ON {TABLE} TO {ROLE}",
                 f"GRANT UPDATE (last_used, updated_at) ON {TABLE} TO {ROLE}")

    def table_gone(self):
        with self.changes.lock:
            self.sql(f"ALTER TABLE {TABLE} RENAME TO elsewhere")
            yield
            self.sql("ALTER TABLE api.elsewhere RENAME TO user_api_key")

    def table_locked(self):
        with self.changes.lock, psycopg.connect(self.world.owner) as db:
            db.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
            yield

    def row_security(self):
        """Every row is hidden, and no error says so."""
        self.sql(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        yield
        self.sql(f"ALTER TABLE {TABLE} DISABLE ROW LEVEL SECURITY")

    def view_in_its_place(self):
        with self.changes.lock:
            self.sql(f"BEGIN; ALTER TABLE {TABLE} RENAME TO hidden; "
                     f"CREATE VIEW {TABLE} AS SELECT * FROM api.hidden WHERE false; "
                     f"GRANT SELECT, UPDATE ON {TABLE} TO {ROLE}; COMMIT")
            yield
            self.sql(f"BEGIN; DROP VIEW {TABLE}; ALTER TABLE api.hidden RENAME TO user_api_key; COMMIT")

    def hostile_role(self):
        """Notifications that are made up, as fast as they can be, and overloads of functions."""
        stop = threading.Event()

        def flood():
            with psycopg.connect(self.world.filler, autocommit=True) as db:
                db.execute("CREATE OR REPLACE FUNCTION public.concat_ws(text, oid, xid) RETURNS text "
                           "LANGUAGE sql AS $$ SELECT 'always the same' $$")
                while not stop.is_set():
                    db.execute("SELECT count(pg_notify('apikeyd_key', md5(random()::text))) "
                               "FROM generate_series(1, 1000)")
                    db.execute("NOTIFY apikeyd_key, '*'")
                    stop.wait(0.02)
        thread = threading.Thread(target=flood)
        thread.start()
        yield
        stop.set()
        thread.join()

    def queue_full(self):
        """As far as the trigger can tell; filling a real queue by half takes 4 GB."""
        name = "'apikeyd.note_unannounced_change'::regproc"
        with psycopg.connect(self.world.owner, autocommit=True) as db:
            right = db.execute(f"SELECT pg_get_functiondef({name})").fetchone()[0]
            with self.changes.lock:
                db.execute(right.replace("pg_notification_queue_usage() <= 0.5", "false"))
            yield
            with self.changes.lock:
                db.execute(right)

    def lead_to(self, server):
        """The daemons' line leads to another server, for sessions that begin from now on."""
        line = self.world.postgres_line
        line.server = str(server.folder / POSTGRES)
        line.become(RESET)
        time.sleep(0.1)
        line.speak()

    def standby_reads(self):
        """Lookups, link and usage are led to a standby that lags behind."""
        with psycopg.connect(self.world.standby.dsn("chaos"), autocommit=True) as standby:
            standby.execute("SELECT pg_wal_replay_pause()")
            self.lead_to(self.world.standby)
            yield
            self.lead_to(self.world.postgres)
            standby.execute("SELECT pg_wal_replay_resume()")

    def failover(self):
        """The primary falls silent and is killed, the standby is promoted. What the daemons had
        committed has reached the standby, so nothing is lost but what was under way."""
        world = self.world
        with self.changes.lock:
            world.postgres_line.silence()
            with psycopg.connect(world.owner, autocommit=True) as old, \
                    psycopg.connect(world.standby.dsn("chaos"), autocommit=True) as new:
                wait_until(lambda: new.execute(
                    "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn",
                    old.execute("SELECT pg_current_wal_lsn()::text").fetchone()).fetchone()[0],
                    "the standby to have it all")
            self.kill_postgres()
            with psycopg.connect(world.standby.dsn("chaos"), autocommit=True) as new:
                assert new.execute("SELECT pg_promote()").fetchone()[0]
            world.postgres, world.standby = world.standby, world.postgres
            self.lead_to(world.postgres)
        yield
        shutil.rmtree(world.standby.data)
        world.standby.process = None
        world.standby.make(world.postgres)
        world.standby.start()

    # Redis

    def redis_client(self):
        return redis.Redis(unix_socket_path=str(self.redis.socket), single_connection_client=True)

    def redis_with(self, name, value, back, hang_up=False):
        with self.redis_client() as client:
            client.config_set(name, value)
            if hang_up:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            yield
            client.config_set(name, back)

    def redis_killed(self):
        self.redis.process.child.kill()
        self.redis.process.child.wait()
        yield
        self.redis.start()

    def redis_stopped(self):
        self.redis.pause()
        yield
        self.redis.resume()

    def redis_restarted(self):
        self.redis.stop()
        yield
        self.redis.start()

    def redis_forgets(self):
        with self.redis_client() as client:
            client.flushall()
        yield

    def redis_full(self):
        yield from self.redis_with("maxmemory", 1, 0)

    def redis_wants_a_password(self):
        yield from self.redis_with("requirepass", "other", "", hang_up=True)

    def redis_a_replica(self):
        """Of nobody: it refuses writes."""
        with self.redis_client() as client:
            client.replicaof("127.0.0.1", "1")
            yield
            client.replicaof("NO", "ONE")

    def redis_loading(self):
        """It comes back with what it held before, and takes its time to read it."""
        with self.redis_client() as client:
            client.save()
        self.redis.stop()
        self.redis.settings = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
        self.redis.start()
        yield
        wait_until(self.redis_loaded, "Redis to have loaded")
        self.redis.settings = ()

    def redis_loaded(self):
        with contextlib.suppress(redis.exceptions.ConnectionError), self.redis_client() as client:
            return not client.info()["loading"]

    def redis_busy(self):
        """-BUSY: a script that does not end."""
        def script():
            with contextlib.suppress(redis.exceptions.RedisError), self.redis_client() as client:
                client.config_set("busy-reply-threshold", 50)
                client.eval("while true do end", 0)
        thread = threading.Thread(target=script)
        thread.start()
        yield
        with self.redis_client() as client:
            def killed():
                with contextlib.suppress(redis.exceptions.RedisError):
                    client.script_kill()
                return not thread.is_alive()
            wait_until(killed, "the script to end")

    # What is in between

    def line(self, proxy, mode):
        proxy.become(mode)
        yield
        proxy.speak()

    def postgres_line_silent(self):
        yield from self.line(self.world.postgres_line, SILENT)

    def postgres_line_resets(self):
        yield from self.line(self.world.postgres_line, RESET)

    def postgres_line_trickles(self):
        yield from self.line(self.world.postgres_line, TRICKLE)

    def redis_line_silent(self):
        yield from self.line(self.world.redis_line, SILENT)

    def redis_line_resets(self):
        yield from self.line(self.world.redis_line, RESET)

    def redis_line_trickles(self):
        yield from self.line(self.world.redis_line, TRICKLE)

    # The daemon, and what it writes to

    def daemon_killed(self):
        daemon = self.rng.choice(self.daemons)
        with daemon.restarting:
            daemon.kill()
            daemon.begin_again()
        yield

    def daemon_restarted(self):
        daemon = self.rng.choice(self.daemons)
        with daemon.restarting:
            status = daemon.stop()
            assert status == 0, (status, daemon.log())
            daemon.begin_again()
        yield

    def daemon_stopped(self):
        daemon = self.rng.choice(self.daemons)
        daemon.process.pause()
        yield
        daemon.process.resume()

    def filled(self, folder):
        """The file system of `folder` has no room left."""
        filler = folder / "filler"
        with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        yield
        filler.unlink()

    def ledgers_disk_full(self):
        yield from self.filled(self.rng.choice(self.daemons).ledger.parent)

    def spills_disk_full(self):
        """While usage has to be spilled."""
        refusing = self.postgres_read_only()
        next(refusing)
        yield from self.filled(self.rng.choice(self.daemons).spill.parent)
        next(refusing, None)

    def spills_disk_read_only(self):
        """A mount on top: the one below is in use, and stays as it is."""
        folder = self.rng.choice(self.daemons).spill.parent
        refusing = self.postgres_read_only()
        next(refusing)
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
        subprocess.run(["umount", folder], check=True)
        next(refusing, None)


def names(rng, disks):
    """Of the faults, those of disks or not, again and again, each once before any comes twice."""
    kinds = [name for name, value in vars(Faults).items()
             if inspect.isgeneratorfunction(value) and name not in ("for_role", "redis_with", "line", "filled")
             and (disks or "_disk_" not in name)]
    while True:
        rng.shuffle(kinds)
        yield from kinds
