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
from harness.random_coherence import add_unseen, not_denied
from harness.servers import wait_until

TABLE = "api.user_api_key"
REDIS_NAME, LOOPBACK = "redis.test", "127.0.0.1"
ROLE = "apikeyd"
QUEUE = "pg_catalog.pg_notification_queue_usage"
QUEUE_BYTES = 6 << 30  # room for a notification queue that is more than half full: 4.3 GB
# What a role without rights may make, in the hope that a statement finds it before PostgreSQL's own.
OVERLOADS = ("concat_ws(text, oid, xid) RETURNS text LANGUAGE sql AS $$ SELECT 'always the same' $$",
             "sha256(bytea) RETURNS bytea LANGUAGE sql AS $$ SELECT ''::bytea $$",
             "pg_notify(text, text) RETURNS void LANGUAGE sql AS $$ SELECT $$",
             "pg_notification_queue_usage() RETURNS float8 LANGUAGE sql AS $$ SELECT 0::float8 $$")


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

    def unseen(self):
        with psycopg.connect(self.world.owner, autocommit=True) as db:
            return add_unseen(db, self.world.users[0])

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
        key = self.unseen()
        self.sql(f"REVOKE ALL ON {TABLE} FROM {ROLE}")
        yield
        not_denied(self.daemons, key)
        self.sql(f"GRANT SELECT ON {TABLE} TO {ROLE}",
                 f"GRANT UPDATE (last_used, updated_at) ON {TABLE} TO {ROLE}")

    def table_gone(self):
        key = self.unseen()
        with self.changes.lock:
            self.sql(f"ALTER TABLE {TABLE} RENAME TO elsewhere")
            yield
            not_denied(self.daemons, key)
            self.sql("ALTER TABLE api.elsewhere RENAME TO user_api_key")

    def table_locked(self):
        with self.changes.lock, psycopg.connect(self.world.owner) as db:
            db.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
            yield

    def row_security(self):
        """Every row is hidden, and no error says so."""
        key = self.unseen()
        self.sql(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        yield
        not_denied(self.daemons, key)
        self.sql(f"ALTER TABLE {TABLE} DISABLE ROW LEVEL SECURITY")

    def view_in_its_place(self):
        key = self.unseen()
        with self.changes.lock:
            self.sql(f"BEGIN; ALTER TABLE {TABLE} RENAME TO hidden; "
                     f"CREATE VIEW {TABLE} AS SELECT * FROM api.hidden WHERE false; "
                     f"GRANT SELECT, UPDATE ON {TABLE} TO {ROLE}; COMMIT")
            yield
            not_denied(self.daemons, key)
            self.sql(f"BEGIN; DROP VIEW {TABLE}; ALTER TABLE api.hidden RENAME TO user_api_key; COMMIT")

    def hostile_role(self):
        """Notifications that are made up, as fast as they can be, and overloads of functions."""
        stop = threading.Event()

        def flood():
            with psycopg.connect(self.world.filler, autocommit=True) as db:
                for overload in OVERLOADS:
                    db.execute(f"CREATE OR REPLACE FUNCTION public.{overload}")
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

    def queue_seen_full(self):
        """As far as trigger and heartbeats can tell. The sessions that change keys begin anew: they hold
        on to the function that they have found once."""
        with self.changes.lock:
            self.sql(f"BEGIN; ALTER FUNCTION {QUEUE}() RENAME TO queue_usage; "
                     f"CREATE FUNCTION {QUEUE}() RETURNS float8 LANGUAGE sql AS 'SELECT 0.75::float8'; COMMIT")
            self.changes.db.close()
        yield
        with self.changes.lock:
            self.sql(f"BEGIN; DROP FUNCTION {QUEUE}(); "
                     f"ALTER FUNCTION pg_catalog.queue_usage() RENAME TO {QUEUE.partition('.')[2]}; COMMIT")
            self.changes.db.close()

    def queue_full(self):
        """The real one, by a role without rights: a session that listens and sits in a transaction, while
        another one fills it."""
        with psycopg.connect(self.world.filler, autocommit=True) as db:
            with psycopg.connect(self.world.filler, autocommit=True) as holder:
                holder.execute("LISTEN nothing")
                holder.execute("BEGIN")
                holder.execute("SELECT 1")
                self.notify_until(db, lambda usage: usage > 0.51)
                yield
                holder.close()  # a COMMIT would read it all
            self.notify_until(db, lambda usage: usage < 0.1)

    def notify_until(self, db, enough):
        """Each round is some pages of the queue, short enough that no COMMIT waits for long."""
        while not enough(db.execute(f"SELECT {QUEUE}()").fetchone()[0]):
            db.execute("SELECT count(pg_notify('filling', i || repeat('x', 7900))) FROM generate_series(1, 2000) i")

    def room_for_queue(self):
        with open("/proc/meminfo", encoding="ascii") as lines:
            memory = dict(line.split(":") for line in lines)["MemAvailable"]
        return min(shutil.disk_usage(self.postgres.data).free, int(memory.split()[0]) << 10) > QUEUE_BYTES

    def lead_to(self, server, *lines):
        """These lines lead to another server; sessions begin anew."""
        for line in lines:
            line.server = str(server.folder / POSTGRES)
            line.become(RESET)
        time.sleep(0.1)
        for line in lines:
            line.speak()

    def standby_reads(self):
        """Lookups are led to a standby that lags behind, and the feed with them or not."""
        lines = self.rng.choice([[self.world.lookups_line], [self.world.lookups_line, self.world.feed_line]])
        with psycopg.connect(self.world.standby.dsn("chaos"), autocommit=True) as standby:
            standby.execute("SELECT pg_wal_replay_pause()")
            wait_until(lambda: standby.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",),
                       "replay to pause")
            key = self.unseen()
            self.lead_to(self.world.standby, *lines)
            yield
            not_denied(self.daemons, key)
            self.lead_to(self.world.postgres, *lines)
            standby.execute("SELECT pg_wal_replay_resume()")

    def failover(self):
        """The standby has all that was committed, so nothing is lost but what was under way."""
        with self.changes.lock:
            for line in self.world.postgres_lines:
                line.silence()
            with psycopg.connect(self.world.owner, autocommit=True) as old, \
                    psycopg.connect(self.world.standby.dsn("chaos"), autocommit=True) as new:
                wait_until(lambda: new.execute(
                    "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn",
                    old.execute("SELECT pg_current_wal_lsn()::text").fetchone()).fetchone()[0],
                    "the standby to have it all")
            lost = self.take_over()
            assert not lost, f"lost though the standby had it all: {lost}"
        yield
        self.make_standby()

    def failover_loses(self):
        """The standby does not get the last changes. What stands in its rows is right from then on, and
        last_used may be as old as it is there."""
        with psycopg.connect(self.world.standby.dsn("chaos"), autocommit=True) as standby:
            standby.execute("ALTER SYSTEM SET primary_conninfo = ''")
            standby.execute("SELECT pg_reload_conf()")
            wait_until(lambda: standby.execute("SELECT count(*) FROM pg_stat_wal_receiver").fetchone() == (0,),
                       "the WAL receiver to end")
        time.sleep(self.rng.uniform(0.1, 1))
        with self.changes.lock:
            self.take_over()
            self.world.usage_since = time.time()
        yield
        self.make_standby()

    def take_over(self):
        """The primary is killed, the standby promoted. What was changed and is lost is returned."""
        world, since = self.world, time.monotonic()
        with self.changes.held():
            self.kill_postgres()
            with psycopg.connect(world.standby.dsn("chaos"), autocommit=True) as new:
                assert new.execute("SELECT pg_promote()").fetchone()[0]
            world.postgres, world.standby = world.standby, world.postgres
            lost = self.changes.look_again(since)
        self.lead_to(world.postgres, world.lookups_line, world.feed_line)
        for line in world.postgres_lines:
            line.speak()
        return lost

    def make_standby(self):
        """Of what was the primary."""
        standby = self.world.standby
        shutil.rmtree(standby.data)
        standby.process = None
        standby.make(self.world.postgres)
        standby.start()

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
            # Made-up notifications leave thousands of tombstones: all of it shall take two seconds at most.
            delay_us = min(20000, 2000000 // max(client.dbsize(), 1))
        self.redis.stop()
        settings = self.redis.settings
        self.redis.settings = (*settings, "--key-load-delay", str(delay_us),
                               "--loading-process-events-interval-bytes", "1024")
        self.redis.start()
        yield
        wait_until(self.redis_loaded, "Redis to have loaded")
        self.redis.settings = settings

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

    def redis_name(self, *addresses):
        """It leads elsewhere, or is known to a name server only, which says nothing."""
        names = self.world.names
        names.say({REDIS_NAME: addresses} if addresses else {})
        with self.redis_client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        yield
        names.say({REDIS_NAME: [LOOPBACK]})

    def redis_name_moved(self):
        yield from self.redis_name("127.9.9.9")

    def redis_name_with_two_addresses(self):
        yield from self.redis_name("::1", LOOPBACK)

    def redis_name_unanswered(self):
        yield from self.redis_name()

    # What is in between

    def lines(self, proxies, mode):
        for proxy in proxies:
            proxy.become(mode)
        yield
        for proxy in proxies:
            proxy.speak()

    def postgres_line(self, mode):
        """All of them, or one."""
        lines = self.world.postgres_lines
        yield from self.lines(self.rng.choice([lines, [self.rng.choice(lines)]]), mode)

    def postgres_line_silent(self):
        yield from self.postgres_line(SILENT)

    def postgres_line_resets(self):
        yield from self.postgres_line(RESET)

    def postgres_line_trickles(self):
        yield from self.postgres_line(TRICKLE)

    def redis_line_silent(self):
        yield from self.lines([self.world.redis_line], SILENT)

    def redis_line_resets(self):
        yield from self.lines([self.world.redis_line], RESET)

    def redis_line_trickles(self):
        yield from self.lines([self.world.redis_line], TRICKLE)

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

    def stands(self, *calls):
        """A call of one thread of a daemon does not return: (thread, call, part of a path)."""
        still = self.rng.choice(self.daemons).still
        with contextlib.ExitStack() as orders:
            for call in calls:
                orders.enter_context(still.stand(*call))
            yield

    def back_thread_stands(self):
        yield from self.stands(("main", "epoll_wait"))

    def front_thread_stands(self):
        yield from self.stands(("apikeyd-front", "epoll_wait"))

    def logs_reader_stands(self):
        yield from self.stands(("apikeyd-log", "write"))

    def spills_disk_stands(self):
        """While usage has to be spilled."""
        refusing = self.postgres_read_only()
        next(refusing)
        yield from self.stands(("*", "fsync"), ("*", "fdatasync"))
        next(refusing, None)

    def machine_paused(self):
        """With it all of its clocks, or all but the wall clock. In the former case that is set right some
        time later, and what is used until then is dated too early."""
        daemon, wall_too = self.rng.choice(self.daemons), self.rng.choice([False, True])
        daemon.tells_usage = not wall_too
        time.sleep(0.1)
        with daemon.clocks.pause(daemon.process, wall_too=wall_too):
            yield
        if wall_too:
            time.sleep(0.5)
            daemon.clocks.set_wall(0)
            time.sleep(0.1)
        daemon.tells_usage = True

    def clock_set_forward(self):
        """By two days, and back."""
        clocks = self.rng.choice(self.daemons).clocks
        clocks.set_wall(2 * 86400)
        yield
        clocks.set_wall(0)

    def clock_set_back(self):
        """By an hour: what is used meanwhile is told so."""
        daemon = self.rng.choice(self.daemons)
        daemon.tells_usage = False
        time.sleep(0.1)
        daemon.clocks.set_wall(-3600)
        yield
        daemon.clocks.set_wall(0)
        time.sleep(0.1)
        daemon.tells_usage = True

    def clock_set_forward_then_killed(self):
        """The ledger holds times to come."""
        daemon = self.rng.choice(self.daemons)
        daemon.clocks.set_wall(2 * 86400)
        yield
        with daemon.restarting:
            daemon.kill()
            daemon.clocks.set_wall(0)
            daemon.begin_again()

    def ledger_lost(self, lose):
        """The file is not there any more, while it is in use. Nobody kills the daemon before it has another."""
        daemon = self.rng.choice(self.daemons)
        with daemon.restarting:
            repairs = daemon.info()["usage_ledger_repairs"]
            lose(daemon.ledger)
            yield
            wait_until(lambda: daemon.info()["usage_ledger_repairs"] > repairs
                       and daemon.info()["usage_ledger_safe"], "another ledger")

    def ledger_removed(self):
        yield from self.ledger_lost(lambda path: path.unlink())

    def ledger_renamed(self):
        yield from self.ledger_lost(lambda path: path.rename(path.with_suffix(".old")))

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


HELPERS = ("for_role", "redis_with", "lines", "postgres_line", "filled", "stands", "ledger_lost", "redis_name")


def names(rng, disks, queue, names_of_its_own):
    """Of the faults again and again, each once before any comes twice. With those of disks and of names
    or not. The real queue is filled once, if at all: it takes a minute."""
    kinds = [name for name, value in vars(Faults).items()
             if inspect.isgeneratorfunction(value) and name not in HELPERS
             and (disks or "_disk_" not in name) and (names_of_its_own or "redis_name" not in name)
             and (queue or name != "queue_full")]
    while True:
        rng.shuffle(kinds)
        yield from kinds
        kinds = [name for name in kinds if name != "queue_full"]
