"""The change feed through relays and a Redis stream (feed.source, feed.relay), with real servers."""

import contextlib
import re

import pytest
from conftest import answer, check, info, known
from harness.servers import Redis, wait_until

pytestmark = pytest.mark.builds("release", "debug", "asan")

TIMES = {"cache.ttl": "1h", "cache.negative_ttl": "1h", "cache.ttl_unlinked": "2s", "cache.stale_max": "0s"}
SECRET = "the secret of all hosts, long enough"


@pytest.fixture
def fleet(scratch, start, redis_server, db):
    """fleet(relays=2, sidecars=2): daemons that relay, and daemons that hear from them only."""
    secret = scratch / f"{db.name}.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)

    def run(relays=2, sidecars=2, settled=True, **options):
        common = {**TIMES, "redis.secret_file": secret, **options}
        return ([start({**common, "feed.relay": "yes"}) for _ in range(relays)],
                [start({**common, "feed.source": "redis"}, settled=settled) for _ in range(sidecars)])
    return run


def bound(daemon):
    return info(daemon)["revocation_bound"]


def hears(daemon):
    return bound(daemon) == "notification"


def stream(redis_server):
    return wait_until(lambda: list(redis_server.client().scan_iter("apikeyd:1:feed/*")), "a stream")[0]


def hits(daemon, key):
    """The next answer comes from memory."""
    with contextlib.closing(daemon.client()) as client:
        before = info(daemon)["checks_memory"] if False else None
        return check(client, key), before


def revoked(db, daemon, key):
    """An ALLOW in memory ends without waiting for any ttl: the bound says notification before and after."""
    client = daemon.client()
    assert known(client, key)[0] == "ALLOW"
    db.set_active(key, False)
    wait_until(lambda: check(client, key)[0] == "DENY", "the revocation")
    db.set_active(key, True)
    wait_until(lambda: check(client, key)[0] == "ALLOW", "the key's return")


def test_changes_are_heard_through_a_relay(db, fleet):
    relays, sidecars = fleet()
    db.add_key("key")
    for sidecar in sidecars:
        wait_until(lambda: hears(sidecar), "the feed")
        revoked(db, sidecar, "key")
        said = info(sidecar)
        assert said["feed_relays"] == 2, said
        assert said["feed_heartbeats"] == 0 and said["feed_notifications"] == 0
    assert db.one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                  "AND query LIKE 'LISTEN%%'") <= 2
