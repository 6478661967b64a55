"""./dev bench usage [ROUNDS]: CHECKs with usage written and counted, against a statement for each request.

redis-benchmark asks for 100,000 keys at random while the daemon writes last_used every five seconds, as it does unless
told otherwise: one daemon with usage.counts off, one by hour, one by day. Against them pgbench runs, with COMMIT for each
request and with the number of clients that is best here, UPDATE ... SET last_used = now(), and INSERT ... ON CONFLICT DO
UPDATE SET uses = uses + 1 into a table like that of counts, whose rows are all there already. All take turns.

PostgreSQL waits for its disk at each COMMIT, as it does unless told otherwise; then once more with fsync=off, as if the
disk took no time. WAL is PostgreSQL's own count. "A flush" has all keys, each used once since the flush before. "The counts of it" are what a daemon that counts by hour
writes beyond one that does not count: the INSERT writes no last_used.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import ROUNDS, Report, Stack, add_keys, redis_benchmark, warm  # noqa: E402

KEYS, CHECKS = 100000, 15000000
KINDS = {"apikeyd": "off", "counts by hour": "hour", "counts by day": "day"}

# IDs that pgbench can make: it looks none up.
ID = "('00000000-0000-4000-8000-' || lpad({}::text, 12, '0'))::uuid"
TABLE = ("CREATE TABLE by_hand (api_key_id uuid, bucket timestamptz, verdict text COLLATE \"C\", uses bigint NOT NULL, "
         "PRIMARY KEY (api_key_id, bucket, verdict)) WITH (fillfactor = 80)")
INSERT = ("INSERT INTO by_hand AS u (api_key_id, bucket, verdict, uses) SELECT {}, date_trunc('hour', now()), 'allow', 1 {} "
          "ON CONFLICT (api_key_id, bucket, verdict) DO UPDATE SET uses = u.uses + 1")
BY_HAND = {
    "UPDATE a request": "UPDATE api.user_api_key SET last_used = now(), updated_at = now() "
                        "WHERE key_id = 'key:' || lpad(:n::text, 12, '0')",
    "INSERT a request": INSERT.format(ID.format(":n"), ""),
}


def wal(db):
    return int(db.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')").fetchone()[0])


def flush(admin):
    """All that is recorded is written. A statement with counts may take longer than FLUSH waits."""
    while True:
        try:
            admin.execute_command("FLUSH")
        except redis.ResponseError as error:
            if "counts" not in str(error):
                raise
        if admin.info()["usage_counts_pending"] == 0:
            return
        time.sleep(0.005)


def checks(daemon, db):
    """Checks a second, and by million checks: statements, rows, rows of counts, bytes of WAL."""
    admin = daemon.admin_client()
    before, start = admin.info(), wal(db)
    rate = redis_benchmark(daemon.check, ["CHECK", "key:__rand_int__"], requests=CHECKS, pipeline=64, keys=KEYS)
    flush(admin)
    after, millions = admin.info(), CHECKS / 1e6
    return (rate, *((after[name] - before[name]) / millions for name in
                    ("usage_statements", "usage_rows_updated", "usage_counts_rows")), (wal(db) - start) / millions)


def one_flush(daemon, db):
    """Seconds, and bytes of WAL."""
    admin = daemon.admin_client()
    warm(daemon.check, KEYS)
    start, begin = wal(db), time.monotonic()
    flush(admin)
    return time.monotonic() - begin, wal(db) - start


def by_hand(stack, db, sql, clients, seconds=5):
    """Requests a second, and bytes of WAL for a million."""
    script = stack.folder / "request.sql"
    script.write_text(f"\\set n random(0, {KEYS - 1})\n{sql};\n")
    start = wal(db)
    done = subprocess.run(
        ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-T", str(seconds), "-f", str(script), "-h",
         str(stack.postgres.folder), "-U", "postgres", "bench"],
        capture_output=True, text=True, check=True, timeout=120)
    count = int(re.search(r"actually processed: (\d+)", done.stdout).group(1))
    return float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1)), (wal(db) - start) / count * 1e6


def prepare(stack, db, kinds):
    """The daemons, each of which has all keys in memory, and the table whose rows are all there."""
    add_keys(stack.owner, KEYS)
    db.execute(TABLE)
    db.execute(INSERT.format(ID.format("n"), f"FROM generate_series(0, {KEYS - 1}) AS n"))
    db.execute("VACUUM ANALYZE by_hand")
    daemons = {name: stack.daemon(kind, cache_ttl="1h", usage_flush_rows="10000000", usage_counts=kind)
               for name, kind in kinds.items()}
    for daemon in daemons.values():
        redis_benchmark(daemon.check, ["CHECK", "key:__rand_int__"], requests=20 * KEYS, pipeline=64, keys=KEYS)
        flush(daemon.admin_client())
    return daemons


def play(stack, db, kinds, rounds, reports):
    """All take turns; returns with how many clients pgbench is best."""
    rates, volume, written, times, flushes = reports
    daemons = prepare(stack, db, kinds)
    best = max((4, 8, 16, 32), key=lambda clients: by_hand(stack, db, BY_HAND["UPDATE a request"], clients, 2)[0])
    print(f"pgbench is best with {best} clients")
    for _ in range(rounds):
        for name, daemon in daemons.items():
            rate, statements, rows, counted, wal_bytes = checks(daemon, db)
            rates.add(name, rate)
            volume.add(name, wal_bytes)
            for what, value in (("statements", statements), ("rows", rows), ("rows of counts", counted)):
                written.add(f"{name}, {what}", value)
            seconds, wal_bytes = one_flush(daemon, db)
            times.add(name, seconds)
            flushes.add(name, wal_bytes)
        volume.add("the counts of it", volume.values["counts by hour"][-1] - volume.values["apikeyd"][-1])
        for name, sql in BY_HAND.items():
            rate, wal_bytes = by_hand(stack, db, sql, best)
            rates.add(name, rate)
            volume.add(name, wal_bytes)
    return best


def compare(rounds, durable, kinds):
    disk = "fsync=on" if durable else "fsync=off"
    name = "usage" if durable else "usage-nosync"
    reports = rates, volume, written, times, flushes = (
        Report(f"{name} (requests a second, {disk})", rounds),
        Report(f"{name}-wal (bytes of WAL for a million requests, {disk})", rounds),
        Report(f"{name}-statements (for a million checks, {disk})", rounds),
        Report(f"{name}-flush (seconds of a flush of {KEYS:,} keys, {disk})", rounds),
        Report(f"{name}-flush-wal (bytes of WAL of such a flush, {disk})", rounds))
    with Stack(durable) as stack, psycopg.connect(stack.owner, autocommit=True) as db:
        best = play(stack, db, kinds, rounds, reports)
    for report, bar, least in ((rates, 100, True), (volume, 0.01, False)):
        report.print()
        report.judge("apikeyd", "UPDATE a request", bar, least)
        for kind in list(kinds)[1:]:
            report.judge(kind, "INSERT a request", bar, least)
    volume.judge("the counts of it", "INSERT a request", 0.01, least=False)
    for report, form in ((written, "{:,.0f}"), (times, "{:.3f}"), (flushes, "{:,.0f}")):
        report.print(form)
    for report in (times, flushes):
        for kind in list(kinds)[1:]:
            print(f"  {kind} / apikeyd: {report.ratio(kind, 'apikeyd'):.3g}")
    for report in reports:
        report.save(f"pgbench with {best} clients")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    compare(rounds, durable=True, kinds=KINDS)
    compare(rounds, durable=False, kinds={name: kind for name, kind in KINDS.items() if kind != "day"})


if __name__ == "__main__":
    main()
