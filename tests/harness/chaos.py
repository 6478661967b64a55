"""./dev chaos [SECONDS] [SEED]: one fault after another under steady load, and an oracle.

Three daemons share a Redis and a PostgreSQL with a standby, behind lines that can fail. Keys change, clients
ask without a pause. Every answer is judged by the bound that INFO stated then. At the end the daemons are
killed once more, and when all is mended every ALLOW has to be in last_used. The same seed makes the same
choices, if not the same timing.
"""

import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
import redis

sys.path[:0] = [str(Path(__file__).resolve().parents[1]),
                str(Path(__file__).resolve().parents[1] / "integration")]
from harness.bound_judge import AFTER, BoundJudge  # noqa: E402
from harness.clocks import Clocks  # noqa: E402
from harness.faults import LOOPBACK, REDIS_NAME, Faults, names  # noqa: E402
from harness.gateways import free_port  # noqa: E402
from harness.names import NameServer, Names, available  # noqa: E402
from harness.proxy import Proxy  # noqa: E402
from harness.oracle import INFINITY  # noqa: E402
from harness.random_coherence import (ATTRIBUTES, ENDS, KEYS, TABLE, TTL_UNLINKED, UNKNOWN,  # noqa: E402
                                      Changes, as_answer,
                                      command_line, add_columns, prepare, random_key, run_all, settle)
from harness.standstill import Standstill  # noqa: E402
from harness.servers import Apikeyd, Postgres, Redis, wait_until  # noqa: E402
from wire import Wire  # noqa: E402

STALE_MAX = {"d0": 0.0, "d1": 3.0, "d2": 0.0}
LONG = 300  # seconds; in such a round the real notification queue is filled
TOLD = ("UNAVAILABLE", "changes lost", "usage lost", "keys allowed", *(f"judged by {bound} s" for bound in (1, 2, 3, 4)))
MAY_MOUNT = os.geteuid() == 0
HAS_NAMES = available()


class Daemon(Apikeyd):
    """With small file systems of its own for ledger and spill. Its lives are told apart: a new one has
    not seen what an earlier one has answered."""

    def __init__(self, folder, options):
        super().__init__(folder, options)
        self.still, self.clocks = Standstill(folder / "still"), Clocks(folder / "clocks")
        self.env = {**self.still.env, **self.clocks.env,
                    "LD_PRELOAD": " ".join(each.env["LD_PRELOAD"] for each in (self.still, self.clocks))}
        self.tells_usage = True  # its wall clock is not behind
        self.ledger, self.spill = (self.folder / name / name for name in ("ledger", "spill"))
        self.options |= {"usage.ledger": self.ledger, "usage.spill": self.spill}
        for path in (self.ledger.parent, self.spill.parent):
            path.mkdir()
            if MAY_MOUNT:
                subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", path], check=True)
        self.restarting = threading.Lock()
        self.lives = 0

    def begin_again(self):
        self.lives += 1
        self.start()

    def info(self):
        return self.admin_client().info()

    def unmount(self):
        for path in (self.ledger.parent, self.spill.parent):
            if MAY_MOUNT:
                subprocess.run(["umount", "-l", path], check=False)

    @property
    def life(self):
        return f"{self.folder.name}.{self.lives}"


class CarefulChanges(Changes):
    """Changes that are never under way when PostgreSQL dies."""

    def __init__(self, rng, world, oracle):
        super().__init__(rng, world.owner, oracle, world.users)
        self.world, self.lock = world, threading.Lock()

    @contextlib.contextmanager
    def held(self):
        """What is answered meanwhile is judged later."""
        self.oracle.held = True
        try:
            yield
        finally:
            self.oracle.held = False

    def look_again(self, since):
        """There is another primary: what stands in its rows is right. The keys are returned of which
        something else was right on the old one."""
        lost = []
        with psycopg.connect(self.world.owner) as db:
            now = {key: row for key, *row in db.execute(
                "SELECT key_id, api_key_id, user_id, is_active, extract(epoch FROM expires_at)::float, plan, scopes "
                f"FROM {TABLE} WHERE key_name = 'random'")}
        for key, history in self.oracle.histories.items():
            before = (self.answer(key), self.end(key))
            self.rows.pop(key, None)
            if key in now:
                *row, end, plan, scopes = now[key]
                end = INFINITY if end is None else end - time.time() + time.monotonic()
                # The same end, unless it differs by more than two clocks that are read one after the other.
                end = before[1] if abs(end - before[1]) < 0.001 else end
                self.rows[key] = [*row, end, plan, scopes]
            if (self.answer(key), self.end(key)) != before:
                history.change(since, self.answer(key), self.end(key))
                history.changed(time.monotonic())
                lost.append(key)
        self.count["changes lost"] += len(lost)
        return lost

    def step(self):
        with self.lock:
            try:
                if self.db.closed or self.db.execute("SELECT 1").fetchone() != (1,):
                    raise psycopg.OperationalError
            except psycopg.OperationalError:
                with contextlib.suppress(psycopg.OperationalError):
                    self.db = psycopg.connect(self.world.owner, autocommit=True)
            else:
                super().step()
                return
        time.sleep(0.02)


class Trouble:
    """One fault after another; with a fresh seed each comes once in a round of them all."""

    def __init__(self, rng, faults, queue):
        self.rng, self.faults, self.to_come = rng, faults, names(rng, MAY_MOUNT, queue, HAS_NAMES)
        self.count = Counter()

    def close(self):
        pass

    def step(self):
        name = next(self.to_come)
        fault = getattr(self.faults, name)()
        next(fault)
        time.sleep(self.rng.uniform(0.1, self.rng.choice([0.4, 1.5, 3.0])))
        next(fault, None)
        self.count[name] += 1
        time.sleep(self.rng.uniform(0.1, 0.6))


class Client:
    """Asks one daemon about random keys, all the time, and comes back when it is cut off. What two of
    them are told has no order between them."""

    def __init__(self, rng, name, daemon, oracle, wrong):
        self.name = name
        self.rng, self.daemon, self.oracle, self.wrong = rng, daemon, oracle, wrong
        self.wire, self.life = None, None
        self.used = {}  # api_key_id: when its last ALLOW was asked for, wall time
        self.count = Counter()

    def close(self):
        if self.wire:
            self.wire.close()
        self.wire = None

    def connect(self):
        self.life = self.daemon.life
        self.wire = Wire(self.daemon.check)
        if self.daemon.life != self.life:
            raise ConnectionError("which of two lives it is cannot be told")

    def step(self):
        try:
            if not self.wire:
                self.connect()
            self.ask(random_key(self.rng))
        except (OSError, EOFError):
            self.count["connections lost"] += self.wire is not None
            self.close()
            time.sleep(0.01)

    def ask(self, key):
        asked, asked_wall = time.monotonic(), time.time()
        reply = self.wire.ask("CHECK", key, "ATTRIBUTES")
        answered = time.monotonic()
        answer = as_answer(reply)
        if answer is None and not str(reply).startswith("UNAVAILABLE"):
            self.wrong.append(f"{self.life}: {key}: {reply}")
        if answer is None:
            self.count["UNAVAILABLE"] += 1
            return
        self.count[answer[0]] += 1
        self.count["slowest answer, ms"] = max(self.count["slowest answer, ms"], int((answered - asked) * 1000))
        if answer[0] == "ALLOW" and self.daemon.tells_usage:
            self.used[answer[1]] = asked_wall
        wrong = self.oracle.judge(f"{self.life} {self.name}", key, answer, asked, answered)
        if wrong:
            self.wrong.append(f"{wrong} (asked at {asked:.4f}, answered at {answered:.4f}; "
                              f"versions {self.oracle.histories[key].versions[-4:]})")


def usage_lost(dsn, clients, since):
    """Rows whose last_used is older than their last ALLOW, if that was `since` then; and how many there
    are that were allowed."""
    with psycopg.connect(dsn) as db:
        rows = db.execute(f"SELECT api_key_id::text, extract(epoch FROM last_used) FROM {TABLE}").fetchall()
    allowed = {}
    for client in clients:
        for name, asked in client.used.items():
            allowed[name] = max(asked, allowed.get(name, 0))
    lost = [name for name, last_used in rows
            if name in allowed and allowed[name] >= since and float(last_used or 0) < allowed[name] - 0.001]
    return lost, sum(name in allowed and allowed[name] >= since for name, _ in rows)


def all_written(daemon):
    """The connection for usage may still wait for its next attempt."""
    admin = daemon.admin_client()
    with contextlib.suppress(redis.exceptions.ResponseError):
        admin.execute_command("FLUSH")
        return admin.info()["usage_pending"] == 0
    return False


class World:
    """Everything that runs."""

    def __init__(self, folder):
        settings = ["wal_retrieve_retry_interval=200ms", "wal_keep_size=256MB"]
        port = free_port()
        self.postgres = Postgres(folder / "pg", settings)
        self.redis = Redis(folder / "redis", "--port", str(port), "--bind", LOOPBACK)
        self.postgres.start()
        self.redis.start()
        self.users = prepare(self.postgres, "chaos")
        add_columns(self.postgres, "chaos")
        with psycopg.connect(self.owner, autocommit=True) as db:
            db.execute("CREATE ROLE filler LOGIN")
            db.execute("GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC")
        self.standby = Postgres(folder / "standby", primary=self.postgres)
        self.standby.start()
        self.usage_since = 0.0  # wall time: what was used before may be lost, with what was the primary then
        self.lookups_line, self.feed_line = (Proxy(folder / name, self.postgres.folder)
                                             for name in ("lookups-line", "feed-line"))
        self.postgres_lines = [self.lookups_line, self.feed_line, *(
            Proxy(folder / f"{server.folder.name}-line", server.folder) for server in (self.postgres, self.standby))]
        self.redis_line = Proxy(folder / "redis-line", self.redis.folder, "redis.sock")
        # Whether a server is a standby is left for the daemon to see, as behind a pooler, or for libpq.
        lookups, feed, both = (f"host={hosts} user=apikeyd dbname=chaos" for hosts in (
            f"{folder}/lookups-line", f"{folder}/feed-line", f"{folder}/pg-line,{folder}/standby-line"))
        servers = {"d0": {"postgres.dsn": f"{lookups} target_session_attrs=any",
                          "postgres.listen_dsn": f"{feed} target_session_attrs=any"},
                   "d1": {"postgres.dsn": f"{lookups} target_session_attrs=any"},
                   "d2": {"postgres.dsn": both}}
        self.daemons = [Daemon(folder / name, servers[name] | ENDS | ATTRIBUTES | {
            "redis.url": f"unix://{folder}/redis-line/redis.sock", "cache.memory": "1MiB",
            "cache.negative_memory": "1MiB", "cache.ttl": "4s", "cache.negative_ttl": "4s",
            "cache.ttl_unlinked": f"{TTL_UNLINKED * 1000:.0f}ms", "usage.flush_interval": "1s",
            "cache.stale_max": f"{stale_max * 1000:.0f}ms"}) for name, stale_max in STALE_MAX.items()]

        self.name_server = NameServer() if HAS_NAMES else contextlib.nullcontext()
        if HAS_NAMES:
            self.find_redis_by_name(folder, self.daemons[2], port)

    def find_redis_by_name(self, folder, daemon, port):
        """The name server never answers: what /etc/hosts does not know is not found."""
        self.names = Names(folder / "names")
        self.names.say({REDIS_NAME: [LOOPBACK]})
        self.name_server.silent = True
        self.names.ask(self.name_server.address)
        daemon.runner = self.names.runner
        daemon.options["redis.url"] = f"redis://{REDIS_NAME}:{port}"

    @property
    def owner(self):
        return self.postgres.dsn("chaos")

    @property
    def filler(self):
        """A role without rights."""
        return self.postgres.dsn("chaos", "filler")

    def stop(self):
        for server in (*self.daemons, self.redis, self.standby, self.postgres):
            if server.process:
                server.stop()
        for daemon in self.daemons:
            daemon.unmount()


def play(folder, seconds, seed):
    """What was wrong, and how often everything happened."""
    wrong, count = [], Counter(dict.fromkeys(TOLD, 0))
    world = World(folder)
    try:
        with contextlib.ExitStack() as lines:
            for line in (*world.postgres_lines, world.redis_line, world.name_server):
                lines.enter_context(line)
            for daemon in world.daemons:
                daemon.start()
            oracle = BoundJudge({f"key-{i}": UNKNOWN for i in range(KEYS)}, world.daemons,
                                AFTER)
            oracle.late = AFTER  # a pause that no clock of the machine shows is seen by PostgreSQL's next answer
            changes = CarefulChanges(random.Random(f"{seed} changes"), world, oracle)
            rng = random.Random(f"{seed} trouble")
            faults = Faults(rng, world, changes)
            trouble = Trouble(rng, faults, seconds >= LONG and faults.room_for_queue())
            clients = [Client(random.Random(f"{seed} {i}"), i, daemon, oracle, wrong)
                       for i, daemon in enumerate(world.daemons * 2)]
            with oracle:
                run_all([changes, trouble, *clients], seconds, wrong)
            wrong += [one for one in oracle.wrong if one not in wrong]
            if not wrong:
                # With what was allowed last still in the ledger, and nothing asked before that is looked
                # for: later ALLOWs would hide its loss.
                for daemon in world.daemons:
                    daemon.kill()
                    daemon.begin_again()
                for daemon in world.daemons:
                    wait_until(lambda d=daemon: all_written(d), "usage to be written")
                lost, allowed = usage_lost(world.owner, clients, world.usage_since)
                wrong += [f"last_used of {name} is older than its last ALLOW" for name in lost]
                settle(world.daemons, oracle, changes)
                count["keys allowed"], count["usage lost"] = allowed, len(lost)
            count["judged"] = oracle.judged
            count.update({f"judged by {bound:g} s": number for bound, number in oracle.bounds_used.items()})
            count["faults"] = trouble.count.total()
            count["kinds of faults"] = len(trouble.count)
            for daemon in world.daemons:
                count.update(f"stated: {text}" for text in oracle.texts(daemon))
            for actor in (changes, trouble, *clients):
                for name, number in actor.count.items():
                    count[name] = max(count[name], number) if "slowest" in name else count[name] + number
                actor.close()
            for daemon in world.daemons:
                assert daemon.stop() == 0, daemon.log()
    finally:
        world.stop()
    return wrong, count


if __name__ == "__main__":
    if not MAY_MOUNT:
        print("left out, as only root may mount: disks that are full or read-only")
    command_line(play, "no wrong answer, no usage lost", save_as="chaos")
