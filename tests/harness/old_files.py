"""old_files.py NAME: a ledger and a spill file as a build writes them, kept as text in tests/data/NAME.

tests/unit/test_old_files.c reads all that are kept. Run it with APIKEYD_BUILD before a format changes, and give the
commit as NAME. Beside the bytes that are not zero stands what they mean, as PostgreSQL and the client know it.
"""

import contextlib
import struct
import sys
import uuid
from pathlib import Path

import psycopg
import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.servers import ROOT, Apikeyd, Postgres, Scratch, migrate, wait_until  # noqa: E402

PAGE, HALF = 4096, 512 << 20  # the ledger's header, and each of its halves
SLOT = struct.Struct("=16sqQ")  # api_key_id, last_used in µs, ALLOWs
KEYS = [uuid.UUID(int=number * 0x0123456789ABCDEF0011223344556677 % (1 << 128)) for number in range(1, 7)]


def create(postgres, name):
    """A database with all keys, and what a file calls its table."""
    postgres.create_database(name)
    done = migrate(postgres.uri(name))
    assert done.returncode == 0, done.stdout + done.stderr
    with psycopg.connect(postgres.dsn(name), autocommit=True) as db:
        user = uuid.UUID(int=1)
        db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [user])
        for number, key in enumerate(KEYS):
            db.execute("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id) VALUES (%s, 'n', %s, %s)",
                       [key, f"key-{number}", user])
        return db.execute("SELECT system_identifier, d.oid, 'api.user_api_key'::regclass::oid FROM pg_control_system(), "
                          "pg_database AS d WHERE datname = current_database()").fetchone()


def allow(daemon, numbers):
    """The first of the keys is allowed most often."""
    for number in numbers:
        for _ in range(1 + numbers[-1] - number):
            reply = daemon.client().execute_command("CHECK", f"key-{number}")
            assert reply[:2] == ["ALLOW", str(KEYS[number])], reply


def spill(daemon, postgres, name):
    """Its rows are locked, so they cannot be written."""
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    allow(daemon, range(3))
    with psycopg.connect(postgres.dsn(name)) as lock:
        lock.execute("SELECT FROM api.user_api_key FOR UPDATE")
        daemon.admin_client().execute_command("FLUSH")
        daemon.kill()
    return daemon.spill.read_bytes()


def ledger(daemon, postgres, owner, other):
    """What was left by a killed daemon can neither be set aside nor spilled, as folders are in the way, and stays in
    one half. The front thread goes on in the other."""
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    allow(daemon, range(3))
    daemon.kill()
    for name in ("usage.spill.new", "usage.spill.%d-%d-%d.new" % owner):
        daemon.spill.with_name(name).mkdir()
    daemon.options["postgres.dsn"] = postgres.dsn(other, "apikeyd")
    daemon.start()
    wait_until(lambda: "set aside" in daemon.log() and daemon.admin_client().info()["link_up"], "the other database")
    allow(daemon, range(3, 6))
    with contextlib.suppress(redis.ResponseError):
        daemon.admin_client().execute_command("FLUSH")
    allow(daemon, range(5, 6))
    daemon.kill()
    return daemon.ledger


def slots(raw):
    """Whole ones, up to the first that is empty."""
    for key, last_used, count in SLOT.iter_unpack(raw[:len(raw) // SLOT.size * SLOT.size]):
        if last_used == 0:
            return
        yield f"{uuid.UUID(bytes=key)} {last_used} {count}"


def ranges(at, raw):
    """Of each 32 bytes that are not all zero, a line."""
    for start in range(0, len(raw), 32):
        if any(raw[start:start + 32]):
            yield f"bytes {at + start} {raw[start:start + 32].hex()}"


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def make(folder, scratch, postgres):
    owner, other = create(postgres, "one"), create(postgres, "two")
    daemon = Apikeyd(scratch.path / "spill", {"postgres.dsn": postgres.dsn("one", "apikeyd"), "redis.url": ""})
    raw = spill(daemon, postgres, "one")
    write(folder / "spill.txt", [f"size {len(raw)}", "owner %d %d %d" % owner,
                                 *(f"slot {slot}" for slot in slots(raw[-3 * SLOT.size:])), *ranges(0, raw)])
    daemon = Apikeyd(scratch.path / "ledger", {"postgres.dsn": postgres.dsn("one", "apikeyd"), "redis.url": "",
                                               "usage.flush_interval": "1h"})
    with open(ledger(daemon, postgres, owner, "two"), "rb") as file:
        header, halves = file.read(PAGE), []
        for start in (PAGE, PAGE + HALF):
            file.seek(start)
            halves.append((start, file.read(PAGE)))
        size = file.seek(0, 2)
    write(folder / "ledger.txt", [
        f"size {size}", "owner %d %d %d" % owner, "left %d %d %d" % other,
        *(f"half {index} {slot}" for index, (_, raw) in enumerate(halves) for slot in slots(raw)),
        *ranges(0, header), *(line for start, raw in halves for line in ranges(start, raw))])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    scratch = Scratch()
    postgres = Postgres(scratch.path / "pg")
    try:
        postgres.start()
        make(ROOT / "tests" / "data" / sys.argv[1], scratch, postgres)
    finally:
        if postgres.process:
            postgres.stop()
        scratch.remove()


if __name__ == "__main__":
    main()
