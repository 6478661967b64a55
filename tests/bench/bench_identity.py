"""./dev bench identity [ROUNDS]: what it costs a lookup to tell which store it was read from.

The daemon's own SELECT, as PostgreSQL saw it, against the same without the row that tells the store:
sent in turn by one session, without a prepared statement, as through a pooler. One key, and a thousand."""

import sys
import time
from pathlib import Path

import psycopg
import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import ROUNDS, Report, Stack, add_keys  # noqa: E402


def lookup(stack, daemon):
    """The statement, from the server's own list of what is run."""
    client = redis.Redis(unix_socket_path=str(daemon.check))
    with psycopg.connect(stack.owner, autocommit=True) as db:
        for i in range(1000):
            client.execute_command("CHECK", f"key:{i:012d}")
            for query, in db.execute("SELECT query FROM pg_stat_activity WHERE query LIKE 'SELECT t.%'"):
                return query.replace("$1", "%s")
    raise SystemExit("the daemon sent no lookup")


def median_us(db, sql, keys, times):
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        db.execute(sql, [keys], binary=True, prepare=False).fetchall()
        took.append(time.perf_counter() - begin)
    return sorted(took)[times // 2] * 1e6


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with Stack() as stack:
        add_keys(stack.owner, 100000)
        daemon = stack.daemon(redis_url="")
        told = lookup(stack, daemon)
        plain = told[:told.index(" UNION ALL")]
        report = Report("identity (us a SELECT, median, one session, client included)", rounds)
        with psycopg.connect(stack.owner, autocommit=True) as db:
            for _ in range(rounds):
                for count, times in ((1, 2000), (1000, 60)):
                    keys = [f"key:{i:012d}" for i in range(count)]
                    report.add(f"{count} keys, plain", median_us(db, plain, keys, times))
                    report.add(f"{count} keys, told", median_us(db, told, keys, times))
        report.print("{:.0f}")
        report.judge("1 keys, told", "1 keys, plain", 2, least=False)
        report.judge("1000 keys, told", "1000 keys, plain", 1.1, least=False)
        report.save()


if __name__ == "__main__":
    main()
