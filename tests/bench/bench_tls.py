"""./dev bench tls [ROUNDS]: what TLS to Redis costs a cold lookup, beside the same over TCP without it.

Two daemons ask one Redis, which holds all keys: one at its plain port, the other at its TLS port, both of 127.0.0.0/8. Each is
asked for keys that it has never seen: 100,000 in pipelines of 5,000 over two connections, and 2,000 one after the other. In
each round the keys are new, and the two take turns in who is first.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "integration")]
from bench_cold import KEYS, REPLY, ask_all, start  # noqa: E402
from harness.bench import ROUNDS, Report, Stack, add_keys, cpu_seconds  # noqa: E402
from harness.servers import wait_until  # noqa: E402
from harness.tls_redis import TlsRedis  # noqa: E402
from wire import Wire, command  # noqa: E402

SINGLE = 2000


def one_by_one(daemon, name):
    """Microseconds of each."""
    took = []
    with Wire(daemon.check) as wire:
        for i in range(SINGLE):
            begin = time.perf_counter()
            wire.send(command("CHECK", f"{name}:{i:012d}"))
            left = REPLY
            while left:
                left -= len(wire.socket.recv(left))
            took.append((time.perf_counter() - begin) * 1e6)
    return took


def fill(filler, round_):
    """The round's keys into Redis."""
    before = filler.admin_client().info()["redis_fills"]
    ask_all(filler, round_)
    one_by_one(filler, f"single{round_}")
    wait_until(lambda: filler.admin_client().info()["redis_fills"] >= before + KEYS + SINGLE, "the fills")


def measure(daemon, round_, redis):
    """Keys a second, p50 and p99 of one key, and the daemon's and Redis's processor time for a key of the pipelines."""
    from_redis = daemon.admin_client().info()["checks_from_redis"]
    before = [cpu_seconds(pid) for pid in (daemon.process.pid, redis.process.pid)]
    rate = ask_all(daemon, round_)
    spent = [(cpu_seconds(pid) - then) * 1e6 / KEYS
             for pid, then in zip((daemon.process.pid, redis.process.pid), before)]
    took = sorted(one_by_one(daemon, f"single{round_}"))
    from_redis = daemon.admin_client().info()["checks_from_redis"] - from_redis
    assert from_redis > 0.99 * (KEYS + SINGLE), from_redis
    return rate, statistics.median(took), took[len(took) * 99 // 100], *spent


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    reports = [Report(f"tls-{name}", rounds) for name in (
        "rate (keys a second, none in memory)", "p50 (µs, one key at a time)", "p99 (µs, one key at a time)",
        "cpu (µs of the daemon's processor time a key)", "redis (µs of Redis's processor time a key)")]
    with Stack() as stack:
        redis = TlsRedis(stack.folder / "tls")
        stack.others.append(redis)
        redis.start()
        add_keys(stack.owner, KEYS * (rounds + 1))
        for n in range(rounds + 1):
            add_keys(stack.owner, SINGLE, f"single{n}:")
        filler = start(stack, "filler", redis_url=redis.url())
        plain = start(stack, "plain", redis_url=f"redis://{redis.address}:{redis.plain_port}")
        tls = start(stack, "tls", redis_url=redis.tls_url(), redis_ca_file=redis.authority.certificate)
        for n in range(rounds + 1):
            fill(filler, n)
            for row, daemon in [("plain", plain), ("TLS", tls)][::1 if n % 2 else -1]:
                for report, value in zip(reports, measure(daemon, n, redis)):
                    if n > 0:
                        report.add(row, value)
    for report in reports:
        report.print("{:,.2f}")
        report.ratio("TLS", "plain")
        print(f"  TLS / plain: {report.ratios['TLS / plain']:.3g}")
        report.save()


if __name__ == "__main__":
    main()
