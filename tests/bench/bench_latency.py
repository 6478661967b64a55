"""./dev bench latency [ROUNDS]: hits at a fixed rate while other things go wrong, against a quiet daemon.

open_loop (open_loop.c) asks for hot keys, 10,000 times a second, and counts each answer's time from when its
question was due, so that a stall counts for every request that fell into it. It runs with real-time
priority where that is allowed, so that what is measured is not its own wait for a processor. In turn: quiet; with
PostgreSQL and Redis both stopped (SIGSTOP); with 100,000 rows of usage being written and 10,000 other
keys a second looked up in PostgreSQL.

Each is measured twice. First the load, PostgreSQL and the daemon share all processors. Then the front thread of another
daemon has one of its own (listen.cpu), and all that the bench starts, open_loop too, is on the others.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import FRONT, OTHERS, ROUNDS, Report, Stack, add_keys, redis_benchmark  # noqa: E402
from harness.figures import OWN  # noqa: E402
from harness.servers import BUILD  # noqa: E402

HOT, KEYS, RATE, SECONDS = 1000, 100000, 10000, 3
AHEAD = ["chrt", "-f", "1"] if os.geteuid() == 0 else []


def open_loop(daemon, prefix="key:", first=0, keys=HOT, rate=RATE, ahead=AHEAD, seconds=SECONDS):
    done = subprocess.run([*ahead, BUILD / "open_loop", daemon.check, str(rate), str(seconds), prefix, str(first),
                           str(keys)], capture_output=True, text=True, check=True, timeout=120)
    return [float(word) for word in done.stdout.split()[:4]]


def note(reports, row, figures):
    for report, value in zip(reports, figures):
        report.add(row, value)


def stopped(stack, daemon):
    stack.postgres.pause()
    stack.redis.pause()
    try:
        return open_loop(daemon)
    finally:
        stack.redis.resume()
        stack.postgres.resume()


def busy(daemon, start):
    """Usage of 100,000 keys is pending and written; keys that nobody has are looked up."""
    redis_benchmark(daemon.check, ["CHECK", "key:__rand_int__"], requests=10 * KEYS, pipeline=64, keys=KEYS)
    misses = threading.Thread(target=open_loop, args=(daemon, "none:", start, 10**9, RATE, []))
    written = []
    flush = threading.Thread(
        target=lambda: written.append(daemon.admin_client().execute_command("FLUSH")))
    misses.start()
    flush.start()
    figures = open_loop(daemon)
    misses.join()
    flush.join()
    assert written and written[0] > 0.95 * KEYS, written
    return figures


def measure(stack, daemon, reports, number, name=""):
    note(reports, f"quiet{name}", open_loop(daemon))
    note(reports, f"stores stopped{name}", stopped(stack, daemon))
    note(reports, f"flush and misses{name}", busy(daemon, number * 10**6))


def main():
    if not OTHERS:
        sys.exit("two processors are needed, one of them for the front thread")
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    reports = [Report(f"latency-{name} (µs, {RATE} hits a second)", rounds)
               for name in ("p50", "p99", "p99.9", "max")]
    with Stack() as stack:
        add_keys(stack.owner, KEYS)
        daemons = [stack.daemon(name, redis_url=stack.redis.url(), cache_ttl="1h", cache_ttl_unlinked="1h",
                                usage_flush_interval="1h", usage_flush_rows="10000000", listen_cpu=cpu)
                   for name, cpu in (("shared", ""), ("own", FRONT))]
        for daemon in daemons:
            redis_benchmark(daemon.check, ["CHECK", "key:__rand_int__"], requests=20 * KEYS, pipeline=64, keys=KEYS)
            open_loop(daemon)
        for n in range(rounds):
            measure(stack, daemons[0], reports, 2 * n)
            with stack.front_alone():
                measure(stack, daemons[1], reports, 2 * n + 1, OWN)
    for report in reports:
        report.print("{:.1f}")
    for name in ("", OWN):
        reports[2].judge(f"stores stopped{name}", f"quiet{name}", 1.1, least=False)
        reports[1].judge(f"flush and misses{name}", f"quiet{name}", 1.25, least=False)
    for report in reports:
        report.save()


if __name__ == "__main__":
    main()
