"""bench_migration.py [ROWS]: how long a write waits while the schema is deployed on a live table.

A table of ROWS keys (default a million), an application that writes single rows without a pause, and a transaction that
has written and stands idle for ten seconds. The longest wait of a write is taken without a deploy, and with one of each
kind: ./dev migrate, and the plain SQL of apikeyctl schema sql."""

import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "tools")]

import psycopg  # noqa: E402
from harness.results import save  # noqa: E402
from harness.servers import BUILD, ROOT, Postgres, Scratch  # noqa: E402

TABLE = """CREATE SCHEMA api;
CREATE TABLE api."user" (user_id uuid PRIMARY KEY);
CREATE TABLE api.user_api_key (api_key_id uuid PRIMARY KEY, key_name text NOT NULL, key_id text NOT NULL,
    user_id uuid NOT NULL, last_used timestamptz, is_active boolean NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now());
INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id, is_active)
    SELECT md5(n::text)::uuid, 'n', 'key-' || n, md5('u' || n)::uuid, true FROM generate_series(1, {rows}) AS n"""
IDLE_S = 10


class Writer(threading.Thread):
    """The application: one write after another, and how long the longest took."""

    def __init__(self, dsn, rows):
        super().__init__()
        self.dsn, self.rows = dsn, rows
        self.stop = threading.Event()
        self.times = []

    def run(self):
        with psycopg.connect(self.dsn, autocommit=True) as app:
            n = 1
            while not self.stop.is_set():
                n = n * 7919 % (self.rows - 1) + 2  # not the row that the idle transaction has changed
                begin = time.monotonic()
                app.execute("UPDATE api.user_api_key SET last_used = now() WHERE api_key_id = md5(%s)::uuid", [str(n)])
                self.times.append(time.monotonic() - begin)


def measure(dsn, rows, deploy):
    """The times of all writes, while a transaction idles and `deploy` runs beside it."""
    writer = Writer(dsn, rows)
    writer.start()
    with psycopg.connect(dsn) as idle:
        idle.execute("UPDATE api.user_api_key SET key_name = 'idle' WHERE api_key_id = md5('1')::uuid")
        begin = time.monotonic()
        job = threading.Thread(target=deploy) if deploy else None
        if job:
            job.start()
        time.sleep(IDLE_S)
        idle.commit()
        if job:
            job.join()
    took = time.monotonic() - begin
    time.sleep(1)
    writer.stop.set()
    writer.join()
    return sorted(writer.times), took


def by_sqitch(dsn):
    def run():
        done = subprocess.run([sys.executable, ROOT / "tools" / "migrate.py", dsn], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            print(f"./dev migrate: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return run


def by_plain_sql(dsn):
    def run():
        sql = subprocess.run([BUILD / "apikeyctl", "schema", "sql", "--config", "/dev/null"], capture_output=True, text=True,
                             check=True).stdout
        done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn], input=sql, capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            print(f"plain SQL: exit status {done.returncode}\n{done.stderr}")
    return run


def main():
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1000000
    scratch = Scratch()
    server = Postgres(scratch.path / "pg", ["max_wal_size=4GB"])
    server.start()
    results = {}
    try:
        print(f"a table of {rows} rows, a transaction that idles for {IDLE_S} s after a write, writes one after another")
        print("| deploy | took, s | writes | p99, ms | longest wait, ms |\n| --- | --- | --- | --- | --- |")
        for name, kind in (("none", None), ("./dev migrate", by_sqitch), ("plain SQL", by_plain_sql),
                           ("./dev migrate again", by_sqitch)):
            if kind is not by_sqitch or "again" not in name:
                server.create_database(name.replace(" ", ""))
            database = ("./dev migrate" if "again" in name else name).replace(" ", "")
            dsn = server.dsn(database)
            with psycopg.connect(dsn, autocommit=True) as admin:
                if "again" not in name:
                    admin.execute(TABLE.format(rows=rows))
                    admin.execute("ANALYZE; CHECKPOINT")
            times, took = measure(dsn, rows, kind and kind(dsn))
            row = results[name] = {"took, s": took, "writes": len(times), "p99, ms": times[len(times) * 99 // 100] * 1e3,
                                   "longest, ms": times[-1] * 1e3}
            print(f"| {name} | {row['took, s']:.1f} | {row['writes']} | {row['p99, ms']:.2f} | {row['longest, ms']:.1f} |",
                  flush=True)
        save("migration", f"{rows:,} rows", results)
    finally:
        server.stop()
        scratch.remove()


if __name__ == "__main__":
    main()
