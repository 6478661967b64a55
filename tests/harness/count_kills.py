"""./dev kills [KILLS] [CRASHES] [SEED]: two daemons that count are killed, PostgreSQL crashes, and no use is lost or
counted twice.

Both daemons count the same keys under load. They are killed at each named step of a flush and of a start, so many
instructions after it, and anywhere. Sessions of PostgreSQL are killed in mid-COMMIT, which it takes for a crash of its
own. PostgreSQL refuses the rows of one key that one of the daemons is asked about. At the end each other key's sum in the table
is at least the answers that clients have received, and at most the requests that they have sent: an answer that was rendered
and not received may count, or not.
"""

import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psycopg
import redis

sys.path[:0] = [str(Path(__file__).resolve().parents[1]),
                str(Path(__file__).resolve().parents[1] / "integration")]
from harness.kill_at import KillAt  # noqa: E402
from harness.proxy import PASS, RESET, Proxy  # noqa: E402
from harness.results import save, single  # noqa: E402
from harness.servers import HANG, PG_BIN, Apikeyd, Postgres, Scratch, migrate, wait_until  # noqa: E402
from wire import Wire, command  # noqa: E402

KEYS = [f"key-{i}" for i in range(40)]
REFUSED = "refused"  # PostgreSQL takes no row of this key: it finds those of the others a way round
OPTIONS = {"usage.counts": "hour", "usage.flush_interval": "50ms", "cache.stale_max": "1h", "cache.ttl": "1h",
           "cache.ttl_unlinked": "1h", "postgres.timeout": "30s", "cache.memory": "4MiB", "cache.negative_memory": "1MiB"}

NUMBER = ("main", "pwrite64", "fusage.ledger")
STATEMENT = ("main", "PQsendQueryParams", "1WITH counts")
SENT = ("main", "send", "*")
DISK = "apikeyd-disk"

# Points that are reached one after the other, the last of which is the step.
FLUSH = {
    "number of the half written": [NUMBER],
    "swap asked for": [NUMBER, ("main", "eventfd_write", "*")],
    "half handed over": [NUMBER, ("apikeyd-front", "eventfd_write", "*")],
    "statement begun": [STATEMENT],
    "statement sent, with its COMMIT": [STATEMENT, SENT],
    "answer to COMMIT received": [STATEMENT, SENT, ("main", "recv", "=")],
    "answer to COMMIT taken": [STATEMENT, ("main", "PQgetResult", "=")],
    "half emptied": [(DISK, "usage_settle_run", "*")],
    "half free again": [(DISK, "usage_settle_run", "*"), (DISK, "eventfd_write", "*")],
}
# PostgreSQL is away.
OUTAGE = {
    "file of counts made": [(DISK, "open64", "0usage.spill.counts.new")],
    "file of counts written": [(DISK, "write", "fusage.spill.counts.new")],
    "file of counts synced": [(DISK, "fsync", "fusage.spill.counts.new")],
    "file of counts renamed": [(DISK, "rename", "0usage.spill.counts.new")],
    "its directory synced": [(DISK, "rename", "0usage.spill.counts.new"), (DISK, "fsync", "*")],
    "spill file made": [(DISK, "open64", "0usage.spill.new")],
    "spill file written": [(DISK, "write", "fusage.spill.new")],
    "spill file synced": [(DISK, "fsync", "fusage.spill.new")],
    "spill file renamed": [(DISK, "rename", "0usage.spill.new")],
    "half emptied after that": [(DISK, "rename", "0usage.spill.new"), (DISK, "eventfd_write", "*")],
}
# PostgreSQL is back.
RETURN = {
    "file of counts removed": [(DISK, "unlink", "0usage.spill.counts")],
    "spill file removed": [(DISK, "unlink", "0usage.spill")],
}
# After a kill that left counts in the ledger.
START = {
    "ledger locked": [("main", "flock", "*")],
    "found counts: file made": [("main", "open64", "0usage.ledger.counts.new")],
    "found counts: written": [("main", "write", "fusage.ledger.counts.new")],
    "found counts: synced": [("main", "fsync", "fusage.ledger.counts.new")],
    "found counts: renamed": [("main", "rename", "0usage.ledger.counts.new")],
    "found counts: directory synced": [("main", "rename", "0usage.ledger.counts.new"), ("main", "fsync", "*")],
    "new series written": [("main", "rename", "0usage.ledger.counts.new"), NUMBER],
    "first half numbered": [("main", "rename", "0usage.ledger.counts.new"), NUMBER, NUMBER],
}
STEPS = {name: group for group in (FLUSH, OUTAGE, RETURN, START) for name in group}

# Of PostgreSQL's COMMIT: its record is made, is on disk, and is seen by others.
COMMIT = [[("main", name, "*")] for name in ("XactLogCommitRecord", "XLogFlush", "TransactionIdCommitTree",
                                              "ProcArrayEndTransaction")]


class Load:
    """Clients that check random keys, in pipelines, and count what they asked and what they were answered."""

    def __init__(self, daemon, keys, seed):
        self.daemon, self.keys, self.random = daemon, keys, random.Random(seed)
        self.asked, self.answered = Counter(), Counter()
        self.pause = 0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            with Wire(self.daemon.check) as wire:
                while True:
                    self.ask(wire, self.random.choices(self.keys, k=16))
                    time.sleep(self.pause)
        except (OSError, EOFError):
            pass  # the daemon was killed

    def ask(self, wire, keys):
        self.asked.update(keys)
        wire.send(b"".join(command("CHECK", key) for key in keys))
        for key in keys:
            reply = wire.reply()
            if isinstance(reply, list):
                self.answered[key] += 1
            else:
                self.asked[key] -= 1  # UNAVAILABLE is no use of the key


class Oracle:
    """received <= counted <= asked, of each key: an answer that was rendered and not received may count, or not."""

    def __init__(self, dsn, keys):
        self.dsn, self.keys = dsn, keys
        self.asked, self.answered, self.counted = Counter(), Counter(), Counter()
        self.lock = threading.Lock()

    def add(self, loads):
        for load in loads:
            load.thread.join()
            with self.lock:
                self.asked.update(load.asked)
                self.answered.update(load.answered)

    def wrong(self):
        with psycopg.connect(self.dsn) as db:
            self.counted = Counter(dict(db.execute(
                "SELECT k.key_id, sum(u.uses)::int FROM api.user_api_key_usage AS u JOIN api.user_api_key AS k "
                "USING (api_key_id) GROUP BY 1").fetchall()))
        return {key: (self.answered[key], self.counted[key], self.asked[key]) for key in self.keys
                if not self.answered[key] <= self.counted[key] <= self.asked[key]}


def flushed(daemon):
    try:
        daemon.admin_client().execute_command("FLUSH")
    except redis.ResponseError:
        return False
    return True


def settle(daemons):
    """All that the daemons have is added."""
    for daemon in daemons:
        wait_until(lambda d=daemon: flushed(d) and d.admin_client().info()["usage_counts_pending"] == 0,
                   "all counts to be added")


class Victim(threading.Thread):
    """One daemon, its clients, and its line to PostgreSQL: it is killed at one step after the other."""

    def __init__(self, folder, postgres, dsn, killer, oracle, deaths, rng, keys):
        super().__init__()
        self.line = Proxy(folder.with_suffix(".line"), postgres.folder)
        self.daemon = Apikeyd(folder, {**OPTIONS, "postgres.dsn": dsn.replace(str(postgres.folder), str(self.line.folder))})
        self.killer, self.oracle, self.deaths, self.rng = killer, oracle, deaths, rng
        self.keys = keys
        self.loads, self.error, self.count = [], None, Counter()

    def begin(self):
        self.daemon.start()
        self.loads = [Load(self.daemon, self.keys, self.rng.random()) for _ in range(2)]
        for load in self.loads:
            load.pause = 0.001
        self.wait_for_uses()

    def wait_for_uses(self):
        before = [load.answered.total() for load in self.loads]
        wait_until(lambda: all(load.answered.total() > was + 50 or not load.thread.is_alive()
                               for load, was in zip(self.loads, before)), "uses")

    def end(self):
        self.daemon.process.child.wait(HANG)
        self.daemon.process = None
        self.oracle.add(self.loads)
        self.loads = []

    def begin_outage(self):
        """Another one. PostgreSQL may have crashed just before the last: then no verdict of before is served, so there
        are no uses."""
        self.line.become(PASS)
        self.wait_for_uses()
        self.line.become(RESET)

    def end_outage(self):
        """After the files were written."""
        for _ in range(5):
            self.begin_outage()
            try:
                wait_until(self.has_files, "files", HANG / 5)
                break
            except TimeoutError:
                continue
        self.line.become(PASS)

    def has_files(self):
        return self.daemon.process.child.poll() is not None or all(
            (self.daemon.folder / f"usage.spill{end}").exists() for end in ("", ".counts"))

    def killed_at_start(self, step, when, steps):
        if not self.daemon.process:
            self.begin()
        self.wait_for_uses()
        self.daemon.process.send(signal.SIGKILL)
        self.end()
        return self.killer.start(self.daemon, step, when, steps)

    def die(self, name, when, steps):
        """With a thread's name for a step it is killed wherever that thread is."""
        group = STEPS.get(name)
        pid = self.daemon.process.pid
        if group is START:
            wait_until(lambda: self.killed_at_start(START[name], when, steps), "a start that finds counts", 5 * HANG)
            return
        step = group[name] if group else [(name, None, "*")]
        cause = self.begin_outage if group is OUTAGE else self.end_outage if group is RETURN else lambda: None
        assert self.killer.kill(pid, step, when, steps, cause=cause), f"it has ended:\n{self.daemon.log()[-2000:]}"
        self.line.become(PASS)
        self.end()

    def run(self):
        try:
            with self.line:
                self.begin()
                for name, when, steps in self.deaths:
                    time.sleep(self.rng.uniform(0, 0.1))
                    try:
                        self.die(name, when, steps)
                    except Exception as error:
                        raise RuntimeError(f"{name}, {when}, {steps} instructions later") from error
                    self.count[name if steps == 0 else "some instructions later"] += 1
                    self.begin()
                self.daemon.process.send(signal.SIGKILL)
                self.end()
                self.daemon.start()
                settle([self.daemon])
                assert self.daemon.stop() == 0
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
            if self.daemon.process:
                self.daemon.process.send(signal.SIGKILL)
                self.end()


class Crashes(threading.Thread):
    """PostgreSQL's sessions are killed in mid-COMMIT of a batch of counts."""

    def __init__(self, postgres, dsn, killer, crashes, rng):
        super().__init__()
        self.postgres, self.dsn, self.killer, self.crashes, self.rng = postgres, dsn, killer, crashes, rng
        self.done, self.error = 0, None

    def session(self):
        """Of a daemon that adds counts."""
        try:
            with psycopg.connect(self.dsn) as db:
                pids = db.execute("SELECT pid FROM pg_stat_activity WHERE query LIKE 'WITH counts%' "
                                  "AND usename = 'apikeyd' ORDER BY pid").fetchall()
        except psycopg.OperationalError:
            return None
        return self.rng.choice(pids)[0] if pids else None

    def run(self):
        try:
            while self.done < self.crashes:
                pid = wait_until(self.session, "a session for counts")
                step, when = self.rng.choice(COMMIT), self.rng.choice(["before", "after"])
                try:
                    self.done += self.killer.kill(pid, step, when, self.rng.choice([0, self.rng.randrange(300)]),
                                                  PG_BIN / "postgres")
                except AssertionError:
                    continue  # its daemon has been killed meanwhile
                wait_until(self.postgres.answers, "PostgreSQL")
        except Exception as error:  # pylint: disable=broad-except
            self.error = error


def deaths(kills, rng):
    """Each step once, just before or after it; then each from the other side; the rest at random: some instructions
    after a step, or from wherever a thread is."""
    sides = {name: rng.sample(["before", "after"], 2) for name in STEPS}
    exact = [(name, sides[name][turn], 0) for turn in (0, 1) for name in rng.sample(list(STEPS), len(STEPS))]
    return exact[:kills] + [
        (rng.choice([*STEPS, "main", "apikeyd-front", DISK]), rng.choice(["before", "after"]), rng.randrange(2000))
        for _ in range(kills - len(exact))]


def play(folder, kills, crashes, seed):
    """What was wrong, and how often everything happened."""
    rng = random.Random(seed)
    postgres = Postgres(folder / "pg")
    killer = KillAt(folder / "kill_at")
    plan = deaths(kills, rng)
    victims = []
    try:
        postgres.start()
        postgres.create_database("kills")
        assert migrate(postgres.uri("kills")).returncode == 0
        owner, dsn = postgres.dsn("kills"), postgres.dsn("kills", "apikeyd")
        with psycopg.connect(owner, autocommit=True) as db:
            db.execute('INSERT INTO api."user" (user_id) VALUES (gen_random_uuid())')
            db.execute("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id) SELECT gen_random_uuid(), "
                       "'kills', key, user_id FROM unnest(%s::text[]) AS key, api.\"user\"", [[*KEYS, REFUSED]])
            db.execute("CREATE FUNCTION api.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                       "IF EXISTS (SELECT FROM api.user_api_key WHERE api_key_id = NEW.api_key_id AND key_id = 'refused') "
                       "THEN RAISE 'no counts of this key'; END IF; RETURN NULL; END $$")
            db.execute("CREATE TRIGGER refuse AFTER INSERT OR UPDATE ON api.user_api_key_usage FOR EACH ROW "
                       "EXECUTE FUNCTION api.refuse()")
        oracle = Oracle(owner, KEYS)
        victims = [Victim(folder / f"d{i}", postgres, dsn, killer, oracle, plan[i::2], random.Random(f"{seed} {i}"),
                          [*KEYS, REFUSED] if i else KEYS) for i in range(2)]
        threads = [*victims, Crashes(postgres, owner, killer, crashes, rng)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wrong = [f"{thread.name}: {thread.error!r}: {thread.error.__cause__!r}" for thread in threads if thread.error]
        # Of a daemon that has failed, counts may still wait.
        wrong = wrong or [f"{key}: {got} answers, {counted} counted, {asked} asked"
                  for key, (got, counted, asked) in oracle.wrong().items()]
        count = Counter({"kills": sum(victim.count.total() for victim in victims), "crashes": threads[-1].done,
                         "at named steps": sum(victim.count[name] for victim in victims for name in STEPS),
                         "named steps": len({name for victim in victims for name in victim.count} & set(STEPS)),
                         **{what: sum(counter[key] for key in KEYS) for what, counter in (
                             ("answers", oracle.answered), ("asked", oracle.asked), ("counted", oracle.counted))}})
    finally:
        for server in (*(victim.daemon for victim in victims), postgres):
            if server.process:
                server.stop()
    return wrong, count


def main():
    kills, crashes = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 200), (2, 50)))
    seed = sys.argv[3] if len(sys.argv) > 3 else str(random.getrandbits(32))
    print(f"seed {seed}: {kills} kills, {crashes} crashes of PostgreSQL", flush=True)
    scratch = Scratch()
    began = time.monotonic()
    try:
        wrong, count = play(scratch.path, kills, crashes, seed)
    finally:
        scratch.remove()
    print(", ".join(f"{name} {number:,}" for name, number in count.items()), f"in {time.monotonic() - began:.0f} s")
    print("\n".join(wrong) or "each use was counted once")
    save("kills", f"{kills} kills, {crashes} crashes, seed {seed}", single({**count, "wrong": len(wrong)}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
