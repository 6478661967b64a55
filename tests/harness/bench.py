"""What the benches share: servers side by side, rounds in turn, and a small table."""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import psycopg
from harness.clocks import Clocks
from harness.results import save
from harness.schema import deploy
from harness.servers import Apikeyd, Postgres, Redis, Scratch, migrate, wait_until

ROUNDS = 5


# For the front thread where it has a processor of its own (listen.cpu), and for everything else then.
*OTHERS, FRONT = sorted(os.sched_getaffinity(0))


def bind(pid, processors):
    """All threads of a process, and those that they start."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), processors)


def cpu_seconds(pid):
    """User and system time of a process, all threads, in ticks of 10 ms."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def add_keys(dsn, count, prefix="key:"):
    """Active keys of one user: "<prefix>000000000000" and so on, as redis-benchmark makes them. Nobody
    listens yet, so nothing is notified."""
    table = "api.user_api_key"
    with psycopg.connect(dsn, autocommit=True) as db:
        user = uuid.uuid4()
        db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [user])
        always = [name for name, in db.execute(
            "SELECT tgname FROM pg_trigger WHERE tgrelid = %s::regclass AND tgenabled = 'A'", [table])]
        db.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        db.execute(f"INSERT INTO {table} (api_key_id, key_name, key_id, user_id) "
                   "SELECT gen_random_uuid(), 'bench', %s || lpad(n::text, 12, '0'), %s "
                   "FROM generate_series(0, %s) AS n", [prefix, user, count - 1])
        db.execute(f"ALTER TABLE {table} ENABLE TRIGGER ALL")
        for name in always:
            db.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
        db.execute(f"VACUUM ANALYZE {table}")


ATTRIBUTES = {"postgres_attribute_columns": "plan, scopes"}


def add_attributes(dsn):
    """Each key, there or to come, gets two of 100 bytes."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("ALTER TABLE api.user_api_key ADD plan text DEFAULT repeat('p', 100), "
                   "ADD scopes text DEFAULT repeat('s', 100)")
    deploy(dsn, attribute_columns="plan, scopes")


class Stack:
    """PostgreSQL with a migrated database, Redis, and as many daemons as are asked for. `durable`:
    PostgreSQL is on a disk and waits for it at a COMMIT, as it does unless told otherwise. `clocked`:
    self.clocks sets the clocks of PostgreSQL and the daemons."""

    def __init__(self, durable=False, settings=(), clocked=False):
        self.scratch = Scratch()
        self.folder = self.scratch.path
        self.disk = Path(tempfile.mkdtemp(prefix="apikeyd-", dir="/var/tmp")) if durable else self.folder
        self.disk.chmod(0o755)
        self.clocks = Clocks(self.folder / "clocks") if clocked else None
        self.env = {**os.environ, **self.clocks.env} if clocked else None
        self.postgres = Postgres(self.disk / "pg", [*settings, *(["fsync=on"] if durable else [])])
        self.postgres.env = self.env
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
        shutil.rmtree(self.disk, ignore_errors=True)

    def pids(self):
        """All servers, but daemons that place their threads themselves."""
        return [*self.postgres.pids(), self.redis.process.pid,
                *(daemon.process.pid for daemon in self.others if not daemon.options.get("listen.cpu"))]

    @contextlib.contextmanager
    def front_alone(self):
        """Leaves processor FRONT to the front threads that are bound to it: the servers, this program and what it
        starts use the others. Other programs of this machine may use it all the same."""
        for pid in (os.getpid(), *self.pids()):
            bind(pid, OTHERS)
        try:
            yield
        finally:
            for pid in (os.getpid(), *self.pids()):
                bind(pid, {*OTHERS, FRONT})

    def daemon(self, name="daemon", **options):
        """Options as in section_name."""
        daemon = Apikeyd(self.folder / name, {
            "postgres.dsn": self.postgres.dsn("bench", "apikeyd"), "redis.url": "",
            **{key.replace("_", ".", 1): value for key, value in options.items()}}, env=self.env)
        self.others.append(daemon)
        daemon.start()
        wait_until(daemon.settled, "the daemon")
        return daemon


def ask(path, requests, pipeline=2000, reply=101):
    """Send the requests to the daemon on the socket, a pipeline at a time; each is answered by `reply` bytes, an ALLOW."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(path))
        for start in range(0, len(requests), pipeline):
            some = requests[start:start + pipeline]
            wire.sendall(b"".join(some))
            left = len(some) * reply
            while left:
                got = wire.recv(min(left, 1 << 20))
                if not got:
                    raise EOFError("the daemon hung up")
                left -= len(got)


def checks_of(keys):
    """A CHECK of each of so many keys."""
    return [b"CHECK key:%012d\r\n" % i for i in range(keys)]


def warm(path, keys, **options):
    """Have the daemon on the socket read `keys` keys."""
    ask(path, checks_of(keys), **options)


def redis_benchmark(path, command, *, requests, pipeline, clients=50, keys=100000):
    """Requests a second."""
    done = subprocess.run(
        ["redis-benchmark", "--csv", "-s", str(path), "-c", str(clients), "-P", str(pipeline), "-n",
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
        print(f"  {row} / {other}: {value:.3g}  (bar {sign} {bar}: {'met' if met else 'missed'})")
        return met

    def print(self, form="{:,.0f}"):
        width = max(map(len, self.values))
        print(f"{self.name}, {self.rounds} rounds in turn\n  {'':{width}} {'min':>12} {'median':>12} {'max':>12}")
        for row, values in self.values.items():
            figures = " ".join(f"{form.format(value):>12}" for value in spread(values).values())
            print(f"  {row:{width}} {figures}")

    def save(self, *conditions):
        save(self.name.split()[0], ", ".join((f"{self.rounds} round{'s' * (self.rounds != 1)}", *conditions)),
             {row: {**spread(values), "all": values} for row, values in self.values.items()}, self.ratios)
