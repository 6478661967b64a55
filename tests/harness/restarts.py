"""./dev restarts [N]: N restarts under load, with sockets that outlive the daemon.

Clients ask without a pause, connect again whenever a connection ends, and ask again what was not
answered. Nobody may be refused, no answer may be wrong, and every ALLOW has to be in last_used."""

import random
import socket
import sys
import threading
import time
import uuid
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.activation import Activated  # noqa: E402
from harness.servers import Postgres, Redis, Scratch, migrate, wait_until  # noqa: E402

CLIENTS, KEYS, PIPELINE = 6, 500, 40


class Client(threading.Thread):
    def __init__(self, path, seed):
        super().__init__()
        self.path, self.random = str(path), random.Random(seed)
        self.ending = False
        self.connections = self.answers = self.refused = 0
        self.allowed = {}  # key: when its last ALLOW was asked for
        self.wrong = []

    def run(self):
        while not self.ending:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(60)
                try:
                    client.connect(self.path)
                    self.connections += 1
                    self.ask(client)
                except ConnectionRefusedError:
                    self.refused += 1
                except (EOFError, ConnectionResetError, BrokenPipeError):
                    pass
                except Exception as error:  # nothing else may happen
                    self.wrong.append(repr(error))
                    return

    def ask(self, client):
        reader = client.makefile("rb")
        while not self.ending:
            keys = [self.random.randrange(KEYS) for _ in range(PIPELINE)]
            asked = time.time()
            client.sendall(b"".join(b"CHECK key-%d\r\n" % key for key in keys))
            for key in keys:
                self.take(reader, key, asked)

    def take(self, reader, key, asked):
        """One reply; an ALLOW has five lines."""
        head = reader.readline()
        if not head.endswith(b"\r\n"):
            raise EOFError
        if head != b"*3\r\n":
            self.wrong.append(head)
            raise EOFError
        lines = [reader.readline() for _ in range(6)]
        if not lines[5].endswith(b"\r\n"):
            raise EOFError
        if lines[1] != b"ALLOW\r\n":
            self.wrong.append(lines)
        self.answers += 1
        self.allowed[key] = asked


def missing(db, allowed):
    """Keys whose last ALLOW is not in last_used."""
    rows = db.execute("SELECT key_id, extract(epoch FROM last_used) FROM api.user_api_key").fetchall()
    used = {name: float(at or 0) for name, at in rows}
    return [key for key, asked in allowed.items() if used[f"key-{key}"] < asked - 0.001]


def allowed_by(clients):
    """The keys that somebody was allowed."""
    return set().union(*(list(client.allowed) for client in clients))


def restart(daemon, count, seed, dsn):
    """Between two restarts clients get some answers, and in the end every key was asked for."""
    clients = [Client(daemon.check, seed + i) for i in range(CLIENTS)]
    pauses = random.Random(seed)
    begin = time.monotonic()
    for client in clients:
        client.start()
    try:
        for _ in range(count):
            before = sum(client.answers for client in clients)
            wait_until(lambda n=before: sum(client.answers for client in clients) > n, "answers")
            time.sleep(pauses.random() * 0.2)
            assert daemon.stop() == 0
            daemon.start()
        wait_until(lambda: len(allowed_by(clients)) == KEYS or any(client.wrong for client in clients), "all keys")
    finally:
        for client in clients:
            client.ending = True
        for client in clients:
            client.join()
    daemon.stop()  # which writes what is pending
    allowed = {}
    for client in clients:
        for key, asked in client.allowed.items():
            allowed[key] = max(asked, allowed.get(key, 0))
    with psycopg.connect(dsn, autocommit=True) as db:
        lost = missing(db, allowed)
    return {
        "restarts": count, "seconds": round(time.monotonic() - begin, 1),
        "answers": sum(client.answers for client in clients),
        "connections": sum(client.connections for client in clients),
        "refused": sum(client.refused for client in clients),
        "wrong": [one for client in clients for one in client.wrong][:5],
        "keys allowed": len(allowed), "usage lost": len(lost),
    }


def add_keys(dsn, user):
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute('INSERT INTO api."user" (user_id) VALUES (%s) ON CONFLICT DO NOTHING', [user])
        db.execute("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id) "
                   "SELECT gen_random_uuid(), 'restart', 'key-' || n, %s "
                   "FROM generate_series(0, %s) AS n", [user, KEYS - 1])


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    scratch = Scratch()
    postgres, redis = Postgres(scratch.path / "pg"), Redis(scratch.path / "redis")
    daemon = None
    try:
        postgres.start()
        redis.start()
        postgres.create_database("restarts")
        assert migrate(postgres.uri("restarts")).returncode == 0
        add_keys(postgres.dsn("restarts"), uuid.uuid4())
        daemon = Activated(scratch.path / "d", {
            "postgres.dsn": postgres.dsn("restarts", "apikeyd"), "redis.url": redis.url()})
        daemon.start()
        wait_until(daemon.settled, "the daemon")
        found = restart(daemon, count, 1, postgres.dsn("restarts"))
        for name, value in found.items():
            print(f"{name:14} {value}")
        if found["refused"] or found["wrong"] or found["usage lost"]:
            sys.exit(1)
    finally:
        for server in (daemon, redis, postgres):
            if server and server.process:
                server.stop()
        scratch.remove()


if __name__ == "__main__":
    main()
