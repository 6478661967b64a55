"""./dev random [SECONDS] [SEED]: random changes and random trouble, and every answer judged.

Several daemons share one Redis and one PostgreSQL. Keys are toggled, deleted, created again, given to
other users, given other attributes, given an end that comes or is put off, and rotated: one statement makes
a successor and lets the old key end. Some of them while the triggers are disabled. Meanwhile Redis restarts, forgets and hangs, feeds and lookups are cut and kept away, and daemons are stopped and woken. One daemon
serves stale verdicts. The same seed makes the same choices, if not the same timing.
"""

import random
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import psycopg

sys.path[:0] = [str(Path(__file__).resolve().parents[1]),
                str(Path(__file__).resolve().parents[1] / "integration")]
from harness.results import save, single  # noqa: E402
from harness.bound_judge import AFTER, BoundJudge  # noqa: E402
from harness.oracle import EXPIRED, INFINITY  # noqa: E402
from harness.proxy import Proxy  # noqa: E402
from harness.schema import deploy  # noqa: E402
from harness.servers import Apikeyd, Postgres, Redis, Scratch, migrate, wait_until  # noqa: E402
from wire import Wire  # noqa: E402

KEYS, TTL_UNLINKED = 40, 1.0
STALE_MAX = {"d0": 0.0, "d1": 0.0, "d2": 3.0}  # of each daemon
TABLE = "api.user_api_key"
ENDS = {"postgres.expires_column": "expires_at"}
ATTRIBUTES = {"postgres.attribute_columns": "plan, scopes"}
TRIGGERS = ("apikeyd_notify_rows", "apikeyd_notify_update", "apikeyd_notify_truncate")
UNKNOWN, INACTIVE = ("DENY", "unknown"), ("DENY", "inactive")


def as_answer(reply):
    if isinstance(reply, RuntimeError):
        return None  # UNAVAILABLE says nothing about the key
    return tuple(as_answer(part) if isinstance(part, list) else part.decode() for part in reply)


def ask(wire, key):
    return as_answer(wire.ask("CHECK", key, "ATTRIBUTES"))


def random_key(rng):
    """Some all the time, some rarely: those stay in Redis for long."""
    return f"key-{int(KEYS * rng.random() ** 3)}"


def add_unseen(db, user):
    """The name of an active key that nobody has asked for: nothing can be remembered of it."""
    key = f"unseen-{uuid.uuid4()}"
    db.execute(f"INSERT INTO {TABLE} (api_key_id, user_id, is_active, key_id, key_name) "
               "VALUES (%s, %s, true, %s, 'unseen')", [uuid.uuid4(), user, key])
    return key


def not_denied(daemons, key):
    """Nobody can read its row now, which is no proof that there is none."""
    for daemon in daemons:
        with Wire(daemon.check) as wire:
            reply = wire.ask("CHECK", key)
        assert (as_answer(reply) or ["UNAVAILABLE"])[0] != "DENY", f"{daemon.folder.name} denies {key}: {reply}"


class Changes:
    """Random changes of random keys, each told to the oracle before and after."""

    def __init__(self, rng, dsn, oracle, users):
        self.rng, self.oracle, self.users = rng, oracle, users
        self.db = psycopg.connect(dsn, autocommit=True)
        self.rows = {}  # key: [api_key_id, user, active, when it ends, plan, scopes]
        self.count = Counter()

    def close(self):
        self.db.close()

    def answer(self, key):
        row = self.rows.get(key)
        if not row:
            return UNKNOWN
        if not row[2]:
            return INACTIVE
        told = {"plan": row[4], "scopes": None if row[5] is None else " ".join(row[5])}
        return ("ALLOW", str(row[0]), str(row[1]),
                tuple(part for name, value in told.items() if value is not None for part in (name, value)))

    def some_attributes(self):
        """A plan, of 250 bytes at most, and scopes; None is NULL."""
        plan = self.rng.choice([None, "", "free", "gold", "g" * self.rng.randint(5, 250)])
        scopes = self.rng.choice([None, [], ["read"], ["read", "write"], [f"s{self.rng.getrandbits(30)}"]])
        return [plan, scopes]

    def end(self, key):
        return self.rows[key][3] if key in self.rows else INFINITY

    def answer_now(self, key):
        """The same, as its end may have come."""
        answer = self.answer(key)
        return EXPIRED if answer[0] == "ALLOW" and self.end(key) <= time.monotonic() else answer

    def create(self, key):
        self.rows[key] = [uuid.UUID(int=self.rng.getrandbits(128)), self.rng.choice(self.users),
                          self.rng.random() < 0.8, INFINITY, *self.some_attributes()]
        return (f"INSERT INTO {TABLE} (api_key_id, user_id, is_active, plan, scopes, key_id, key_name) "
                "VALUES (%s, %s, %s, %s, %s, %s, 'random')", [*self.rows[key][:3], *self.rows[key][4:], key])

    def relabel(self, key):
        self.rows[key][4:] = self.some_attributes()
        return f"UPDATE {TABLE} SET plan = %s, scopes = %s WHERE key_id = %s", [*self.rows[key][4:], key]

    def end_soon(self, key):
        """By PostgreSQL's clock, which is this host's."""
        self.rows[key][3] = time.monotonic() + self.rng.uniform(-0.1, 1.5)
        end = time.time() + self.rows[key][3] - time.monotonic()
        return f"UPDATE {TABLE} SET expires_at = to_timestamp(%s) WHERE key_id = %s", [end, key]

    def put_off(self, key):
        self.rows[key][3] = INFINITY
        return f"UPDATE {TABLE} SET expires_at = NULL WHERE key_id = %s", [key]

    def extend(self, key):
        """By a while that may come to its end too; a key that has ended passes again."""
        self.rows[key][3] = max(min(self.rows[key][3], time.monotonic() + 5), time.monotonic()) + self.rng.uniform(0.5, 2)
        end = time.time() + self.rows[key][3] - time.monotonic()
        return f"UPDATE {TABLE} SET expires_at = to_timestamp(%s) WHERE key_id = %s", [end, key]

    def rotate(self, key, successor):
        """As apikeyctl keys rotate: the successor is another row with the same owner, and the old key ends
        after an overlap, if not before."""
        api_key_id, user, active, end, *attributes = self.rows[key]
        self.rows[successor] = [uuid.UUID(int=self.rng.getrandbits(128)), user, active, end, *attributes]
        self.rows[key][3] = min(end, time.monotonic() + self.rng.choice([0, self.rng.uniform(0, 1.5)]))
        overlap_end = time.time() + self.rows[key][3] - time.monotonic()
        return (f"WITH successor AS (INSERT INTO {TABLE} "
                "(api_key_id, user_id, is_active, key_id, key_name, expires_at, plan, scopes) SELECT %s, user_id, is_active, %s, key_name, expires_at, plan, scopes "
                f"FROM {TABLE} WHERE api_key_id = %s) "
                f"UPDATE {TABLE} SET expires_at = least(expires_at, to_timestamp(%s)) WHERE api_key_id = %s",
                [self.rows[successor][0], successor, api_key_id, overlap_end, api_key_id])

    def toggle(self, key):
        self.rows[key][2] = not self.rows[key][2]
        return f"UPDATE {TABLE} SET is_active = %s WHERE key_id = %s", [self.rows[key][2], key]

    def give(self, key):
        self.rows[key][1] = self.rng.choice(self.users)
        return f"UPDATE {TABLE} SET user_id = %s WHERE key_id = %s", [self.rows[key][1], key]

    def delete(self, key):
        del self.rows[key]
        return f"DELETE FROM {TABLE} WHERE key_id = %s", [key]

    def behind_the_triggers(self, sql, params):
        with self.db.transaction():
            self.db.execute(f"ALTER TABLE {TABLE} DISABLE TRIGGER USER")
            self.db.execute(sql, params)
            for trigger in TRIGGERS:
                self.db.execute(f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER {trigger}")
        self.count["behind_the_triggers"] += 1

    def step(self):
        keys = [random_key(self.rng)]
        kinds = [self.create]
        if keys[0] in self.rows:
            kinds = [self.toggle, self.relabel] * 4 + [self.give, self.delete]
            kinds += [self.end_soon, self.put_off, self.extend] * 2
            free = sorted(self.oracle.histories.keys() - self.rows.keys())
            if free and self.answer_now(keys[0])[0] == "ALLOW":
                kinds += [self.rotate] * 2
        kind = self.rng.choice(kinds)
        if kind == self.rotate:  # pylint: disable=comparison-with-callable
            keys.append(self.rng.choice(free))
        sql, params = kind(*keys)
        histories = [self.oracle.histories[key] for key in keys]
        for key, history in zip(keys, histories):
            history.change(time.monotonic(), self.answer(key), self.end(key))
        if self.rng.random() < 0.03:
            self.behind_the_triggers(sql, params)
        else:
            self.db.execute(sql, params)
        for history in histories:
            history.changed(time.monotonic())
        self.count[kind.__name__] += 1
        time.sleep(self.rng.expovariate(1 / 0.02))


class Trouble:
    """One kind of trouble after another."""

    def __init__(self, rng, dsn, redis_server, daemons, user):
        self.rng, self.redis, self.daemons, self.user = rng, redis_server, daemons, user
        self.db = psycopg.connect(dsn, autocommit=True)
        self.to_come = []
        self.count = Counter()

    def close(self):
        self.db.close()

    def pause(self, most):
        time.sleep(self.rng.uniform(0.05, most))

    def redis_forgets(self):
        self.redis.client().flushall()

    def redis_restarts(self):
        self.redis.stop()
        self.pause(0.5)
        self.redis.start()

    def redis_hangs(self):
        self.redis.pause()
        self.pause(0.7)
        self.redis.resume()

    def break_some(self, role):
        self.db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE usename = %s AND random() < 0.6", [role])

    def keep_away(self, role):
        self.db.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
        self.break_some(role)
        self.pause(2.5)
        self.db.execute(f"ALTER ROLE {role} CONNECTION LIMIT -1")

    def feeds_break(self):
        self.break_some("link")

    def feeds_are_kept_away(self):
        self.keep_away("link")

    def lookups_are_kept_away(self):
        self.keep_away("apikeyd")

    def postgres_is_half_back(self):
        """Both are away, and the feed is back first."""
        self.db.execute("ALTER ROLE apikeyd CONNECTION LIMIT 0")
        self.break_some("apikeyd")
        self.feeds_are_kept_away()
        self.pause(2)
        self.db.execute("ALTER ROLE apikeyd CONNECTION LIMIT -1")

    def rows_are_hidden(self):
        key = add_unseen(self.db, self.user)
        self.db.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        self.pause(1.5)
        not_denied(self.daemons, key)
        self.db.execute(f"ALTER TABLE {TABLE} DISABLE ROW LEVEL SECURITY")

    def grants_are_lost(self):
        key = add_unseen(self.db, self.user)
        self.db.execute(f"REVOKE SELECT ON {TABLE} FROM apikeyd")
        self.pause(1.5)
        not_denied(self.daemons, key)
        self.db.execute(f"GRANT SELECT ON {TABLE} TO apikeyd")

    def notifications_are_made_up(self):
        for _ in range(20):
            self.db.execute("SELECT count(pg_notify('apikeyd_key', md5(random()::text))) "
                            "FROM generate_series(1, 500)")
            self.db.execute("NOTIFY apikeyd_key, '*'")

    def daemon_sleeps(self):
        daemon = self.rng.choice(self.daemons)
        daemon.process.pause()
        self.pause(self.rng.choice([0.3, 2.5]))
        daemon.process.resume()

    def step(self):
        if not self.to_come:
            self.to_come = [self.redis_forgets, self.redis_restarts, self.redis_hangs,
                            self.feeds_break, self.feeds_are_kept_away,
                            self.lookups_are_kept_away, self.postgres_is_half_back,
                            self.rows_are_hidden, self.grants_are_lost, self.notifications_are_made_up,
                            self.daemon_sleeps]
            self.rng.shuffle(self.to_come)
        kind = self.to_come.pop()
        kind()
        self.count[kind.__name__] += 1
        self.pause(0.4)


class Checker:
    """Asks one daemon about random keys, all the time."""

    def __init__(self, rng, daemon, oracle, wrong):
        self.rng, self.daemon, self.oracle, self.wrong = rng, daemon, oracle, wrong
        self.wire = Wire(daemon.check)
        self.count = Counter()

    def close(self):
        self.wire.close()

    def step(self):
        key = random_key(self.rng)
        asked = time.monotonic()
        answer = ask(self.wire, key)
        answered = time.monotonic()
        self.count[answer[0] if answer else "UNAVAILABLE"] += 1
        wrong = answer and self.oracle.judge(self.daemon.folder.name, key, answer, asked, answered)
        if wrong:
            self.wrong.append(f"{wrong} (asked at {asked:.4f}, answered at {answered:.4f}; "
                              f"versions {self.oracle.histories[key].versions[-4:]})")


def run_all(actors, seconds, wrong):
    """Each in a thread of its own; ends early when an answer is wrong or an actor fails."""
    stop = threading.Event()

    def act(actor):
        try:
            while not stop.is_set():
                actor.step()
        except Exception as error:  # pylint: disable=broad-except
            wrong.append(f"{type(actor).__name__} failed: {error!r}")
            stop.set()
            raise

    threads = [threading.Thread(target=act, args=[actor]) for actor in actors]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not wrong and not stop.is_set():
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()


def settle(daemons, oracle, changes):
    """When all is well again every daemon knows every key's last version, feeds are up again."""
    for daemon in daemons:
        wait_until(daemon.settled, "the daemon to be connected")
        with Wire(daemon.check) as wire:
            for key in oracle.histories:
                wait_until(lambda k=key, w=wire: ask(w, k) == changes.answer_now(k),
                           f"{daemon.folder.name} to know {key}")


def add_columns(postgres, database):
    """Columns for that and for attributes, and the schema that knows the columns."""
    with psycopg.connect(postgres.dsn(database), autocommit=True) as db:
        db.execute(f"ALTER TABLE {TABLE} ADD expires_at timestamptz, ADD plan text, ADD scopes text[]")
    deploy(postgres.dsn(database), expires_column="expires_at", attribute_columns="plan, scopes")


def prepare(postgres, database):
    """A migrated database whose feeds have a role of their own; its users are returned."""
    postgres.create_database(database)
    done = migrate(postgres.uri(database))
    assert done.returncode == 0, done.stdout + done.stderr
    users = [uuid.uuid4() for _ in range(3)]
    with psycopg.connect(postgres.dsn(database), autocommit=True) as db:
        db.execute("CREATE ROLE link LOGIN")
        for user in users:
            db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [user])
    return users


def play(folder, seconds, seed):
    """Returns what was wrong, and how often everything happened."""
    postgres, redis_server, daemons = Postgres(folder / "pg"), Redis(folder / "redis"), []
    wrong, actors = [], []
    slow = Proxy(folder / "slow", postgres.folder)
    # Some answers take long after their snapshot: a change is often heard of before they come.
    slow.delay = lambda: 0.04 if random.random() < 0.1 else 0
    try:
        slow.__enter__()
        postgres.start()
        redis_server.start()
        users = prepare(postgres, "random")
        add_columns(postgres, "random")
        for name, stale_max in STALE_MAX.items():
            daemons.append(Apikeyd(folder / name, {
                "postgres.dsn": f"host={slow.folder} user=apikeyd dbname=random",
                "postgres.listen_dsn": postgres.dsn("random", "link"),
                **ENDS, **ATTRIBUTES, "redis.url": redis_server.url(), "cache.memory": "1MiB",
                "cache.negative_memory": "1MiB", "cache.ttl": "4s", "cache.negative_ttl": "4s",
                "cache.ttl_unlinked": f"{TTL_UNLINKED * 1000:.0f}ms",
                "cache.stale_max": f"{stale_max * 1000:.0f}ms"}))
            daemons[-1].start()
        oracle = BoundJudge({f"key-{i}": UNKNOWN for i in range(KEYS)}, daemons, AFTER)
        changes = Changes(random.Random(f"{seed} changes"), postgres.dsn("random"), oracle, users)
        actors = [changes, Trouble(random.Random(f"{seed} trouble"), postgres.dsn("random"),
                                   redis_server, daemons, users[0])]
        actors += [Checker(random.Random(f"{seed} {d.folder.name}"), d, oracle, wrong)
                   for d in daemons]
        with oracle:
            run_all(actors, seconds, wrong)
        wrong += [one for one in oracle.wrong if one not in wrong]
        if not wrong:
            settle(daemons, oracle, changes)
        counts = sum((actor.count for actor in actors), Counter({"judged": oracle.judged}))
        counts.update({f"judged by {bound:g} s": number for bound, number in oracle.bounds_used.items()})
        for daemon in daemons:
            counters = daemon.admin_client().info()
            counts["from Redis"] += counters["checks_from_redis"]
            counts["stale"] += counters["checks_stale"]
        return wrong, counts
    finally:
        for actor in actors:
            actor.close()
        for server in (*daemons, redis_server, postgres):
            if server.process:
                server.stop()
        slow.__exit__()


def command_line(play, fine, save_as=None):
    """[SECONDS] [SEED]: play it, tell what was counted and what was wrong, or that all is `fine`. With a name the counts
    are saved for the documents."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600
    seed = sys.argv[2] if len(sys.argv) > 2 else str(random.getrandbits(32))
    print(f"seed {seed}, {seconds:.0f} s", flush=True)
    scratch = Scratch()
    try:
        wrong, counts = play(scratch.path, seconds, seed)
    finally:
        scratch.remove()
    print(", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())))
    print("\n".join(wrong) or fine)
    if save_as:
        save(save_as, f"{seconds:g} s, seed {seed}", single({**counts, "wrong": len(wrong)}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    command_line(play, "no wrong answer")
