"""What the benches share: servers side by side, rounds in turn, a small table, and JSON."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import uuid

import psycopg
from harness.servers import ROOT, Apikeyd, Postgres, Redis, Scratch, migrate, wait_until

RESULTS = ROOT / "build" / "bench"
ROUNDS = 5


def cpu_seconds(pid):
    """User and system time of a process, all threads, in ticks of 10 ms."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def add_keys(dsn, count, prefix="key:"):
    """Active keys of one user: "<prefix>000000000000" and so on, as redis-benchmark makes them."""
    with psycopg.connect(dsn, autocommit=True) as db:
        user = uuid.uuid4()
        db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [user])
        db.execute("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id) "
                   "SELECT gen_random_uuid(), 'bench', %s || lpad(n::text, 12, '0'), %s "
                   "FROM generate_series(0, %s) AS n", [prefix, user, count - 1])
        db.execute("VACUUM ANALYZE api.user_api_key")


class Stack:
    """PostgreSQL with a migrated database, Redis, and as many daemons as are asked for."""

    def __init__(self, postgres_settings=()):
        self.scratch = Scratch()
        self.folder = self.scratch.path
        self.postgres = Postgres(self.folder / "pg", postgres_settings)
        self.redis = Redis(self.folder / "redis")
        self.others = []

    def __enter__(self):
        self.postgres.start()
        self.redis.start()
        self.postgres.create_database("bench")
        done = migrate(self.postgres.uri("bench"))
        if done.returncode != 0:
            sys.exit(done.stdout + done.stderr)
        self.owner = self.postgres.dsn("bench")
        return self

    def __exit__(self, *_):
        for server in (*reversed(self.others), self.redis, self.postgres):
            with contextlib.suppress(ProcessLookupError):
                if getattr(server, "process", server):
                    server.stop()
        self.scratch.remove()

    def daemon(self, name="daemon", **options):
        """Options as in section_name."""
        daemon = Apikeyd(self.folder / name, {
            "postgres.dsn": self.postgres.dsn("bench", "apikeyd"), "redis.url": "",
            **{key.replace("_", ".", 1): value for key, value in options.items()}})
        self.others.append(daemon)
        daemon.start()
        wait_until(daemon.settled, "the daemon")
        return daemon


def redis_benchmark(socket, command, *, requests, pipeline, clients=50, keys=100000):
    """Requests a second."""
    done = subprocess.run(
        ["redis-benchmark", "--csv", "-s", str(socket), "-c", str(clients), "-P", str(pipeline), "-n",
         str(requests), "-r", str(keys), *command], capture_output=True, text=True, check=True,
        timeout=600)
    return float(done.stdout.splitlines()[-1].split(",")[1].strip('"'))


def spread(values):
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


class Report:
    """Rows of figures by round; a row's ratio to another is the median of the rounds' ratios."""

    def __init__(self, name, rounds):
        self.name, self.rounds = name, rounds
        self.values, self.ratios = {}, {}

    def add(self, row, value):
        self.values.setdefault(row, []).append(value)

    def ratio(self, row, other):
        pairs = zip(self.values[row], self.values[other])
        value = statistics.median(one / two for one, two in pairs)
        self.ratios[f"{row} / {other}"] = value
        return value

    def judge(self, row, other, bar, least=True):
        """Print the ratio beside its bar."""
        value = self.ratio(row, other)
        met = value >= bar if least else value <= bar
        sign = ">=" if least else "<="
        print(f"  {row} / {other}: {value:.2f}  (bar {sign} {bar}: {'met' if met else 'missed'})")
        return met

    def print(self, form="{:,.0f}"):
        width = max(map(len, self.values))
        print(f"{self.name}, {self.rounds} rounds in turn\n  {'':{width}} {'min':>12} {'median':>12} {'max':>12}")
        for row, values in self.values.items():
            figures = " ".join(f"{form.format(value):>12}" for value in spread(values).values())
            print(f"  {row:{width}} {figures}")

    def save(self):
        RESULTS.mkdir(parents=True, exist_ok=True)
        data = {"rounds": self.rounds, "ratios": self.ratios,
                "rows": {row: {**spread(values), "all": values} for row, values in self.values.items()}}
        (RESULTS / f"{self.name.split()[0]}.json").write_text(json.dumps(data, indent=1) + "\n")
