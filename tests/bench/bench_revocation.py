"""./dev bench revocation [COUNT]: how soon a deactivation by psql is enforced, under load.

For each key: psql runs an UPDATE, its COMMIT returns, and CHECK is asked until the first DENY. What
is printed is the time from the one to the other; 0 when the first CHECK after COMMIT is denied
already, as the notification goes out at the same moment. Then every key is asked again and again:
none may be allowed once more.
"""

import subprocess
import sys
import time
import uuid
from pathlib import Path

import psycopg

sys.path[:0] = [str(Path(__file__).resolve().parents[1]),
                str(Path(__file__).resolve().parents[1] / "integration")]
from harness.results import save, single  # noqa: E402
from harness.servers import Apikeyd, Postgres, Process, Redis, Scratch, migrate, wait_until  # noqa: E402
from wire import Wire, command  # noqa: E402

HOT = 1000  # keys that the load asks for


class Psql:
    """One psql session that says when a statement's COMMIT has returned."""

    def __init__(self, dsn):
        self.child = subprocess.Popen(["psql", "-XqAt", dsn], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)

    def run(self, sql):
        self.child.stdin.write(f"{sql};\n\\echo done\n")
        self.child.stdin.flush()
        assert self.child.stdout.readline() == "done\n"
        return time.monotonic()

    def close(self):
        self.child.stdin.close()
        self.child.wait()


def create_keys(dsn, count):
    user = uuid.uuid4()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [user])
        for prefix, many in (("hot:", HOT), ("victim:", count)):
            db.execute("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id) "
                       "SELECT gen_random_uuid(), 'bench', %s || lpad(n::text, 12, '0'), %s "
                       "FROM generate_series(0, %s) AS n", [prefix, user, many - 1])


def start_load(daemon, folder):
    """More than 20,000 CHECKs a second, for as long as it runs."""
    return Process(["redis-benchmark", "-q", "-s", daemon.check, "-c", "10", "-P", "4",
                    "-n", "2000000000", "-r", HOT, "CHECK", "hot:__rand_int__"],
                   folder / "load.log")


def kind(reply):
    return "ALLOW" if reply[0] == b"ALLOW" else "DENY"


def revoke_each(psql, wire, count):
    """Seconds from COMMIT's return to the first CHECK answered DENY, for each key."""
    took = []
    for i in range(count):
        key = f"victim:{i:012}"
        assert kind(wire.ask("CHECK", key)) == "ALLOW"
        committed = psql.run(
            f"UPDATE api.user_api_key SET is_active = false WHERE key_id = '{key}'")
        asked = 0
        while True:
            asked += 1
            if kind(wire.ask("CHECK", key)) == "DENY":
                break
        took.append(time.monotonic() - committed if asked > 1 else 0.0)
    return took


def allowed_again(wire, count, rounds):
    """How often a revoked key was allowed."""
    requests = b"".join(command("CHECK", f"victim:{i:012}") for i in range(count))
    allowed = 0
    for _ in range(rounds):
        wire.send(requests)
        allowed += sum(kind(wire.reply()) == "ALLOW" for _ in range(count))
    return allowed


def measure(daemon, dsn, folder, count):
    psql = Psql(dsn)
    load = start_load(daemon, folder)
    admin = daemon.admin_client()
    try:
        with Wire(daemon.check) as wire:
            wait_until(lambda: admin.info()["checks_allow"] > 100000, "the load")
            begin, checks = time.monotonic(), admin.info()["checks_allow"]
            took = sorted(revoke_each(psql, wire, count))
            rate = (admin.info()["checks_allow"] - checks) / (time.monotonic() - begin)
            again = allowed_again(wire, count, 20)
        counts = admin.info()
    finally:
        load.stop()
        psql.close()
    at = [took[min(int(count * share), count - 1)] * 1000 for share in (0, 0.5, 0.99, 1)]
    print(f"{count} deactivations by psql, {rate:,.0f} CHECKs/s meanwhile, time from COMMIT's "
          f"return to the first DENY:\n\n"
          f"| min | p50 | p99 | max | ALLOW after a DENY |\n| --- | --- | --- | --- | --- |\n"
          f"| {at[0]:.2f} ms | {at[1]:.2f} ms | {at[2]:.2f} ms | {at[3]:.2f} ms "
          f"| {again} of {count * 20:,} |\n\n"
          f"Longest from the trigger to enforcement in memory (revocation_lag_max_us): "
          f"{counts['revocation_lag_max_us'] / 1000:.2f} ms")
    save("revocation", f"{count:,} keys", {
        "delay, ms": dict(zip(("min", "p50", "p99", "max"), at)),
        **single({"CHECKs a second": rate, "asked again": count * 20, "ALLOW after a DENY": again})})
    return again


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    scratch = Scratch()
    postgres, redis_server = Postgres(scratch.path / "pg"), Redis(scratch.path / "redis")
    daemon = None
    try:
        postgres.start()
        redis_server.start()
        postgres.create_database("bench")
        assert migrate(postgres.uri("bench")).returncode == 0
        create_keys(postgres.dsn("bench"), count)
        daemon = Apikeyd(scratch.path / "run", {
            "redis.url": redis_server.url(), "postgres.dsn": postgres.dsn("bench", "apikeyd")})
        daemon.start()
        wait_until(daemon.settled, "the daemon to be connected")
        sys.exit(1 if measure(daemon, postgres.dsn("bench"), scratch.path, count) else 0)
    finally:
        for server in (daemon, redis_server, postgres):
            if server and server.process:
                server.stop()
        scratch.remove()


if __name__ == "__main__":
    main()
