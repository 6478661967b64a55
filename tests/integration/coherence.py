"""What tests of coherence share: what is notified, what Redis holds, and a change feed that can be cut.

With LONG as a bound, only the notification can be what enforced a change."""

import hashlib

from conftest import check, info
from harness.servers import wait_until

CHANNEL = "apikeyd_key"
TABLE = "api.user_api_key"
LONG = {"cache.ttl": "1h", "cache.ttl_unlinked": "1h", "cache.negative_ttl": "1h"}
ALLOWED, INACTIVE, UNKNOWN = "ALLOW", ["DENY", "inactive"], ["DENY", "unknown"]
TTL_ONLY = "cache.ttl: triggers do not notify of every change"


def digest(key):
    return hashlib.sha256(key.encode()).hexdigest()[:32]


class Ear:
    """What is notified while it is open: digests or "*", in order."""

    def __init__(self, database):
        self.db = database.connect()
        self.payloads = []
        self.db.add_notify_handler(lambda note: self.payloads.append(note.payload))
        self.db.execute(f"LISTEN {CHANNEL}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.db.close()

    def heard(self):
        # PostgreSQL sends what was committed before this query along with its result.
        self.db.execute("SELECT 1")
        found = [payload.split(" ")[0] for payload in self.payloads]
        assert all(payload.split(" ")[1].isdigit() for payload in self.payloads)
        self.payloads.clear()
        return found


def becomes(client, key, answer):
    wait_until(lambda: check(client, key) == answer or check(client, key)[0] == answer,
               f"{key} to be {answer}")


def redis_value(server, daemon, key):
    """The value's name, or None, and the value. The name begins with what INFO calls the store."""
    found = list(server.client().scan_iter(f"apikeyd:1:{info(daemon)['store']}/*:{digest(key)}"))
    assert len(found) <= 1, found
    return (found[0], server.client().get(found[0])) if found else (None, None)


def entombed(server, daemon, key):
    value = redis_value(server, daemon, key)[1]
    return value and value.startswith("tombstone ")


def deaf_role(db):
    """A role whose connections can be cut and kept away."""
    db.run("DO $$ BEGIN CREATE ROLE deaf LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    db.run("ALTER ROLE deaf CONNECTION LIMIT -1")


def cut(db):
    db.run("ALTER ROLE deaf CONNECTION LIMIT 0")
    db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'deaf'")
