"""./dev bench cold [ROUNDS]: keys never asked for before, against pgbench and against Redis.

Without Redis: a daemon is asked for 100,000 distinct keys that it has never seen, in pipelines of 5,000
over two connections; each sends its next one when it has had all replies. Against it pgbench runs one
prepared SELECT by the indexed key_id for each request, with the number of clients that is best here. With
Redis, which holds all of them: against redis-benchmark's GET with the same pipelines. Each round has keys
of its own; the first ones, which also touch the daemon's memory for the first time, do not count.
"""

import re
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from harness.bench import ROUNDS, Report, Stack, add_keys, redis_benchmark  # noqa: E402
from harness.servers import wait_until  # noqa: E402
from wire import Wire, command  # noqa: E402

KEYS, PIPELINE = 100000, 5000
REPLY = 101  # bytes of an ALLOW


def pipelines(round_):
    first = round_ * KEYS
    return iter([b"".join(command("CHECK", f"key:{i:012d}") for i in range(start, start + PIPELINE))
                 for start in range(first, first + KEYS, PIPELINE)])


def ask_all(daemon, round_):
    """Keys a second."""
    requests = pipelines(round_)
    with Wire(daemon.check) as one, Wire(daemon.check) as two:
        begin = time.monotonic()
        waiting = deque((one, two))
        for wire in waiting:
            wire.send(next(requests))
        while waiting:
            wire, left = waiting.popleft(), PIPELINE * REPLY
            while left:
                left -= len(wire.socket.recv(min(left, 1 << 20)))
            if request := next(requests, None):
                wire.send(request)
                waiting.append(wire)
        return KEYS / (time.monotonic() - begin)


def pgbench(stack, clients, seconds=3):
    script = stack.folder / "select.sql"
    script.write_text(
        f"\\set n random(0, {KEYS - 1})\n"
        "SELECT api_key_id, user_id, is_active FROM api.user_api_key "
        "WHERE key_id = 'key:' || lpad(:n::text, 12, '0');\n")
    done = subprocess.run(
        ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-T", str(seconds), "-f", str(script),
         "-h", str(stack.postgres.folder), "-U", "postgres", "bench"],
        capture_output=True, text=True, check=True, timeout=120)
    return float(re.search(r"tps = ([0-9.]+)", done.stdout).group(1))


def start(stack, name, **options):
    # With a short timeout a busy machine would trip the breaker, and this measures speed.
    daemon = stack.daemon(name, cache_ttl="1h", cache_memory="128MiB", usage_flush_interval="1h",
                          usage_flush_rows=10000000, redis_timeout="2s", postgres_timeout="20s", **options)
    if options:
        # What it holds is dated once PostgreSQL's clock has been read, and fresh a while after that.
        wait_until(lambda: daemon.admin_client().info()["redis_up"], "Redis")
        time.sleep(1)
    return daemon


def through_redis(filler, reader, round_):
    """Keys a second of `reader` once `filler` has read them from PostgreSQL into Redis."""
    before = filler.admin_client().info()["redis_fills"]
    ask_all(filler, round_)
    wait_until(lambda: filler.admin_client().info()["redis_fills"] >= before + KEYS, "the fills")
    from_redis = reader.admin_client().info()["checks_from_redis"]
    rate = ask_all(reader, round_)
    from_redis = reader.admin_client().info()["checks_from_redis"] - from_redis
    assert from_redis > 0.99 * KEYS, from_redis
    return rate


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    report = Report("cold (keys a second, none in memory)", rounds)
    with Stack() as stack:
        add_keys(stack.owner, KEYS * (rounds + 1))
        best = max((2, 4, 8, 16, 32), key=lambda clients: pgbench(stack, clients, 2))
        print(f"pgbench is best with {best} clients")
        with stack.redis.client().pipeline(transaction=False) as pipeline:
            for i in range(KEYS):
                pipeline.set(f"plain:{i:012d}", "v" * 64)
            pipeline.execute()
        alone = start(stack, "alone")
        filler, reader = (start(stack, name, redis_url=stack.redis.url()) for name in ("filler", "reader"))
        ask_all(alone, 0)
        through_redis(filler, reader, 0)
        for n in range(1, rounds + 1):
            report.add("apikeyd, PostgreSQL", ask_all(alone, n))
            report.add("pgbench", pgbench(stack, best))
            report.add("apikeyd, Redis", through_redis(filler, reader, n))
            report.add("redis-benchmark GET", redis_benchmark(
                stack.redis.socket, ["GET", "plain:__rand_int__"], requests=KEYS, pipeline=PIPELINE,
                clients=2, keys=KEYS))
    report.print()
    report.judge("apikeyd, PostgreSQL", "pgbench", 8)
    report.judge("apikeyd, Redis", "redis-benchmark GET", 1)
    report.save(f"pgbench with {best} clients")


if __name__ == "__main__":
    main()
