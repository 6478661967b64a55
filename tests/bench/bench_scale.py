"""./dev bench scale [ROUNDS] [MOST]: throughput of hot keys by how many there are, and by connections.

redis-benchmark -P 64 at 1,000 to MOST cached keys (10,000,000 unless given, which takes some minutes to
make) with 50 connections, and at 1 to 10,000 connections with 1,000 keys; the latter also against Redis GET, as
the load generator has its own way with so many, or with one.
"""

import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import ROUNDS, Report, Stack, add_keys, redis_benchmark, warm  # noqa: E402

CHECK, GET = ["CHECK", "key:__rand_int__"], ["GET", "key:__rand_int__"]


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    most = int(sys.argv[2]) if len(sys.argv) > 2 else 10000000
    sizes = [size for size in (1000, 10000, 100000, 1000000, 10000000) if size <= most]
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    by_keys = Report("scale-keys (requests a second, by cached keys)", rounds)
    by_clients = Report("scale-clients (requests a second, by connections)", rounds)
    with Stack() as stack:
        add_keys(stack.owner, most)
        daemon = stack.daemon(cache_memory=f"{max(most // 10000, 4)}MiB", cache_ttl="1h", cache_ttl_unlinked="1h",
                              listen_max_connections="20000", usage_flush_interval="1h",
                              usage_flush_rows="16000000")
        warm(daemon.check, most)
        redis = stack.redis.client()
        redis.config_set("maxclients", 11000)
        for i in range(1000):
            redis.set(f"key:{i:012d}", "v" * 64)
        for _ in range(rounds):
            for size in sizes:
                by_keys.add(f"{size:,} keys", redis_benchmark(
                    daemon.check, CHECK, requests=3000000, pipeline=64, keys=size))
            for clients in (1, 100, 1000, 10000):
                by_clients.add(f"{clients:,} connections", redis_benchmark(
                    daemon.check, CHECK, requests=3000000, pipeline=64, keys=1000, clients=clients))
                by_clients.add(f"redis, {clients:,} connections", redis_benchmark(
                    stack.redis.socket, GET, requests=1000000, pipeline=64, keys=1000, clients=clients))
    by_keys.print()
    for row in list(by_keys.values)[1:]:
        by_keys.judge(row, "1,000 keys", 0.75)
    by_clients.print()
    for clients in ("1", "1,000", "10,000"):
        by_clients.judge(f"{clients} connections", "100 connections", 0.75)
        by_clients.judge(f"redis, {clients} connections", "redis, 100 connections", 0.75)
    for report in (by_keys, by_clients):
        report.save()


if __name__ == "__main__":
    main()
