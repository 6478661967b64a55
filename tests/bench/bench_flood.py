"""./dev bench flood [MILLIONS]: five million made-up keys, none of them asked for twice.

Meanwhile another client goes on asking for 10,000 real keys that are in memory. Told are the memory that
the daemon takes, how many of the real keys' answers came from memory, and what PostgreSQL saw of it.
The same with keys.form = prefixed, once with made-up keys that have the form and once with keys whose
checksum is wrong, which no key is that exists.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
import psycopg  # noqa: E402
from bench_memory import resident  # noqa: E402
from harness.bench import Stack, add_keys  # noqa: E402
from harness.key_form import checksum  # noqa: E402
from harness.results import save, single  # noqa: E402
from wire import Wire  # noqa: E402

HOT, PIPELINE, ALLOWED, UNKNOWN = 10000, 5000, 101, 27  # the latter two: bytes of a reply


def take(wire, length):
    while length:
        got = wire.socket.recv(min(length, 1 << 20))
        if not got:
            raise EOFError
        length -= len(got)


def formed(number):
    before = f"key_{number:024}"
    return before + checksum(before)


def give_form(dsn):
    """The real keys get the form."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("UPDATE api.user_api_key SET key_id = new FROM unnest(%s::text[], %s::text[]) AS f(old, new) "
                   "WHERE key_id = old", [[f"key:{i:012}" for i in range(HOT)], [formed(i) for i in range(HOT)]])


def flood(daemon, count, real_key, made_up_key):
    admin = daemon.admin_client()
    with Wire(daemon.check) as flooding, Wire(daemon.check) as real:
        for start in range(0, HOT, 2000):
            real.send(b"".join(b"CHECK %b\r\n" % real_key(i).encode() for i in range(start, start + 2000)))
            take(real, 2000 * ALLOWED)
        hot = b"".join(b"CHECK %b\r\n" % real_key(i).encode() for i in range(0, HOT, 5))
        before, memory, asked, seconds = admin.info(), resident(daemon.process.pid), 0, 0
        most = memory
        for start in range(0, count, PIPELINE):
            batch = b"".join(b"CHECK %b\r\n" % made_up_key(i).encode() for i in range(start, start + PIPELINE))
            begin = time.monotonic()  # not what it takes to make the keys up
            flooding.send(batch)
            real.send(hot)
            take(real, HOT // 5 * ALLOWED)
            take(flooding, PIPELINE * UNKNOWN)
            seconds += time.monotonic() - begin
            asked += HOT // 5
            if start % 100000 == 0:
                most = max(most, resident(daemon.process.pid))
    after = admin.info()
    difference = {name: after[name] - before[name] for name in
                  ("checks_from_memory", "lookups", "postgres_selects", "postgres_keys_read", "redis_fills")}
    return {
        "made-up keys": count, "a second": int(count / seconds),
        "real keys asked for": asked,
        "of them answered from memory, %": round(100 * difference["checks_from_memory"] / asked, 4),
        "memory before, MiB": round(memory / 2**20, 1), "memory at most, MiB": round(most / 2**20, 1),
        "lookups": difference["lookups"],
        "SELECTs": difference["postgres_selects"],
        "keys a SELECT": round(difference["postgres_keys_read"] / max(difference["postgres_selects"], 1), 1),
        "written to Redis": difference["redis_fills"],
    }


def show(name, found):
    print(name)
    for what, value in found.items():
        print(f"  {what:32} {value:>12,}")


def main():
    count = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 5000000
    with Stack() as stack:
        add_keys(stack.owner, HOT)
        options = {"cache_ttl": "1h", "cache_ttl_unlinked": "1h", "redis_url": stack.redis.url()}
        found = flood(stack.daemon("any", **options), count, lambda i: f"key:{i:012}", lambda i: f"made-up-{i}")
        give_form(stack.owner)
        made_up = {"right checksum": lambda i: formed(HOT + i), "wrong checksum": lambda i: f"key_{HOT + i:030}"}
        forms = {name: flood(stack.daemon(name.split()[0], keys_form="prefixed", **options), count, formed, key)
                 for name, key in made_up.items()}
    show("any form", found)
    for name, figures in forms.items():
        show(name, figures)
    save("flood", f"{count:,} made-up keys", single(found))
    save("flood-form", f"{count:,} made-up keys", forms)


if __name__ == "__main__":
    main()
