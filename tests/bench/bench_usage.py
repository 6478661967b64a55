"""./dev bench usage [ROUNDS]: CHECKs with usage recorded and written, against an UPDATE for each request.

redis-benchmark asks for 100,000 keys at random while the daemon writes last_used every five seconds, as
it does unless told otherwise. Against it pgbench runs UPDATE … SET last_used = now() and COMMIT for each
request, with the number of clients that is best here. PostgreSQL waits for its disk at each COMMIT, as it
does unless told otherwise; then once more with fsync=off, as if the disk took no time. WAL is PostgreSQL's
own count.
"""

import re
import subprocess
import sys
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import ROUNDS, Report, Stack, add_keys, redis_benchmark  # noqa: E402

KEYS, CHECKS = 100000, 15000000


def wal(db):
    return int(db.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')").fetchone()[0])


def checks(stack, daemon, db):
    """Checks a second, and by million checks: statements, rows, bytes of WAL."""
    admin = daemon.admin_client()
    before, start = admin.info(), wal(db)
    rate = redis_benchmark(daemon.check, ["CHECK", "key:__rand_int__"], requests=CHECKS, pipeline=64,
                           keys=KEYS)
    admin.execute_command("FLUSH")
    after, millions = admin.info(), CHECKS / 1e6
    return (rate, *((after[name] - before[name]) / millions
                    for name in ("usage_statements", "usage_rows_updated")), (wal(db) - start) / millions)


def updates(stack, db, clients, seconds=5):
    """Requests a second, and bytes of WAL for a million."""
    script = stack.folder / "update.sql"
    script.write_text(
        f"\\set n random(0, {KEYS - 1})\n"
        "UPDATE api.user_api_key SET last_used = now(), updated_at = now() "
        "WHERE key_id = 'key:' || lpad(:n::text, 12, '0');\n")
    start = wal(db)
    done = subprocess.run(
        ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-T", str(seconds), "-f", str(script), "-h",
         str(stack.postgres.folder), "-U", "postgres", "bench"],
        capture_output=True, text=True, check=True, timeout=120)
    count = int(re.search(r"actually processed: (\d+)", done.stdout).group(1))
    return float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1)), (wal(db) - start) / count * 1e6


def compare(rounds, durable):
    kind = "fsync=on" if durable else "fsync=off"
    name = "usage" if durable else "usage-nosync"
    rates = Report(f"{name} (requests a second, {kind})", rounds)
    volume = Report(f"{name}-wal (bytes of WAL for a million requests, {kind})", rounds)
    counts = Report(f"{name}-statements (for a million checks, {kind})", rounds)
    with Stack(durable) as stack, psycopg.connect(stack.owner, autocommit=True) as db:
        add_keys(stack.owner, KEYS)
        daemon = stack.daemon(cache_ttl="1h", usage_flush_rows="10000000")
        redis_benchmark(daemon.check, ["CHECK", "key:__rand_int__"], requests=20 * KEYS, pipeline=64,
                        keys=KEYS)
        best = max((4, 8, 16, 32), key=lambda clients: updates(stack, db, clients, 2)[0])
        print(f"pgbench is best with {best} clients")
        for _ in range(rounds):
            rate, statements, rows, written = checks(stack, daemon, db)
            rates.add("apikeyd", rate)
            volume.add("apikeyd", written)
            counts.add("statements", statements)
            counts.add("rows", rows)
            rate, written = updates(stack, db, best)
            rates.add("UPDATE a request", rate)
            volume.add("UPDATE a request", written)
    rates.print()
    rates.judge("apikeyd", "UPDATE a request", 100)
    volume.print()
    volume.judge("apikeyd", "UPDATE a request", 0.01, least=False)
    counts.print()
    for report in (rates, volume, counts):
        report.save(f"pgbench with {best} clients")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    compare(rounds, durable=True)
    compare(rounds, durable=False)


if __name__ == "__main__":
    main()
