"""./dev ends [KEYS] [SECONDS]: keys that end at random instants under load, and how exactly they do.

The keys of one table end at random instants while a client asks for all of them, 20,000 times a second if the machine
allows that. The daemon's host has a wall clock that is an hour ahead, and PostgreSQL's one that is ten minutes behind.
Meanwhile, one after the other: all stores are
well; the daemon is started anew, with a warm Redis; PostgreSQL is killed, so that verdicts are served stale; the
daemon is started anew without it. An ALLOW is late if it
was asked for more than 10 ms after its key's end.
"""

import os
import random
import re
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import psycopg

sys.path[:0] = [str(Path(__file__).resolve().parents[1]),
                str(Path(__file__).resolve().parents[1] / "integration")]
from harness.clocks import Clocks  # noqa: E402
from harness.servers import Apikeyd, Postgres, Redis, Scratch, migrate, wait_until  # noqa: E402
from wire import Wire, command  # noqa: E402

LATE = 0.010     # seconds
AHEAD, BEHIND = 3600, 600
RATE, PIPELINE = 20000, 100
REPLY = re.compile(rb"\*[23]\r\n\$\d+\r\n(ALLOW|DENY)\r\n\$\d+\r\n([\w-]+)\r\n(?:\$36\r\n[\w-]{36}\r\n)?|-(UNAVAILABLE)[^\r]*\r\n")


def server_time():
    return time.time() - BEHIND


class Ends:
    """The keys' ends, and what was answered about each."""

    def __init__(self, ends):
        self.ends = ends
        self.count, self.wrong = Counter(), []
        self.last_allow, self.first_expired = {}, {}

    def judge(self, key, answer, asked, answered):
        """Times are PostgreSQL's."""
        verdict = (answer[1] or answer[3]).decode()
        end = self.ends[key]
        self.count[f"answers {verdict}"] += 1
        if verdict == "ALLOW":
            self.last_allow[key] = asked
            if asked > end + LATE:
                self.wrong.append(f"key-{key} was allowed {asked - end:.4f} s after its end")
        elif verdict == "DENY":
            if answer[2] != b"expired":
                self.wrong.append(f"key-{key}: DENY {answer[2].decode()}")
            self.first_expired.setdefault(key, answered)

    def figures(self):
        late = [asked - self.ends[key] for key, asked in self.last_allow.items()]
        early = [self.ends[key] - answered for key, answered in self.first_expired.items()]
        return {**self.count, "ends seen": len(self.first_expired.keys() & self.last_allow.keys()),
                "latest ALLOW after its end, s": max(late, default=0), "earliest DENY before its end, s": max(early, default=0)}


def ask_all(daemon, ends, rng, until):
    """Ask about random keys at RATE until then. Returns how many were allowed."""
    keys = list(ends.ends)
    requests = {key: command("CHECK", f"key-{key}") for key in keys}
    before = ends.count["answers ALLOW"]
    with Wire(daemon.check) as wire:
        due = time.monotonic()
        while server_time() < until:
            chosen = rng.choices(keys, k=PIPELINE)
            due = max(due + PIPELINE / RATE, time.monotonic() - 0.1)
            time.sleep(max(0, due - time.monotonic()))
            asked = server_time()
            wire.send(b"".join(map(requests.get, chosen)))
            data, found = b"", []
            while len(found) < PIPELINE:
                data += wire.socket.recv(1 << 16)
                found = list(REPLY.finditer(data))
            answered = server_time()
            for key, answer in zip(chosen, found):
                ends.judge(key, answer, asked, answered)
    return ends.count["answers ALLOW"] - before


class Play:
    """A third of the keys ends in each of three phases, but for a tenth that never does."""

    def __init__(self, folder, keys, seconds, seed):
        folder.mkdir()
        self.rng = random.Random(seed)
        self.postgres, self.redis = Postgres(folder / "pg"), Redis(folder / "redis")
        clocks, server_clocks = Clocks(folder / "clocks"), Clocks(folder / "server-clocks")
        clocks.set_wall(AHEAD)
        server_clocks.set_wall(-BEHIND)
        self.postgres.env = {**os.environ, **server_clocks.env}
        self.daemon = Apikeyd(folder / "d", {
            "postgres.dsn": self.postgres.dsn("ends", "apikeyd"), "postgres.expires_column": "expires_at",
            "redis.url": self.redis.url(), "cache.ttl": "1h", "cache.ttl_unlinked": "500ms", "cache.stale_max": "1h"},
            env=clocks.env)
        self.ends = Ends(dict.fromkeys(range(keys), float("inf")))
        self.seconds = seconds / 3
        self.to_end, self.third = list(range(keys - keys // 10)), keys * 3 // 10

    def prepare(self):
        self.postgres.create_database("ends")
        done = migrate(self.postgres.uri("ends"))
        assert done.returncode == 0, done.stdout + done.stderr
        user = uuid.uuid4()
        with psycopg.connect(self.postgres.dsn("ends"), autocommit=True) as db:
            db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [user])
            db.execute("ALTER TABLE api.user_api_key ADD expires_at timestamptz")
            db.execute("GRANT SELECT (expires_at) ON api.user_api_key TO apikeyd")
            db.execute("INSERT INTO api.user_api_key (api_key_id, user_id, is_active, key_id, key_name) "
                       "SELECT gen_random_uuid(), %s, true, 'key-' || n, 'ends' FROM generate_series(0, %s) AS n",
                       [user, len(self.ends.ends) - 1])

    def start(self):
        self.daemon.start()
        wait_until(self.daemon.settled, "the daemon")

    def give_ends(self):
        """To a third of the keys, from a second from now on; until when is returned. Who knew them without looks again."""
        third, self.to_end = self.to_end[:self.third], self.to_end[self.third:]
        begin = server_time() + 1
        self.ends.ends.update({key: begin + self.rng.uniform(0, self.seconds) for key in third})
        with psycopg.connect(self.postgres.dsn("ends"), autocommit=True) as db:
            db.execute("UPDATE api.user_api_key SET expires_at = to_timestamp(n.at) "
                       "FROM unnest(%s::text[], %s::float8[]) AS n (key, at) WHERE key_id = n.key",
                       [[f"key-{key}" for key in third], [self.ends.ends[key] for key in third]])
        self.daemon.admin_client().execute_command("INVALIDATE", "ALL")
        return begin + self.seconds

    def all_known(self):
        with Wire(self.daemon.check) as wire:
            for key in self.ends.ends:
                wait_until(lambda k=key: not isinstance(wire.ask("CHECK", f"key-{k}"), RuntimeError), "an answer")

    def phases(self):
        self.start()
        assert ask_all(self.daemon, self.ends, self.rng, self.give_ends()) > 0
        self.daemon.stop()
        self.start()
        assert ask_all(self.daemon, self.ends, self.rng, self.give_ends()) > 0
        until = self.give_ends()
        self.all_known()
        self.postgres.stop()
        assert ask_all(self.daemon, self.ends, self.rng, max(until, server_time() + 0.5)) > 0
        assert self.daemon.admin_client().info()["checks_stale"] > 0
        self.daemon.stop()
        self.daemon.start()
        assert ask_all(self.daemon, self.ends, self.rng, server_time() + 0.5) == 0  # nobody knows any key
        return self.ends.wrong, self.ends.figures()

    def stop(self):
        for server in (self.daemon, self.redis, self.postgres):
            if server.process:
                server.stop()


def play(folder, keys, seconds, seed=None):
    """Returns what was wrong, and figures."""
    one = Play(folder, keys, seconds, seed)
    try:
        one.postgres.start()
        one.redis.start()
        one.prepare()
        return one.phases()
    finally:
        one.stop()


def main():
    keys = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    scratch = Scratch()
    try:
        wrong, figures = play(scratch.path / "ends", keys, seconds)
    finally:
        scratch.remove()
    print("\n".join(f"{name}: {figure:,.6g}" for name, figure in figures.items()))
    print("\n".join(wrong[:20]) or "no key was allowed after its end")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
