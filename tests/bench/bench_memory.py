"""./dev bench memory [ROUNDS]: what a verdict costs in memory, against Redis with the same.

A million keys are read into a daemon with the default cache; its resident memory counts whole, what it had
when it was empty included: with their usage still in the ledger, and once that is written. Redis gets a
million values as the daemon itself would write them, and what it had when it was empty does not count. A
second daemon reads the same keys with two attributes of 100 bytes each.
One round is enough: the figures hardly vary.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import ATTRIBUTES, Report, Stack, add_attributes, add_keys, warm  # noqa: E402

KEYS = 1000000


def resident(pid):
    """Bytes that stand in memory: shared ones too, as the ledger is."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096


def write_usage(daemon):
    """A few rounds: what one needed is given back when the next ones need less."""
    for _ in range(4):
        daemon.admin_client().execute_command("FLUSH")
        daemon.client().execute_command("CHECK", f"key:{0:012d}")


def fill_redis(client):
    value = "1 ALLOW 01234567-89ab-cdef-0123-456789abcdef 01234567-89ab-cdef-0123-456789abcdef "
    for start in range(0, KEYS, 10000):
        with client.pipeline(transaction=False) as pipeline:
            for i in range(start, start + 10000):
                pipeline.set(f"apikeyd:1:{i:032x}", f"{value}{1770000000000000 + i}", px=3600000)
            pipeline.execute()


def with_attributes(stack):
    """Bytes of the process a verdict, its usage written."""
    add_attributes(stack.owner)
    daemon = stack.daemon("telling", cache_memory="64MiB", cache_attribute_memory="256MiB", cache_ttl="1h",
                          usage_flush_interval="1h", usage_flush_rows="10000000", **ATTRIBUTES)
    warm(daemon.check, KEYS)
    held = daemon.admin_client().info()["cache_entries"]
    assert held > 0.9 * KEYS, held
    write_usage(daemon)
    return resident(daemon.process.pid) / held


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    report = Report("memory (bytes a verdict, a million of them)", rounds)
    for _ in range(rounds):
        with Stack() as stack:
            add_keys(stack.owner, KEYS)
            # Room for 1.03 million.
            daemon = stack.daemon(cache_memory="64MiB", cache_ttl="1h", usage_flush_interval="1h",
                                  usage_flush_rows="10000000")
            warm(daemon.check, KEYS)
            held = daemon.admin_client().info()["cache_entries"]
            assert held > 0.9 * KEYS, held
            report.add("(verdicts held of a million)", held)
            report.add("apikeyd, usage pending", resident(daemon.process.pid) / held)
            write_usage(daemon)
            report.add("apikeyd, all it has", resident(daemon.process.pid) / held)
            report.add("apikeyd, its table", daemon.admin_client().info()["cache_bytes"] / held)
            daemon.stop()
            report.add("apikeyd, 200 bytes of attributes", with_attributes(stack))
            before = resident(stack.redis.process.pid)
            fill_redis(stack.redis.client())
            report.add("redis", (resident(stack.redis.process.pid) - before) / KEYS)
    report.print("{:.1f}")
    report.judge("apikeyd, its table", "redis", 0.4, least=False)
    report.judge("apikeyd, all it has", "redis", 0.4, least=False)
    report.ratio("apikeyd, usage pending", "redis")
    report.save()


if __name__ == "__main__":
    main()
