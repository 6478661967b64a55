"""./dev bench cold [ROUNDS]: keys never asked for before, against pgbench and against Redis.

Without Redis: a daemon with an empty memory is asked for 100,000 distinct keys in one pipeline after the
other. Against it pgbench runs one prepared SELECT by the indexed key_id for each request, with the number
of clients that is best here. With Redis, which holds all of them: against redis-benchmark's GET with the
same pipeline. Each round starts the daemon anew.
"""

import re
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from harness.bench import ROUNDS, Report, Stack, add_keys, redis_benchmark  # noqa: E402
from harness.servers import wait_until  # noqa: E402
from wire import Wire, command  # noqa: E402

KEYS, PIPELINE = 100000, 5000
REQUESTS = [b"".join(command("CHECK", f"key:{i:012d}") for i in range(start, start + PIPELINE))
            for start in range(0, KEYS, PIPELINE)]
REPLY = 101  # bytes of an ALLOW


def ask_all(daemon):
    """Keys a second. Two connections, so that one pipeline is read while the other is answered."""
    with Wire(daemon.check) as one, Wire(daemon.check) as two:
        begin = time.monotonic()
        for first, second in zip(REQUESTS[::2], REQUESTS[1::2]):
            one.send(first)
            two.send(second)
            for wire in (one, two):
                left = PIPELINE * REPLY
                while left:
                    left -= len(wire.socket.recv(min(left, 1 << 20)))
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


def fresh(stack, name, **options):
    # With no patience a busy machine would trip the breaker, and this measures speed.
    daemon = stack.daemon(name, cache_ttl="1h", usage_flush_interval="1h", usage_flush_rows=1000000, redis_timeout="2s",
                          postgres_timeout="20s", **options)
    if options:
        # What it holds is dated once PostgreSQL's clock has been read.
        wait_until(lambda: daemon.admin_client().info()["redis_up"], "Redis")
    return daemon


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    report = Report("cold (keys a second, none in memory)", rounds)
    with Stack() as stack:
        add_keys(stack.owner, KEYS)
        best = max((2, 4, 8, 16, 32), key=lambda clients: pgbench(stack, clients, 2))
        print(f"pgbench is best with {best} clients")
        url = stack.redis.url()
        for n in range(rounds):
            daemon = fresh(stack, f"p{n}")
            report.add("apikeyd, PostgreSQL", ask_all(daemon))
            daemon.stop()
            report.add("pgbench", pgbench(stack, best))
            # Verdicts of before its link came up are not believed: what it reads now is read anew.
            daemon = fresh(stack, f"f{n}", redis_url=url)
            warm = fresh(stack, f"r{n}", redis_url=url)
            stack.redis.client().flushall()
            time.sleep(0.5)
            ask_all(daemon)
            wait_until(lambda d=daemon: d.admin_client().info()["redis_fills"] >= KEYS, "the fills")
            report.add("apikeyd, Redis", ask_all(warm))
            from_redis = warm.admin_client().info()["checks_from_redis"]
            assert from_redis > 0.99 * KEYS, from_redis
            daemon.stop()
            warm.stop()
            with stack.redis.client().pipeline(transaction=False) as pipeline:
                for i in range(KEYS):
                    pipeline.set(f"plain:{i:012d}", "v" * 64)
                pipeline.execute()
            report.add("redis-benchmark GET", redis_benchmark(
                stack.redis.socket, ["GET", "plain:__rand_int__"], requests=KEYS, pipeline=PIPELINE,
                clients=2, keys=KEYS))
    report.print()
    report.judge("apikeyd, PostgreSQL", "pgbench", 8)
    report.judge("apikeyd, Redis", "redis-benchmark GET", 1)
    report.save()


if __name__ == "__main__":
    main()
