"""./dev bench hostile [ROUNDS]: what a polite client notices of those that are not.

open_loop asks for hot keys, 2,000 times a second, with real-time priority where that is allowed. In turn:
alone, and beside crowds that each do one kind of harm. A crowd is one Python program, so it uses one
processor at most; PostgreSQL, the daemon's threads and open_loop share what is left.

Each is measured twice. The second time the front thread of another daemon has a processor of its own (listen.cpu), and
all that the bench starts, open_loop and the crowd too, is on the others: what the front thread makes its
clients wait for, without what the scheduler does. A crowd that has less of a processor then does less harm, too.
"""

import contextlib
import multiprocessing
import resource
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench_latency import note, open_loop  # noqa: E402
from harness.bench import FRONT, OTHERS, ROUNDS, Report, Stack, add_keys, warm  # noqa: E402
from harness.figures import OWN  # noqa: E402

HOT, RATE, SECONDS = 1000, 2000, 2


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


def hits(daemon):
    return open_loop(daemon, keys=HOT, rate=RATE, seconds=SECONDS)


def beside(crowd, daemon):
    """open_loop's figures while it acts. open_loop has connected by then: what is measured is how its requests fare."""
    process = multiprocessing.Process(target=crowd, args=(str(daemon.check),), daemon=True)
    begin = threading.Timer(0.1, process.start)
    begin.start()
    try:
        return hits(daemon)
    finally:
        begin.join()
        process.kill()
        process.join()
        time.sleep(0.5)  # what it has left behind is dealt with


def measure(daemon, reports, name=""):
    note(reports, f"alone{name}", hits(daemon))
    for crowd in CROWDS:
        note(reports, f"{crowd.__name__}{name}", beside(crowd, daemon))


def main():
    if not OTHERS:
        sys.exit("two processors are needed, one of them for the front thread")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    reports = [Report(f"hostile-{name} (µs, {RATE} hits a second)", rounds) for name in ("p50", "p99", "p99.9", "max")]
    with Stack() as stack:
        add_keys(stack.owner, HOT)
        shared, own = (stack.daemon(name, cache_ttl="1h", cache_ttl_unlinked="1h", listen_cpu=cpu)
                       for name, cpu in (("shared", ""), ("own", FRONT)))
        for daemon in (shared, own):
            warm(daemon.check, HOT)
            for crowd in (deaf, fleeting, flood):  # memory is touched for the first time
                beside(crowd, daemon)
        for _ in range(rounds):
            measure(shared, reports)
            with stack.front_alone():
                measure(own, reports, OWN)
    for report in reports:
        report.print("{:.1f}")
        for name in ("", OWN) if report is reports[1] else ():
            for crowd in CROWDS:
                report.judge(f"{crowd.__name__}{name}", f"alone{name}", 2, least=False)
        report.save()


if __name__ == "__main__":
    main()
