"""./dev bench stalls [SECONDS]: what clients notice while something around the daemon stands still.

For so many seconds each (60 by default): nothing; the spill's fsync does not return; nobody reads the log;
the name server is silent and sessions have ended; the spill's disk is full; the ledger's tmpfs is full; Redis
answers a byte at a time; PostgreSQL accepts connections and never answers. Four clients ask meanwhile, each
one question after another: for keys in memory, for keys that are not, for INFO, and for a key in a plain
Redis, which is the yardstick for what the machine itself delays. Told are the longest wait of each, how many
were not answered, the longest silence towards the watchdog, and how much the daemon's memory grew.
"""

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "integration"),
                str(Path(__file__).resolve().parent)]
from bench_memory import resident  # noqa: E402
from harness.activation import Notifications  # noqa: E402
from harness.bench import Stack, add_keys, warm  # noqa: E402
from harness.results import save  # noqa: E402
from harness.names import NameServer, Names  # noqa: E402
from harness.proxy import SILENT, TRICKLE, Proxy  # noqa: E402
from harness.servers import Apikeyd, Redis, wait_until  # noqa: E402
from harness.standstill import Standstill  # noqa: E402
from wire import Wire  # noqa: E402

HOT, COLD, ALLOWED = 100, 1000000, 101
HOST, LOOPBACK = "postgres.test", "127.0.0.1"
REDIS_TIMEOUT_MS, POSTGRES_TIMEOUT_MS = 50, 500
DEADLINE_MS = REDIS_TIMEOUT_MS + 2 * POSTGRES_TIMEOUT_MS + 1000  # config_wait_max_us()


class TcpProxy(Proxy):
    """The same line, with a port of 127.0.0.1 at this end."""

    def __init__(self, folder, server):
        super().__init__(folder, server)
        self.listener.close()
        self.listener = socket.socket()
        self.listener.bind((LOOPBACK, 0))
        self.listener.listen()
        self.port = self.listener.getsockname()[1]


class Asker(threading.Thread):
    """Asks one question after another."""

    def __init__(self, ask, every=0.002):
        super().__init__()
        self.ask, self.every = ask, every
        self.longest, self.count, self.unanswered, self.stopping = 0.0, 0, 0, False

    def run(self):
        while not self.stopping:
            begin = time.monotonic()
            self.unanswered += isinstance(self.ask(), RuntimeError)
            self.longest = max(self.longest, time.monotonic() - begin)
            self.count += 1
            time.sleep(self.every)

    def stop(self):
        self.stopping = True
        self.join()


class World:
    """A daemon whose surroundings can be made to stand still, each in its own way."""

    def __init__(self, stack, name, opened):
        self.stack, self.opened = stack, opened
        self.folder = stack.folder / name
        self.folder.mkdir()
        self.still = Standstill(self.folder / "still")
        self.postgres_line = self.open(Proxy(self.folder / "pg", stack.postgres.folder))
        self.named_line = self.open(TcpProxy(self.folder / "named", stack.postgres.folder))
        self.redis_line = self.open(Proxy(self.folder / "redis", stack.redis.folder, "redis.sock"))
        self.names, server = Names(self.folder / "names"), self.open(NameServer())
        server.silent = True
        self.names.say({HOST: [LOOPBACK]})
        self.names.ask(server.address)
        self.said = Notifications(self.folder / "notify")
        opened.callback(self.said.close)
        self.daemon = self.make_daemon(name)

    def open(self, thing):
        return self.opened.enter_context(thing)

    def make_daemon(self, name):
        daemon = Apikeyd(self.folder / "daemon", {}, {
            **self.still.env, "NOTIFY_SOCKET": str(self.said.path), "WATCHDOG_USEC": "3000000"})
        line = (f"host={HOST} port={self.named_line.port}" if name == "name_server_is_silent"
                else f"host={self.postgres_line.folder}")
        self.ledgers, self.spills = self.small_disk("ledgers"), self.small_disk("spills")
        daemon.ledger, daemon.spill = self.ledgers / "ledger", self.spills / "spill"
        daemon.options |= {
            "postgres.dsn": f"{line} user=apikeyd dbname=bench", "postgres.timeout": f"{POSTGRES_TIMEOUT_MS}ms",
            "redis.url": f"unix://{self.redis_line.folder}/redis.sock", "redis.timeout": f"{REDIS_TIMEOUT_MS}ms",
            "usage.flush_interval": "1s", "log.level": "debug",
            "usage.ledger": daemon.ledger, "usage.spill": daemon.spill}
        daemon.runner = self.names.runner
        daemon.start()
        self.opened.callback(daemon.stop)
        wait_until(daemon.settled, "the daemon")
        return daemon

    def small_disk(self, name):
        path = self.folder / name
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", path], check=True)
        self.opened.callback(subprocess.run, ["umount", "-l", path], check=False)
        return path

    # What stands still, for the length of a with block

    def nothing(self):
        return contextlib.nullcontext()

    def end_sessions(self, *statements):
        with psycopg.connect(self.stack.owner, autocommit=True) as db:
            for statement in statements:
                db.execute(statement)
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'apikeyd'")

    @contextlib.contextmanager
    def usage_is_spilled(self):
        """As PostgreSQL does not take it."""
        self.end_sessions("ALTER ROLE apikeyd SET default_transaction_read_only = on")
        yield
        self.end_sessions("ALTER ROLE apikeyd RESET default_transaction_read_only")

    @contextlib.contextmanager
    def fsync_does_not_return(self):
        with self.usage_is_spilled(), self.still.stand("*", "fsync"), self.still.stand("*", "fdatasync"):
            yield

    def log_is_not_read(self):
        return self.still.stand("apikeyd-log", "write")

    @contextlib.contextmanager
    def name_server_is_silent(self):
        self.names.say({})
        self.end_sessions()
        yield
        self.names.say({HOST: [LOOPBACK]})

    @contextlib.contextmanager
    def full(self, folder):
        with open(folder / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        yield
        (folder / "filler").unlink()

    @contextlib.contextmanager
    def spills_disk_is_full(self):
        with self.usage_is_spilled(), self.full(self.spills):
            yield

    def ledgers_tmpfs_is_full(self):
        return self.full(self.ledgers)

    @contextlib.contextmanager
    def line(self, line, mode):
        line.become(mode)
        yield
        line.speak()

    def redis_says_a_byte_at_a_time(self):
        return self.line(self.redis_line, TRICKLE)

    def postgres_never_answers(self):
        return self.line(self.postgres_line, SILENT)


CASES = ("nothing", "fsync_does_not_return", "log_is_not_read", "name_server_is_silent", "spills_disk_is_full",
         "ledgers_tmpfs_is_full", "redis_says_a_byte_at_a_time", "postgres_never_answers")


def measure(stack, plain, name, seconds, keys):
    with contextlib.ExitStack() as opened:
        world = World(stack, name, opened)
        daemon = world.daemon
        hits, misses, admin = (opened.enter_context(Wire(path, timeout=300))
                               for path in (daemon.check, daemon.check, daemon.admin))
        warm(daemon.check, HOT, reply=ALLOWED)
        hot = itertools.cycle(range(HOT))
        askers = {"hit": Asker(lambda: hits.ask("CHECK", f"key:{next(hot):012d}")),
                  "miss": Asker(lambda: misses.ask("CHECK", f"key:{next(keys):012d}")),
                  "INFO": Asker(lambda: admin.ask("INFO"), every=0.05),
                  "Redis GET": Asker(lambda: plain.get("key"))}
        with getattr(world, name)():
            memory, begin = resident(daemon.process.pid), time.monotonic()
            for asker in askers.values():
                asker.start()
            time.sleep(seconds)
            for asker in askers.values():
                asker.stop()
            grown = resident(daemon.process.pid) - memory
            end = time.monotonic()
        pings = [begin, *(at for at in world.said.times("WATCHDOG=1") if begin < at < end), end]
        found = {f"{what}, ms": round(asker.longest * 1000) for what, asker in askers.items()}
        for what in ("hit", "miss", "INFO"):
            found |= {f"{what} asked": askers[what].count, f"{what} unanswered": askers[what].unanswered}
        found["watchdog, s"] = round(max(later - earlier for earlier, later in zip(pings, pings[1:])), 1)
        found["grown, MiB"] = round(grown / 2**20, 1)
        return found


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    results, keys = {}, iter(range(HOT, COLD))
    with Stack() as stack, contextlib.ExitStack() as opened:
        add_keys(stack.owner, COLD)
        plain = Redis(stack.folder / "plain")
        plain.start()
        opened.callback(plain.stop)
        client = plain.client()
        client.set("key", "v" * ALLOWED)
        print(f"longest waits within {seconds:g} s each; a check may wait {DEADLINE_MS} ms")
        for name in CASES:
            results[name] = measure(stack, client, name, seconds, keys)
            print(f"{name.replace('_', ' '):28}", ", ".join(f"{k} {v}" for k, v in results[name].items()), flush=True)
    save("stalls", f"{seconds:g} s each", results)


if __name__ == "__main__":
    main()
