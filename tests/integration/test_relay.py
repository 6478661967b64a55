"""The change feed through relays and a Redis stream (feed.source, feed.relay), with real servers.

With an hour as ttl, only an entry of a relay or ttl_unlinked can be what enforced a change."""

import contextlib
import time

import psycopg
import pytest
from conftest import info, known
from harness.servers import Redis, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.builds("release", "debug", "asan")]

TIMES = {"cache.ttl": "1h", "cache.negative_ttl": "1h", "cache.ttl_unlinked": "2s", "cache.stale_max": "0s"}
SILENT = "cache.ttl_unlinked: no relay is heard through Redis"


@pytest.fixture
def secret(scratch, db):
    path = scratch / f"{db.name}.secret"
    path.write_text("the secret of all hosts, long enough")
    path.chmod(0o600)
    return path


@pytest.fixture
def relay(start, secret):
    return lambda options=None, **rest: start({**TIMES, "redis.secret_file": secret, "feed.relay": "yes",
                                               **(options or {})}, **rest)


@pytest.fixture
def sidecar(start, secret):
    """It hears from relays only."""
    return lambda options=None, **rest: start({**TIMES, "redis.secret_file": secret, "feed.source": "redis",
                                               **(options or {})}, **rest)


def bound(daemon):
    return info(daemon)["revocation_bound"]


def hears(daemon, relays):
    """It hears of changes from so many relays."""
    said = info(daemon)
    return said["revocation_bound"] == "notification" and said["feed_relays"] == relays


def stream_of(client):
    """Its name, once a relay has written there."""
    return wait_until(lambda: list(client.scan_iter("apikeyd:1:feed/*")), "a stream")[0]


def entries(client):
    """Of the stream: [(id, line)]."""
    return [(at, fields["e"]) for at, fields in client.xrange(stream_of(client))]


def is_revoked(db, daemon, key):
    """An ALLOW that is in memory ends, and comes back."""
    client = daemon.client()
    wait_until(lambda: known(client, key)[0] == "ALLOW", "the key")
    db.set_active(key, False)
    wait_until(lambda: known(client, key)[0] == "DENY", "the revocation")
    db.set_active(key, True)
    wait_until(lambda: known(client, key)[0] == "ALLOW", "the key's return")


@contextlib.contextmanager
def revoked_while_paused(db, daemon, relays):
    """The key that the daemon has in memory is revoked while the daemon is paused, and so many relays have told
    that, in the stream, from which the daemon has not read it. When it goes on, it enforces that."""
    client = daemon.client()
    redis = daemon.redis.client()
    wait_until(lambda: known(client, "key")[0] == "ALLOW", "the key")
    daemon.process.pause()
    try:
        for one in redis.client_list():
            if one["cmd"] == "xread":
                redis.client_kill_filter(_id=one["id"])
        told = sum(" key " in line for _, line in entries(redis))
        db.set_active("key", False)
        wait_until(lambda: sum(" key " in line for _, line in entries(redis)) == told + relays, "the relays")
        yield redis
    finally:
        daemon.process.resume()
    wait_until(lambda: known(client, "key")[0] == "DENY", "the revocation")
    db.set_active("key", True)
    wait_until(lambda: hears(daemon, relays), "the feed")


def test_changes_are_heard_through_relays(db, relay, sidecar, figure):
    """In milliseconds, by two sidecars, which have no session that LISTENs, while one of two relays is left; and
    not at all when there is none, which they say."""
    relays, sidecars = [relay(), relay()], [sidecar(), sidecar()]
    db.add_key("key")
    for daemon in sidecars:
        wait_until(lambda: hears(daemon, 2), "both relays")
        is_revoked(db, daemon, "key")
        assert info(daemon)["feed_heartbeats"] == info(daemon)["feed_notifications"] == 0
    listen = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%%'"
    with psycopg.connect(db.admin_dsn, autocommit=True) as yardstick, contextlib.closing(sidecars[0].client()) as client:
        yardstick.execute("LISTEN apikeyd_key")
        lag, heard = [], []
        for active in [False, True] * 5:
            begin = time.monotonic()
            db.set_active("key", active)
            next(yardstick.notifies())
            heard.append(time.monotonic() - begin)
            while (known(client, "key")[0] == "ALLOW") != active:
                pass
            lag.append(time.monotonic() - begin)
        figure("revocation through a relay, median, ms", 1e3 * sorted(lag)[5])
        figure("the same to a LISTEN client, median, ms", 1e3 * sorted(heard)[5])
    assert db.one(listen) <= 2  # a relay's last statement may be another one

    # One relay less: nothing is missed, and what is in memory stays there.
    relays[0].kill()
    for daemon in sidecars:
        wait_until(lambda: hears(daemon, 1), "the relay that is left")
        is_revoked(db, daemon, "key")
        assert info(daemon)["feed_losses"] == info(daemon)["feed_gaps"] == 0

    # The other one stands still: what it tells late, it tells late.
    relays[1].process.pause()
    for daemon in sidecars:
        wait_until(lambda: bound(daemon).startswith(SILENT), "the silence")
        wait_until(lambda: f"change feed: {SILENT}" in daemon.log(), "the log")
        assert info(daemon)["feed_up"] == 0
    is_revoked(db, sidecars[0], "key")
    relays[1].process.resume()
    for daemon in sidecars:
        wait_until(lambda: hears(daemon, 1), "the relay")
        is_revoked(db, daemon, "key")


def test_whatever_redis_loses(db, relay, sidecar, redis_server):
    """Entries that are deleted, trimmed or flushed before the sidecar has read them are missed, and noticed."""
    for _ in range(2):
        relay()
    daemon = sidecar()
    daemon.redis = redis_server
    db.add_key("key")
    wait_until(lambda: hears(daemon, 2), "both relays")
    is_revoked(db, daemon, "key")
    with revoked_while_paused(db, daemon, 2):
        pass
    assert info(daemon)["feed_gaps"] == 0  # it goes on where it was
    with revoked_while_paused(db, daemon, 2) as client:
        for at, line in entries(client):
            if " key " in line:
                client.xdel(stream_of(client), at)
    wait_until(lambda: info(daemon)["feed_gaps"] == 2, "the gaps")
    with revoked_while_paused(db, daemon, 2) as client:
        client.xtrim(stream_of(client), maxlen=0, approximate=False)
    wait_until(lambda: info(daemon)["feed_gaps"] == 4, "the gaps")
    with revoked_while_paused(db, daemon, 2) as client:
        client.flushall()
    wait_until(lambda: info(daemon)["feed_gaps"] == 6, "the gaps")
    # A stream whose ids begin lower than the last one that was read.
    client, name = redis_server.client(), stream_of(redis_server.client())
    client.xadd(name, {"e": ""}, id=f"{2 ** 62}-0")
    wait_until(lambda: info(daemon)["feed_entries_bad"] == 1, "the last id to be read")
    client.delete(name)
    is_revoked(db, daemon, "key")
    wait_until(lambda: hears(daemon, 2), "the feed")


def repeat(client, name, lines):
    """An attacker who can write to Redis has kept entries, and repeats them."""
    for line in lines:
        client.xadd(name, {"e": line})


def test_whoever_can_write_to_redis(db, relay, sidecar, redis_server):
    """Entries that are made up, altered or repeated confirm nothing. So an attacker can end the lease, and not
    more: a revocation that he keeps to himself is enforced within ttl_unlinked."""
    relays, daemon = [relay(), relay()], sidecar()
    db.add_key("key")
    wait_until(lambda: hears(daemon, 2), "both relays")
    is_revoked(db, daemon, "key")
    client = redis_server.client()
    name = stream_of(client)
    kept = wait_until(lambda: [found for found in [[line for _, line in entries(client) if " confirmed " in line]]
                               if len(found) >= 4], "confirmations")[0]
    for one in relays:
        one.process.pause()
    try:
        # From now on the attacker is the only one to write, and the sidecar knows all of the entries.
        wait_until(lambda: repeat(client, name, kept) or not hears(daemon, 2), "the repetition to be of no use")
        wait_until(lambda: repeat(client, name, kept) or not bound(daemon).startswith("notification")
                   and bound(daemon).startswith(SILENT), "the silence")
        is_revoked(db, daemon, "key")
        forged = info(daemon)["feed_entries_bad"]
        assert forged == 0
        # With the time of now, and with the numbers that come next.
        for line in kept[-2:]:
            words = line.split()
            words[3] = str(int(words[3]) + 1)
            words[5] = str(int(time.time() * 1e6))
            client.xadd(name, {"e": " ".join(words)})
            client.xadd(name, {"e": " ".join(words[:-1])})
        client.xadd(name, {"f": "v", "g": "w"})
        wait_until(lambda: info(daemon)["feed_entries_bad"] == forged + 5, "the forgeries")
        assert not hears(daemon, 2) and info(daemon)["feed_up"] == 0
        wait_until(lambda: "no valid tag" in bound(daemon), "the reason")

        # One that knows nothing yet takes them for what they are, too.
        other = sidecar(settled=False)
        assert known(other.client(), "key")[0] == "ALLOW"
        wait_until(lambda: repeat(client, name, kept) or "comes too late" in bound(other), "late confirmations")
        is_revoked(db, other, "key")
        assert info(other)["feed_up"] == 0
    finally:
        for one in relays:
            one.process.resume()
    for sidecar in daemon, other:
        wait_until(lambda: hears(sidecar, 2), "both relays")
        is_revoked(db, sidecar, "key")


def test_redis_comes_back_empty(db, relay, sidecar, scratch):
    """A Redis that is killed takes the feed with it, which is said; another one in its place is found."""
    server = Redis(scratch / f"redis-{db.name}")
    server.start()
    try:
        for _ in range(2):
            relay({"redis.url": server.url()})
        daemon = sidecar({"redis.url": server.url()})
        db.add_key("key")
        wait_until(lambda: hears(daemon, 2), "both relays")
        is_revoked(db, daemon, "key")
        server.process.child.kill()
        server.stop()
        wait_until(lambda: bound(daemon).startswith("cache.ttl_unlinked: Redis, by which changes come, is not in use"),
                   "the loss to be said")
        is_revoked(db, daemon, "key")
        server.start()
        wait_until(lambda: hears(daemon, 2), "both relays")
        is_revoked(db, daemon, "key")
    finally:
        server.stop()


def test_no_relay_is_a_sentence(db, relay, sidecar, secret, redis_server):
    """Neither without one, nor with one for another column or in another secret; lookups go on."""
    daemon = sidecar(settled=False)
    db.add_key("key")
    wait_until(lambda: bound(daemon).startswith(SILENT), "the sentence")
    is_revoked(db, daemon, "key")
    relay({"postgres.key_column": "key_name"}, settled=False)
    wait_until(lambda: stream_of(redis_server.client()), "what that one tells")
    assert bound(daemon).startswith(SILENT)
    other = secret.with_suffix(".other")
    other.write_text("another secret of all hosts, long enough")
    other.chmod(0o600)
    relay({"redis.secret_file": other})
    wait_until(lambda: "no valid tag" in bound(daemon), "the other secret")
    assert info(daemon)["feed_up"] == 0
    is_revoked(db, daemon, "key")
    relay()
    wait_until(lambda: info(daemon)["feed_up"] and info(daemon)["feed_relays"] == 1, "the relay")
    is_revoked(db, daemon, "key")


def test_either_feed_is_enough(db, relay, sidecar, redis_server):
    """With feed.source = both, changes are heard while LISTEN works, or while a relay does."""
    one, daemon = relay(), sidecar({"feed.source": "both"})
    db.add_key("key")
    wait_until(lambda: hears(daemon, 1), "both feeds")
    one.process.pause()
    wait_until(lambda: hears(daemon, 0), "LISTEN to be left")
    is_revoked(db, daemon, "key")
    one.process.resume()
    wait_until(lambda: hears(daemon, 1), "both feeds")
    deaf = sidecar({"feed.source": "both", "postgres.listen_dsn": "host=/nonexistent dbname=none"}, settled=False)
    wait_until(lambda: hears(deaf, 1), "the relay")
    is_revoked(db, deaf, "key")
    assert info(daemon)["feed_losses"] == info(deaf)["feed_losses"] == 0


@pytest.mark.parametrize("start_us", [0, 1])
def test_a_later_timeline_that_anyone_may_have_made_up(db, start, redis_server, start_us):
    """Without a secret it ends the lease, and PostgreSQL answers on; a relay that is back makes it good."""
    options = {**TIMES, "redis.secret_file": ""}
    one, daemon = start({**options, "feed.relay": "yes"}), start({**options, "feed.source": "redis"})
    db.add_keys(2)
    wait_until(lambda: hears(daemon, 1), "the relay")
    client = redis_server.client()
    line = [line for _, line in entries(client) if " confirmed " in line][-1].split()
    line[1:4] = ["0123456789abcdef", "1", "1"]
    line[6:8] = ["4000000", str(int(line[7]) + start_us)]
    one.stop()
    found = info(daemon)["feed_entries"]
    client.xadd(stream_of(client), {"e": " ".join(line)})
    wait_until(lambda: info(daemon)["feed_entries"] > found and not hears(daemon, 1), "the entry")
    assert known(daemon.client(), "key-0")[0] == "ALLOW"
    one.start()
    wait_until(lambda: hears(daemon, 1), "the relay")
    assert known(daemon.client(), "key-1")[0] == "ALLOW"
