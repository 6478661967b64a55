"""./dev bench hostile [ROUNDS]: what a polite client notices of those that are not.

open_loop asks for hot keys, 2,000 times a second, with real-time priority where that is allowed. In turn:
alone, and beside crowds that each do one kind of harm. A crowd is one Python program, so it uses one
processor at most; PostgreSQL, the daemon's two threads and open_loop share what is left. The last rows have the
front thread go before the others (SCHED_RR, as root), as if it had a processor of its own: what it makes
its clients wait for, without what the scheduler does.
"""

import contextlib
import multiprocessing
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench_latency import note, open_loop  # noqa: E402
from harness.bench import ROUNDS, Report, Stack, add_keys, warm  # noqa: E402

HOT, RATE = 1000, 2000


def connect(path):
    one = socket.socket(socket.AF_UNIX)
    one.connect(path)
    one.settimeout(10)
    return one


def slow(path):
    """200 clients, a byte a second from each."""
    crowd = [connect(path) for _ in range(200)]
    for i in range(1 << 30):
        for one in crowd:
            one.send(b"CHECK key:000000000000\r\n"[i % 24:][:1])
        time.sleep(1)


def deaf(path):
    """20 clients that ask and ask and never read."""
    crowd = [connect(path) for _ in range(20)]
    for one in crowd:
        one.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            while True:
                one.sendall(b"CHECK key:000000000000\r\n" * 1000)
    time.sleep(1000)


def idle(path):
    """9,000 connections that do nothing."""
    crowd = [connect(path) for _ in range(9000)]
    time.sleep(1000)
    return crowd


def endless(path):
    """Lines without an end."""
    while True:
        with contextlib.suppress(OSError), connect(path) as one:
            while True:
                one.sendall(b"x" * 65536)


def fleeting(path):
    """They ask for unknown keys and hang up before the answers come."""
    for i in range(1 << 30):
        with connect(path) as one:
            one.sendall(b"".join(b"CHECK gone-%d-%d\r\n" % (i, k) for k in range(20)))


def flood(path):
    """A client that asks for made-up keys as fast as it can, 2,000 at a time."""
    with connect(path) as one:
        for i in range(1 << 30):
            one.sendall(b"".join(b"CHECK no-%d-%d\r\n" % (i, k) for k in range(2000)))
            left = 2000 * len("*2\r\n$4\r\nDENY\r\n$7\r\nunknown\r\n")
            while left:
                left -= len(one.recv(min(left, 1 << 20)))


CROWDS = (slow, deaf, idle, endless, fleeting, flood)
AHEAD = (fleeting, flood) if os.geteuid() == 0 else ()


@contextlib.contextmanager
def front_ahead(daemon):
    task, = (task for task in Path(f"/proc/{daemon.process.pid}/task").iterdir()
             if (task / "comm").read_text() == "apikeyd-front\n")
    os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))


def beside(crowd, daemon):
    """open_loop's figures while it acts. open_loop has connected by then: what is measured is how its requests fare."""
    process = multiprocessing.Process(target=crowd, args=(str(daemon.check),), daemon=True)
    begin = threading.Timer(0.1, process.start)
    begin.start()
    try:
        return open_loop(daemon, keys=HOT, rate=RATE)
    finally:
        begin.join()
        process.kill()
        process.join()
        time.sleep(1)  # what it has left behind is dealt with


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    reports = [Report(f"hostile-{name} (µs, {RATE} hits a second)", rounds) for name in ("p50", "p99", "p99.9", "max")]
    with Stack() as stack:
        add_keys(stack.owner, HOT)
        daemon = stack.daemon(cache_ttl="1h", cache_ttl_unlinked="1h")
        warm(daemon.check, HOT)
        for crowd in (deaf, fleeting, flood):  # memory is touched for the first time
            beside(crowd, daemon)
        for _ in range(rounds):
            note(reports, "alone", open_loop(daemon, keys=HOT, rate=RATE))
            for crowd in CROWDS:
                note(reports, crowd.__name__, beside(crowd, daemon))
            for crowd in AHEAD:
                with front_ahead(daemon):
                    note(reports, f"{crowd.__name__}, front ahead", beside(crowd, daemon))
    for report in reports:
        report.print("{:.1f}")
        rows = [crowd.__name__ for crowd in CROWDS] + [f"{crowd.__name__}, front ahead" for crowd in AHEAD]
        for row in rows if report is reports[1] else ():
            report.judge(row, "alone", 2, least=False)
        report.save()


if __name__ == "__main__":
    main()
