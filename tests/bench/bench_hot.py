"""./dev bench hot [ROUNDS]: CHECK of hot keys, against Redis GET and against the baseline.

redis-benchmark asks each of the three for one of 100,000 keys at random, in turn: on a Unix socket, 50
connections, 64 requests in each pipeline, then one. Redis holds values of 64 bytes. The baseline
(baseline.c) parses as little and answers as much. With -P 64 the figure is requests a second, which the load
generator bounds too (it has the other core), and the server's processor time; with -P 1 it is the
processor time a request costs the server. A second daemon reads two attributes of 100 bytes each with the
same keys, and is asked for them, and not.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import (ATTRIBUTES, ROUNDS, Report, Stack, add_attributes, add_keys,  # noqa: E402
                           cpu_seconds, redis_benchmark)
from harness.servers import BUILD, Process, accepts, wait_until  # noqa: E402

KEYS = 100000
CHECK = ["CHECK", "key:__rand_int__"]


class Baseline:
    def __init__(self, folder):
        self.socket = folder / "baseline.sock"
        self.process = Process([BUILD / "baseline", self.socket, KEYS], folder / "baseline.log")
        wait_until(lambda: accepts(self.socket), "the baseline")

    def stop(self):
        self.process.stop()


def fill_redis(stack):
    with stack.redis.client().pipeline(transaction=False) as pipeline:
        for i in range(KEYS):
            pipeline.set(f"key:{i:012d}", "v" * 64)
        pipeline.execute()


def measure(target, pipeline, requests):
    """Requests a second, and µs of processor time each."""
    socket, pid, command = target
    before = cpu_seconds(pid)
    rate = redis_benchmark(socket, command, requests=requests, pipeline=pipeline, keys=KEYS)
    return rate, (cpu_seconds(pid) - before) / requests * 1e6


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with Stack() as stack:
        add_keys(stack.owner, KEYS)
        add_attributes(stack.owner)
        fill_redis(stack)
        options = {"cache_ttl": "1h", "usage_flush_interval": "10m", "usage_flush_rows": "10000000"}
        daemon = stack.daemon(**options)
        telling = stack.daemon("telling", cache_attribute_memory="64MiB", **ATTRIBUTES, **options)
        baseline = Baseline(stack.folder)
        stack.others.append(baseline)
        targets = {
            "apikeyd": (daemon.check, daemon.process.pid, CHECK),
            "apikeyd, 200 bytes of attributes": (telling.check, telling.process.pid, [*CHECK, "ATTRIBUTES"]),
            "apikeyd, not asked for them": (telling.check, telling.process.pid, CHECK),
            "redis": (stack.redis.socket, stack.redis.process.pid, ["GET", "key:__rand_int__"]),
            "baseline": (baseline.socket, baseline.process.pid, CHECK),
        }
        for warmed in (daemon, telling):
            redis_benchmark(warmed.check, CHECK, requests=20 * KEYS, pipeline=64, keys=KEYS)
        deep = Report("hot-64 (requests a second, -P 64)", rounds)
        deep_cpu = Report("hot-64-cpu (server's µs a request, -P 64)", rounds)
        flat = Report("hot-1-cpu (server's µs a request, -P 1)", rounds)
        for _ in range(rounds):
            for name, target in targets.items():
                rate, cpu = measure(target, 64, 3000000)
                deep.add(name, rate)
                deep_cpu.add(name, cpu)
                flat.add(name, measure(target, 1, 250000)[1])
    deep.print()
    deep.ratio("apikeyd, 200 bytes of attributes", "apikeyd")
    deep.ratio("apikeyd, not asked for them", "apikeyd")
    deep.judge("apikeyd", "redis", 3.0)
    deep.judge("apikeyd", "baseline", 0.85)
    deep_cpu.print("{:.3f}")
    deep_cpu.judge("apikeyd", "redis", 1 / 3, least=False)
    deep_cpu.judge("apikeyd", "baseline", 1 / 0.85, least=False)
    flat.print("{:.2f}")
    flat.ratio("apikeyd, 200 bytes of attributes", "apikeyd")
    flat.ratio("apikeyd, not asked for them", "apikeyd")
    flat.judge("apikeyd", "redis", 0.85, least=False)
    flat.judge("apikeyd", "baseline", 1.12, least=False)
    for report in (deep, deep_cpu, flat):
        report.save()


if __name__ == "__main__":
    main()
