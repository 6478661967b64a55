"""Real servers for tests and for ./dev run, each in a folder of its own.

Unix sockets only, no port is taken, and every process is stopped by the PID it was started with.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import redis

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import migrate as migrations  # noqa: E402  (tests use what users run)

migrate = migrations.migrate
BUILD = Path(os.environ.get("APIKEYD_BUILD", ROOT / "build" / "release"))
VERSION = re.search(r"\nproject\(apikeyd VERSION ([\d.]+) ", (ROOT / "CMakeLists.txt").read_text())[1]
# Debian's newest. It has as many as a machine has gone through.
PG_BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=Path("/usr/bin"))
# What INFO says about a change feed that is up but does not know yet whether the triggers announce.
UNSETTLED = ("cache.ttl: the triggers are being", "cache.ttl: transactions that were open",
             "cache.ttl: apikeyd.unannounced_change has not been read yet")
HANG = int(os.environ.get("APIKEYD_HANG", "60"))  # seconds after which something that should have happened never will


def wait_until(condition, what, timeout=HANG):
    """Poll until condition() is true; its value is returned. Polls grow rarer: a condition may cost milliseconds
    of the processor, and other tests run beside."""
    begin = time.monotonic()
    while True:
        value = condition()
        if value:
            return value
        waited = time.monotonic() - begin
        if waited > timeout:
            raise TimeoutError(f"waited {timeout} s for {what}")
        time.sleep(min(0.01 + waited / 20, 0.1))


def accepts(path):
    """Whether somebody listens on the Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def answers(path):
    """Whether a daemon on the Unix socket answers. It may listen and end all the same."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(HANG)
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return probe.recv(100) != b""
        except OSError:
            return False


class Scratch:
    """A folder on tmpfs, short enough for socket paths, that is removed at the end."""

    def __init__(self):
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.path = Path(tempfile.mkdtemp(prefix="apikeyd-", dir=base))
        self.path.chmod(0o755)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def has_stopped(pid):
    """Whether all its threads have; gone is stopped too. The state is a letter: proc(5)."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if stat.read_text().rpartition(")")[2].split()[0] not in "TXZ":
                return False
    return True


def threads_named(name, pid):
    """How many there are. One that has told what it found ends a moment later."""
    found = 0
    for comm in Path(f"/proc/{pid}/task").glob("*/comm"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += comm.read_text() == f"{name}\n"
    return found


def threads_of(pid):
    """What each thread of a process that hangs does, and which signals wait: for the message of the failure."""
    lines = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        with contextlib.suppress(OSError):
            told = [line for line in (task / "status").read_text().splitlines()
                    if line.startswith(("Name", "State", "SigPnd", "ShdPnd", "SigBlk", "SigCgt"))]
            lines.append("  ".join([*told, (task / "wchan").read_text()]))
    return "\n".join(lines)


def log_is_written(pid):
    """Whether the daemon's log thread sleeps: writing a line to a file does not make it sleep, so it waits for
    the next one. (Or it has stopped, or there is none.) Valgrind makes all threads but one sleep."""
    if "valgrind" in map(str, Apikeyd.runner):
        time.sleep(0.3)
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if (task / "comm").read_text() == "apikeyd-log\n":
                return (task / "stat").read_text().rpartition(")")[2].split()[0] in "STXZ"
    return True


class Process:
    """A child process whose output goes to a file."""

    def __init__(self, argv, log, user=None, env=None, pass_fds=()):
        self.log_path = Path(log)
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                [str(a) for a in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                user=user,
                group=pwd.getpwnam(user).pw_gid if user else None,
                extra_groups=[] if user else None,
                env=env,
                pass_fds=pass_fds,
                start_new_session=True,
                # ./dev run blocks signals for itself; its servers must get theirs.
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ()),
            )
        self.pid = self.child.pid

    def send(self, number):
        if self.child.poll() is None:
            self.child.send_signal(number)

    def pause(self):
        """All its threads have stopped when this returns; kill(2) alone comes back before that."""
        self.send(signal.SIGSTOP)
        wait_until(lambda: has_stopped(self.pid), "it to stop")

    def resume(self):
        self.send(signal.SIGCONT)

    def stop(self, number=signal.SIGTERM):
        self.send(signal.SIGCONT)
        self.send(number)
        try:
            return self.child.wait(HANG)
        except subprocess.TimeoutExpired as error:
            where = threads_of(self.pid)
            self.child.kill()
            self.child.wait()
            raise TimeoutError(f"{self.child.args} has not ended within {HANG} s of signal {number}:\n{where}") from error

    def log(self):
        return self.log_path.read_text(errors="replace")


def postgres_user():
    """PostgreSQL refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


class Postgres:
    """A PostgreSQL cluster; its socket lives in `folder`. With `primary` its hot standby."""

    env = None  # what it is started with, if that is not ours

    def __init__(self, folder, settings=(), primary=None):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.user = postgres_user()
        self.settings = list(settings)
        self.process = None
        self.folder.mkdir(parents=True)
        if self.user:
            shutil.chown(self.folder, self.user)
        self.make(primary)

    def make(self, primary):
        """Its data directory."""
        make = [PG_BIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                "--locale=C.UTF-8", "--no-sync", "--no-instructions"]
        if primary:
            make = [PG_BIN / "pg_basebackup", "-D", self.data, "-R", "-c", "fast", "--no-sync",
                    "-d", primary.dsn("postgres")]
            self.settings = primary.settings
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, user=self.user, cwd="/")

    def start(self):
        settings = ["listen_addresses=", f"unix_socket_directories={self.folder}", "fsync=off",
                    "max_connections=60", "logging_collector=off",
                    # In its own folder: a server that is killed leaves nothing in /dev/shm.
                    "dynamic_shared_memory_type=mmap", *self.settings]
        argv = [PG_BIN / "postgres", "-D", self.data]
        for setting in settings:
            argv += ["-c", setting]
        self.process = Process(argv, self.folder.with_suffix(".log"), self.user, self.env)
        wait_until(self.answers, "PostgreSQL to answer")

    def answers(self):
        try:
            psycopg.connect(self.dsn("postgres"), connect_timeout=5).close()
            return True
        except psycopg.OperationalError:
            return False

    def stop(self):
        """Fast shutdown."""
        if self.process:
            self.process.stop(signal.SIGINT)
        self.process = None

    def pause(self):
        def stopped():
            self.signal_all(signal.SIGSTOP)  # again: a session may have begun meanwhile
            return all(map(has_stopped, self.pids()))
        wait_until(stopped, "PostgreSQL to stop")

    def resume(self):
        self.signal_all(signal.SIGCONT)

    def signal_all(self, number):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):  # children come and go
                os.kill(pid, number)

    def pids(self):
        """The postmaster and its children."""
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True,
                                  text=True, check=False)
        return [self.process.pid, *map(int, children.stdout.split())]

    def dsn(self, database, user="postgres"):
        return f"host={self.folder} user={user} dbname={database}"

    def uri(self, database, user="postgres"):
        """The same for sqitch."""
        host = str(self.folder).replace("/", "%2F")
        return f"db:pg://{user}@/{database}?host={host}"

    def create_database(self, name):
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{name}"')


class Redis:
    """A Redis server that keeps nothing; its socket is `folder`/redis.sock."""

    def __init__(self, folder, *settings):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.socket = self.folder / "redis.sock"
        self.settings = settings
        self.process = None

    def start(self):
        argv = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "",
                "--appendonly", "no", "--dir", self.folder, *self.settings]
        self.process = Process(argv, self.folder.with_suffix(".log"))
        wait_until(lambda: accepts(self.socket), "Redis to answer")

    def stop(self):
        if self.process:
            self.process.stop()
        self.process = None

    def pause(self):
        self.process.pause()

    def resume(self):
        self.process.resume()

    def url(self):
        return f"unix://{self.socket}"

    def client(self):
        return redis.Redis(unix_socket_path=str(self.socket), decode_responses=True)


def number_or_text(value):
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value


def parse_info(text, **_):
    """Texts as they are: later releases of redis-py make a list of one that has a comma."""
    rows = (line.split(":", 1) for line in text.splitlines() if ":" in line)
    return {name: number_or_text(value) for name, value in rows}


class Apikeyd:
    """The daemon under test. Options are given as {"section.name": value}."""

    runner = ()  # what it is started by, if it is not started as it is

    def __init__(self, folder, options, env=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.check = self.folder / "check.sock"
        self.admin = self.folder / "admin.sock"
        self.metrics = self.folder / "metrics.sock"
        self.ledger = self.folder / "usage.ledger"
        self.spill = self.folder / "usage.spill"
        self.config = self.folder / "apikeyd.conf"
        self.env = env
        self.program = BUILD / "apikeyd"
        self.process = None
        self.options = {
            "listen.check": self.check,
            "listen.admin": self.admin,
            "listen.metrics": self.metrics,
            "usage.ledger": self.ledger,
            "usage.spill": self.spill,
            **options,
        }

    def write_config(self):
        sections = {}
        for name, value in self.options.items():
            section, option = name.split(".")
            sections.setdefault(section, []).append(f"{option} = {value}\n")
        self.config.write_text(
            "".join(f"[{name}]\n{''.join(lines)}" for name, lines in sections.items()))

    def start(self):
        self.write_config()
        self.launch()
        wait_until(lambda: self.died() or answers(self.admin), "apikeyd to answer")
        if self.died():
            raise RuntimeError(f"apikeyd ended at start:\n{self.process.log()}")

    def launch(self):
        self.process = Process([*self.runner, self.program, "-c", self.config], self.folder / "apikeyd.log",
                               env={**os.environ, **(self.env or {})})

    def died(self):
        return self.process.child.poll() is not None

    def stop(self):
        status = self.process.stop()
        self.process = None
        return status

    def terminate(self):
        """SIGTERM; wait_end() tells how it went."""
        self.process.send(signal.SIGTERM)

    def wait_end(self):
        status = self.process.child.wait(HANG)
        self.process = None
        return status

    def settled(self):
        """Whether it is connected to everything and has looked for usage left from before."""
        counts = self.admin_client().info()
        wanted = int(self.options.get("postgres.connections", 2))
        return (counts["usage_up"] and counts["postgres_connections_up"] == wanted
                and counts["feed_up"]
                and not counts["revocation_bound"].startswith(UNSETTLED)
                and (counts["redis_up"] or not self.options.get("redis.url")))

    def kill(self):
        self.process.child.kill()
        self.process.child.wait()
        self.process = None

    def client(self, **options):
        """A redis-py client on the check socket."""
        return redis.Redis(unix_socket_path=str(self.check), decode_responses=True, **options)

    def admin_client(self):
        client = redis.Redis(unix_socket_path=str(self.admin), decode_responses=True)
        client.set_response_callback("INFO", parse_info)
        return client

    def log(self):
        """All that it has logged until now."""
        if self.process and not self.died():
            wait_until(lambda: log_is_written(self.process.pid), "its log thread")
        return (self.folder / "apikeyd.log").read_text(errors="replace")
