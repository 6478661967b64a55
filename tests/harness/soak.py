"""./dev soak [MINUTES]: a long quiet life, and whether the daemon grows.

Half an hour unless told otherwise. Clients ask for keys that exist, that change and that nobody has ever
had, over RESP and HTTP, and come and go; usage is written every second. Memory, descriptors and threads are
looked at every few seconds. At the end the last quarter is held against the second: the first one is for
filling what is bounded, such as the cache.
"""

import random
import statistics
import sys
import threading
import time
from pathlib import Path

import psycopg

sys.path[:0] = [str(Path(__file__).resolve().parents[1]),
                str(Path(__file__).resolve().parents[1] / "integration")]
from harness.results import save, single  # noqa: E402
from harness.random_coherence import TABLE, prepare  # noqa: E402
from harness.servers import Apikeyd, Postgres, Redis, Scratch, wait_until  # noqa: E402
from http_wire import HttpWire  # noqa: E402
from wire import Wire, command  # noqa: E402

KEYS, LOOK_EVERY = 2000, 5


def look(pid):
    """Bytes that are in memory, descriptors, threads."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        resident = int(statm.read().split()[1]) * 4096
    return resident, len(list(Path(f"/proc/{pid}/fd").iterdir())), len(list(Path(f"/proc/{pid}/task").iterdir()))


def resp_client(daemon, ending, rng):
    """Connections of a second or so; the last one is left with lookups in flight."""
    made_up = 0
    while not ending.is_set():
        with Wire(daemon.check) as wire:
            for _ in range(100):
                keys = [f"key-{rng.randrange(KEYS)}" for _ in range(18)] + [f"no-{rng.getrandbits(60)}"]
                wire.send(b"".join(command("CHECK", key) for key in keys))
                for _ in keys:
                    wire.reply()
                time.sleep(0.01)
            wire.send(command("CHECK", f"gone-{made_up}"))
            made_up += 1


def http_client(daemon, ending, rng):
    while not ending.is_set():
        with HttpWire(daemon.options["listen.http"]) as wire:
            for _ in range(100):
                wire.authorize(f"key-{rng.randrange(KEYS)}")
                time.sleep(0.01)


def changes(dsn, ending, rng):
    with psycopg.connect(dsn, autocommit=True) as db:
        while not ending.is_set():
            db.execute(f"UPDATE {TABLE} SET is_active = NOT is_active WHERE key_id = %s",
                       [f"key-{rng.randrange(KEYS // 10)}"])
            time.sleep(0.05)


def operators(daemon, ending):
    while not ending.is_set():
        admin = daemon.admin_client()
        for words in (("INFO",), ("METRICS",), ("STATUS",), ("EXPLAIN", "key-1"), ("RELOAD",), ("CLIENT", "LIST")):
            admin.execute_command(*words)
        admin.close()
        time.sleep(1)


def soak(folder, seconds):
    """Every look that was taken, and what the daemon counted."""
    postgres, redis_server = Postgres(folder / "pg"), Redis(folder / "redis")
    daemon, ending, looks = None, threading.Event(), []
    try:
        postgres.start()
        redis_server.start()
        user = prepare(postgres, "soak")[0]
        with psycopg.connect(postgres.dsn("soak"), autocommit=True) as db:
            db.execute(f"INSERT INTO {TABLE} (api_key_id, key_name, key_id, user_id, is_active) SELECT "
                       "gen_random_uuid(), 'soak', 'key-' || n, %s, true FROM generate_series(0, %s) AS n",
                       [user, KEYS - 1])
        daemon = Apikeyd(folder / "d", {
            "postgres.dsn": postgres.dsn("soak", "apikeyd"), "redis.url": redis_server.url(),
            "listen.http": folder / "http.sock", "cache.memory": "1MiB", "cache.negative_memory": "1MiB",
            "cache.ttl": "10s", "cache.negative_ttl": "10s", "usage.flush_interval": "1s", "log.level": "warning"})
        daemon.start()
        wait_until(daemon.settled, "the daemon")
        actors = [threading.Thread(target=resp_client, args=(daemon, ending, random.Random(i))) for i in range(4)]
        actors += [threading.Thread(target=http_client, args=(daemon, ending, random.Random(9))),
                   threading.Thread(target=changes, args=(postgres.dsn("soak"), ending, random.Random(8))),
                   threading.Thread(target=operators, args=(daemon, ending))]
        for actor in actors:
            actor.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end and all(actor.is_alive() for actor in actors):
            looks.append(look(daemon.process.pid))
            time.sleep(min(LOOK_EVERY, seconds / 60))
        alive = all(actor.is_alive() for actor in actors)
        ending.set()
        for actor in actors:
            actor.join()
        assert alive, "an actor failed"
        counted = daemon.admin_client().info()
        assert daemon.stop() == 0, daemon.log()
        return looks, counted
    finally:
        ending.set()
        for server in (daemon, redis_server, postgres):
            if server and server.process:
                server.stop()


def growth(looks, which):
    """The median of the last quarter, as a share of the second quarter's."""
    values, quarter = [one[which] for one in looks], len(looks) // 4
    return statistics.median(values[-quarter:]) / statistics.median(values[quarter:2 * quarter])


def main():
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30
    scratch = Scratch()
    try:
        looks, counted = soak(scratch.path, minutes * 60)
    finally:
        scratch.remove()
    answers = sum(counted[f"checks_{kind}"] for kind in ("allow", "deny_unknown", "deny_inactive", "unavailable"))
    rows = single({"answers": answers, "connections": counted["connections_accepted"],
                   "rows of usage": counted["usage_rows_updated"]})
    print(f"{minutes:g} minutes,", ", ".join(f"{row['value']:,} {name}" for name, row in rows.items()))
    for which, name in enumerate(("memory, MiB", "descriptors", "threads")):
        values = [one[which] / (2**20 if which == 0 else 1) for one in looks]
        print(f"{name:12} at first {values[0]:.1f}, least {min(values):.1f}, most {max(values):.1f}, "
              f"at last {values[-1]:.1f}; last quarter to second {growth(looks, which):.4f}")
        rows[name] = {"first": values[0], "max": max(values), "last": values[-1], "growth": growth(looks, which)}
    save("soak", f"{minutes:g} minutes", rows)
    sys.exit(growth(looks, 0) > 1.02 or growth(looks, 1) > 1.1 or growth(looks, 2) != 1)


if __name__ == "__main__":
    main()
