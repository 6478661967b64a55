"""./dev bench day [FLUSHES]: a day of counts by hour: rows, WAL, size of the table, time of a flush.

100,000 keys are asked for in 24 hours: 10,000 CHECKs and then a FLUSH, FLUSHES times (default 30) an hour. How often a key
is asked for follows Zipf's law: the k-th key 1/k as often as the first. The hours are those of PostgreSQL's clock and the
daemon's, which are set an hour ahead 23 times; all else runs as it does, autovacuum too. PostgreSQL waits for its disk at
each COMMIT, and tells what each statement took (pg_stat_statements).
"""

import random
import sys
import time
from itertools import accumulate
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench_usage import flush, wal  # noqa: E402
from harness.bench import Stack, add_keys, ask, checks_of, warm  # noqa: E402
from harness.results import save, single  # noqa: E402
from harness.servers import wait_until  # noqa: E402

KEYS, CHECKS, HOURS, FLUSHES = 100000, 10000, 24, 30
TABLE = "api.user_api_key_usage"
STATEMENTS = {"counts": "WITH counts%", "last_used": "WITH pending%"}


def one(db, sql, *params):
    return db.execute(sql, params or None).fetchone()[0]


def next_hour(stack, daemon, hour):
    """Until uses count for it. The first use of the new hour may still count for the one before."""
    def comes():
        ask(daemon.check, checks_of(1))
        flush(daemon.admin_client())
        with psycopg.connect(stack.owner, autocommit=True) as db:
            return one(db, f"SELECT count(DISTINCT bucket) FROM {TABLE}") == hour + 1
    stack.clocks.set_wall(3600 * hour)
    wait_until(comes, "the hour to begin")


def statements(db):
    """What PostgreSQL executed for the daemon, a row each: calls, rows, seconds, bytes of WAL."""
    found = {}
    for name, text in STATEMENTS.items():
        calls, seconds, volume = db.execute(
            "SELECT sum(calls)::int, sum(total_exec_time) / 1000, sum(wal_bytes)::bigint FROM pg_stat_statements "
            "WHERE query LIKE %s", [text]).fetchone()
        found |= {f"statements, {name}": calls, f"seconds of PostgreSQL, {name}": seconds, f"WAL, {name}": volume}
    return found


def tuples(db):
    names = ("n_tup_ins", "n_tup_upd", "n_tup_hot_upd", "n_dead_tup", "autovacuum_count")
    return dict(zip(names, db.execute(f"SELECT {', '.join(names)} FROM pg_stat_user_tables WHERE relid = %s::regclass",
                                      [TABLE]).fetchone()))


def play(stack, flushes):
    """The day. Returns what INFO tells of it, and the seconds of its flushes."""
    daemon = stack.daemon(cache_ttl="1d", cache_ttl_unlinked="1h", usage_flush_interval="1h", usage_flush_rows="10000000",
                          usage_counts="hour")
    admin, chances = daemon.admin_client(), random.Random(22)
    requests = checks_of(KEYS)
    chances.shuffle(requests)
    weights = list(accumulate(1 / rank for rank in range(1, KEYS + 1)))
    warm(daemon.check, 1)  # connections and plans
    flush(admin)
    seconds = []
    with psycopg.connect(stack.owner, autocommit=True) as db:
        db.execute("SELECT pg_stat_statements_reset()")
        start = wal(db)
        for hour in range(HOURS):
            if hour > 0:
                next_hour(stack, daemon, hour)
            for _ in range(flushes):
                ask(daemon.check, chances.choices(requests, cum_weights=weights, k=CHECKS))
                begin = time.monotonic()
                flush(admin)
                seconds.append(time.monotonic() - begin)
        return {"WAL, all of PostgreSQL": wal(db) - start, **statements(db)}, admin.info(), seconds


def look(db, added):
    """The table after the day. PostgreSQL's statistics come a moment later."""
    wait_until(lambda: tuples(db)["n_tup_ins"] + tuples(db)["n_tup_upd"] >= added, "the statistics")
    rows, uses, buckets = db.execute(f"SELECT count(*), sum(uses)::bigint, count(DISTINCT bucket) FROM {TABLE}").fetchone()
    found = tuples(db)
    table, indexes = db.execute("SELECT pg_table_size(%s::regclass), pg_indexes_size(%s::regclass)", [TABLE, TABLE]).fetchone()
    return {"rows": rows, "uses": uses, "buckets": buckets, "bytes of the table": table, "bytes of its index": indexes,
            "rows updated": found["n_tup_upd"], "HOT, %": 100 * found["n_tup_hot_upd"] / max(found["n_tup_upd"], 1),
            "autovacuum": found["autovacuum_count"]}


def main():
    flushes = int(sys.argv[1]) if len(sys.argv) > 1 else FLUSHES
    with Stack(durable=True, settings=["shared_preload_libraries=pg_stat_statements"], clocked=True) as stack, \
            psycopg.connect(stack.owner, autocommit=True) as db:
        db.execute("CREATE EXTENSION pg_stat_statements")
        add_keys(stack.owner, KEYS)
        costs, info, seconds = play(stack, flushes)
        found = {"CHECKs": HOURS * flushes * CHECKS, "flushes": len(seconds), **look(db, info["usage_counts_rows"]),
                 "rows added to": info["usage_counts_rows"], "rows, last_used": info["usage_rows_updated"],
                 **costs, "seconds a flush, median": sorted(seconds)[len(seconds) // 2],
                 "seconds a flush, longest": max(seconds)}
    for name, value in found.items():
        print(f"{name:36} {value:>18,.6g}" if isinstance(value, float) else f"{name:36} {value:>18,}")
    assert found["buckets"] == HOURS and found["uses"] >= found["CHECKs"]
    save("day", f"{flushes} flushes an hour, of {CHECKS:,} CHECKs each", single(found))


if __name__ == "__main__":
    main()
