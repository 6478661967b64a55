"""./dev bench flood [MILLIONS]: five million made-up keys, none of them asked for twice.

Meanwhile another client goes on asking for 10,000 real keys that are in memory. Told are the memory that
the daemon takes, how many of the real keys' answers came from memory, and what PostgreSQL saw of it.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from bench_memory import resident  # noqa: E402
from harness.bench import Stack, add_keys, warm  # noqa: E402
from harness.results import save, single  # noqa: E402
from wire import Wire  # noqa: E402

HOT, PIPELINE, ALLOWED, UNKNOWN = 10000, 5000, 101, 27  # the latter two: bytes of a reply


def take(wire, length):
    while length:
        got = wire.socket.recv(min(length, 1 << 20))
        if not got:
            raise EOFError
        length -= len(got)


def main():
    count = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 5000000
    with Stack() as stack:
        add_keys(stack.owner, HOT)
        daemon = stack.daemon(cache_ttl="1h", cache_ttl_unlinked="1h", redis_url=stack.redis.url())
        admin = daemon.admin_client()
        warm(daemon.check, HOT)
        hot = b"".join(b"CHECK key:%012d\r\n" % i for i in range(0, HOT, 5))
        before, memory, begin = admin.info(), resident(daemon.process.pid), time.monotonic()
        most, asked = memory, 0
        with Wire(daemon.check) as flood, Wire(daemon.check) as real:
            for start in range(0, count, PIPELINE):
                flood.send(b"".join(b"CHECK made-up-%d\r\n" % i for i in range(start, start + PIPELINE)))
                real.send(hot)
                take(real, HOT // 5 * ALLOWED)
                take(flood, PIPELINE * UNKNOWN)
                asked += HOT // 5
                if start % 100000 == 0:
                    most = max(most, resident(daemon.process.pid))
        seconds, after = time.monotonic() - begin, admin.info()
        difference = {name: after[name] - before[name] for name in
                      ("checks_from_memory", "postgres_selects", "postgres_keys_read", "redis_fills")}
        found = {
            "made-up keys": count, "a second": int(count / seconds),
            "real keys asked for": asked,
            "of them answered from memory, %": round(100 * difference["checks_from_memory"] / asked, 4),
            "memory before, MiB": round(memory / 2**20, 1), "memory at most, MiB": round(most / 2**20, 1),
            "SELECTs": difference["postgres_selects"],
            "keys a SELECT": round(difference["postgres_keys_read"] / difference["postgres_selects"], 1),
            "written to Redis": difference["redis_fills"],
        }
    for name, value in found.items():
        print(f"{name:32} {value:>12,}")
    save("flood", f"{count:,} made-up keys", single(found))


if __name__ == "__main__":
    main()
