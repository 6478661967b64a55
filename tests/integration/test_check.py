"""CHECK: right answers, from every tier, for every kind of key."""

import re
import threading
import time
import uuid

import pytest
import redis
from conftest import LOOKUP, check, info, let_redis_be_fresh
from harness.operators import metrics
from harness.servers import wait_until
from wire import Wire, command

ODD_KEYS = [
    "local-dev-api-key",
    "it's \"quoted\" \\ back",
    "100%s %d %",
    "with  spaces and\ttab",
    "key\u00e9-\u65e5\u672c-\U0001f511",
    "{a,b}",
    "NULL",
    "x" * 255,
    "\U0001f511" * 63 + "abc",
    "line\r\nbreak",
]


def test_active_inactive_unknown(db, start):
    api_key_id = db.add_key("good")
    db.add_key("bad", active=False)
    client = start().client()
    for _ in range(2):
        assert check(client, "good") == ["ALLOW", str(api_key_id), str(db.user_id)]
        assert check(client, "bad") == ["DENY", "inactive"]
        assert check(client, "none") == ["DENY", "unknown"]


def test_odd_keys(db, start):
    ids = {key: db.add_key(key) for key in ODD_KEYS}
    db.add_key("almost' OR true --", active=False)
    client = start().client()
    for _ in range(2):
        for key, api_key_id in ids.items():
            assert check(client, key)[:2] == ["ALLOW", str(api_key_id)]
            assert check(client, key[:-1] or "-") == ["DENY", "unknown"]
        assert check(client, "almost' OR true --") == ["DENY", "inactive"]


BAD_KEYS = [b"", b"x" * 256, b"nul\0byte", b"\xff\xfe", b"cut\xe2\x82", b"\xed\xa0\x80"]


def test_bad_keys_do_not_harm_their_batch(db, daemon):
    """Good and bad ones in one pipeline, and so in one batch."""
    ids = [db.add_key(f"good{i}") for i in range(len(BAD_KEYS))]
    with Wire(daemon.check) as wire:
        wire.send(b"".join(command("CHECK", f"good{i}") + command("CHECK", bad)
                           for i, bad in enumerate(BAD_KEYS)))
        for api_key_id in ids:
            assert wire.reply()[:2] == [b"ALLOW", str(api_key_id).encode()]
            # One that is too long may be in the table, for all that is known.
            assert re.match("(ERR|UNAVAILABLE) key id", str(wire.reply()))
    assert info(daemon)["checks_refused"] == len(BAD_KEYS) - 1
    assert info(daemon)["checks_unavailable"] == 1


@pytest.mark.parametrize("rest", [["WITHIN"], ["WITHIN", "x"], ["WITHIN", "0"], ["WITHIN", "-5"],
                                  ["BEFORE", "5"], ["WITHIN", "99999999"]])
def test_within_is_checked(daemon, rest):
    with pytest.raises(redis.ResponseError, match="syntax"):
        check(daemon.client(), "key", *rest)


def test_within_ends_the_wait(db, postgres, start):
    db.add_key("good")
    db.add_key("other")
    daemon = start({"postgres.timeout": "20s"})
    client = daemon.client()
    assert check(client, "good", "WITHIN", 60000)[0] == "ALLOW"
    postgres.pause()
    try:
        begin = time.monotonic()
        with pytest.raises(redis.ResponseError, match="UNAVAILABLE deadline"):
            check(client, "other", "WITHIN", 100)
        assert 0.09 < time.monotonic() - begin < 10
        assert check(client, "good", "WITHIN", 100)[0] == "ALLOW"  # from memory
    finally:
        postgres.resume()
    wait_until(lambda: check(client, "other")[0] == "ALLOW", "the lookup to end")


def test_one_select_for_a_thousand_first_requests(db, start):
    api_key_id = db.add_key("popular")
    daemon = start()
    db.reset_statements()
    wires = [Wire(daemon.check) for _ in range(1000)]
    for wire in wires:
        wire.send(command("CHECK", "popular"))
    for wire in wires:
        assert wire.reply()[:2] == [b"ALLOW", str(api_key_id).encode()]
        wire.close()
    assert db.statements(LOOKUP) == 1
    counts = info(daemon)
    assert counts["checks_allow"] == 1000
    assert counts["usage_recorded"] == 1000


def test_single_flight_while_postgres_hangs(db, postgres, start):
    """All thousand are waiting before the one SELECT can be answered."""
    db.add_key("popular")
    daemon = start({"postgres.timeout": "30s", "redis.url": ""})
    assert check(daemon.client(), "first") == ["DENY", "unknown"]
    db.reset_statements()
    wires = [Wire(daemon.check) for _ in range(1000)]
    postgres.pause()
    try:
        for wire in wires:
            wire.send(command("CHECK", "popular"))
        wait_until(lambda: info(daemon)["lookups_shared"] == 999, "all to wait")
    finally:
        postgres.resume()
    for wire in wires:
        assert wire.reply()[0] == b"ALLOW"
        wire.close()
    assert db.statements(LOOKUP) == 1


@pytest.mark.slow
@pytest.mark.parametrize("with_redis", [True, False])
def test_ten_thousand_cold_keys_in_one_pipeline(db, start, with_redis):
    db.add_keys(10000)
    rows = dict(db.run("SELECT key_id, api_key_id FROM api.user_api_key"))
    # A third of max_pending is one client's share.
    daemon = start({"postgres.max_pending": "40000", **({} if with_redis else {"redis.url": ""})})
    db.reset_statements()
    before = metrics(daemon)

    def all_wait_for_postgres():
        """Redis has told that it has none of them."""
        found = metrics(daemon)
        asked, told, keys = (found[name] - before[name] for name in (
            "apikeyd_redis_round_trips_total", "apikeyd_redis_round_trip_seconds_count", "apikeyd_redis_keys_read_total"))
        return info(daemon)["lookups_pending"] == 10000 and asked == told and keys == (10000 if with_redis else 0)
    # PostgreSQL answers when all are waiting: how many SELECTs it takes depends on no thread's speed.
    with db.connect(autocommit=False) as lock, Wire(daemon.check) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        sender = threading.Thread(target=wire.send, args=[
            b"".join(command("CHECK", f"key-{i}") for i in range(10000))])
        sender.start()
        wait_until(all_wait_for_postgres, "all to wait")
        lock.rollback()
        for i in range(10000):
            assert wire.reply()[:2] == [b"ALLOW", str(rows[f"key-{i}"]).encode()]
        sender.join()
    # Full batches, and what each of the two connections was sent before.
    assert db.statements(LOOKUP) <= 10000 / 1000 + 2


@pytest.mark.slow
def test_redis_is_asked_before_postgres(db, start):
    api_key_id = db.add_key("good")
    db.add_key("bad", active=False)
    first, second = start(), start()
    let_redis_be_fresh()
    assert check(first.client(), "good")[1] == str(api_key_id)
    assert check(first.client(), "bad") == ["DENY", "inactive"]
    wait_until(lambda: info(first)["redis_fills"] == 2, "the fills")
    db.reset_statements()
    assert check(second.client(), "good") == ["ALLOW", str(api_key_id), str(db.user_id)]
    assert check(second.client(), "bad") == ["DENY", "inactive"]
    assert db.statements(LOOKUP) == 0
    assert info(second)["checks_from_redis"] == 2


def test_unknown_stays_out_of_redis(redis_server, daemon):
    assert check(daemon.client(), "none") == ["DENY", "unknown"]
    daemon.admin_client().execute_command("FLUSH")
    assert redis_server.client().keys() == []


def test_change_is_seen_within_the_ttl(db, start):
    """Without notifications the ttls are the bound, for revocation and creation."""
    db.add_key("good")
    db.silence()
    client = start({"cache.ttl": "500ms", "cache.negative_ttl": "500ms"}).client()
    assert check(client, "good")[0] == "ALLOW"
    assert check(client, "new") == ["DENY", "unknown"]
    db.set_active("good", False)
    db.add_key("new")
    changed = time.monotonic()
    while time.monotonic() < changed + 0.5 and check(client, "good")[0] == "ALLOW":
        time.sleep(0.01)
    wait_until(lambda: time.monotonic() > changed + 0.5, "the ttl")
    assert check(client, "good") == ["DENY", "inactive"]
    assert check(client, "new")[0] == "ALLOW"


@pytest.mark.slow
def test_age_counts_through_redis(db, start):
    """What another daemon read too long ago is not fresh, though Redis still holds it."""
    db.add_key("good")
    db.silence()
    long, short = start(), start({"cache.ttl": "4s"})
    let_redis_be_fresh()
    assert check(long.client(), "good")[0] == "ALLOW"
    wait_until(lambda: info(long)["redis_fills"] == 1, "the fill")
    assert check(short.client(), "good")[0] == "ALLOW"
    assert info(short)["checks_from_redis"] == 1
    db.set_active("good", False)
    time.sleep(4.1)
    assert check(short.client(), "good") == ["DENY", "inactive"]
    assert check(long.client(), "good")[0] == "ALLOW"  # within its own bound


@pytest.mark.slow
def test_hot_keys_are_refreshed_ahead(db, start):
    """Asked all the time, a key never misses again: each refresh is one lookup, nobody waits."""
    db.add_key("hot")
    daemon = start({"cache.ttl": "4s", "redis.url": ""})  # it is refreshed in the last 0.8 s of that
    client = daemon.client()
    begin = last = time.monotonic()
    counts, longest = {"refreshes": 0}, 0
    while counts["refreshes"] < 2:
        assert time.monotonic() < begin + 60
        for _ in range(10):
            assert check(client, "hot")[0] == "ALLOW"
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            time.sleep(0.002)
        counts = info(daemon)
    assert time.monotonic() - begin >= 2 * 0.8 * 4
    assert counts["checks_from_postgres"] == 1 or longest > 0.4  # the machine is so busy that nobody has asked in time
    assert counts["lookups"] == counts["refreshes"] + 1


def test_rows_that_share_a_key_id(db, start):
    db.run("DROP INDEX api.user_api_key_key_id_idx")
    db.run("CREATE INDEX ON api.user_api_key (key_id)")
    oldest = db.add_key("twice", created_at="2020-01-01")
    db.add_key("twice", created_at="2021-01-01")
    db.add_key("mixed", created_at="2020-01-01")
    db.add_key("mixed", active=False, created_at="2021-01-01")
    db.add_key("later", created_at="2021-01-01")
    earlier = db.add_key("later", created_at="2020-01-01")
    db.add_key("even", created_at="2020-01-01", api_key_id=uuid.UUID(int=2))
    least = db.add_key("even", created_at="2020-01-01", api_key_id=uuid.UUID(int=1))
    db.add_key("even", created_at="2020-01-01", api_key_id=uuid.UUID(int=3))
    daemon = start()
    assert check(daemon.client(), "later")[:2] == ["ALLOW", str(earlier)]
    assert check(daemon.client(), "even")[:2] == ["ALLOW", str(least)]
    assert daemon.admin_client().execute_command("FLUSH") == 2
    assert check(daemon.client(), "twice")[:2] == ["ALLOW", str(oldest)]
    assert check(daemon.client(), "mixed") == ["DENY", "inactive"]
    assert daemon.admin_client().execute_command("FLUSH") == 1
    used = db.run("SELECT api_key_id FROM api.user_api_key WHERE last_used IS NOT NULL")
    assert {row[0] for row in used} == {oldest, earlier, least}
    assert info(daemon)["duplicate_key_ids"] == 4


def test_key_transform(db, start, scratch):
    """The column holds the hex HMAC of the key."""
    secret = scratch / f"secret-{uuid.uuid4()}"
    secret.write_text("pepper\n")
    db.run("CREATE EXTENSION pgcrypto SCHEMA public")
    hashed = db.one("SELECT encode(public.hmac('raw-key', 'pepper', 'sha256'), 'hex')")
    api_key_id = db.add_key(hashed)
    daemon = start({"postgres.key_transform": "hmac-sha256",
                    "postgres.key_transform_secret_file": secret})
    assert check(daemon.client(), "raw-key")[:2] == ["ALLOW", str(api_key_id)]
    assert check(daemon.client(), hashed) == ["DENY", "unknown"]


def test_deactivation_between_two_requests(db, daemon):
    """INVALIDATE is what makes it known here."""
    db.add_key("good")
    db.silence()
    client = daemon.client()
    assert check(client, "good")[0] == "ALLOW"
    db.set_active("good", False)
    assert daemon.admin_client().execute_command("INVALIDATE", "good") == "OK"
    assert check(client, "good") == ["DENY", "inactive"]


def test_deleted_key_is_refused_and_its_sibling_is_not(db, daemon):
    db.add_key("one")
    db.add_key("two")
    db.silence()
    client = daemon.client()
    assert check(client, "one")[0] == check(client, "two")[0] == "ALLOW"
    db.run("DELETE FROM api.user_api_key WHERE key_id = 'one'")
    daemon.admin_client().execute_command("INVALIDATE", "ALL")
    assert check(client, "one") == ["DENY", "unknown"]
    assert check(client, "two")[0] == "ALLOW"


def test_too_many_lookups_pending(db, postgres, start):
    """Who comes when there is no room for its process is told so at once."""
    daemon = start({"postgres.max_pending": "100", "postgres.timeout": "20s", "redis.url": ""})
    assert check(daemon.client(), "first") == ["DENY", "unknown"]
    postgres.pause()
    wires = [Wire(daemon.check) for _ in range(150)]
    try:
        for i, wire in enumerate(wires):
            wire.send(command("CHECK", f"flood{i}"))
        wait_until(lambda: info(daemon)["lookups_overloaded"] == 69, "the refusals")
        postgres.resume()
        replies = [wire.reply() for wire in wires]
    finally:
        postgres.resume()
        for wire in wires:
            wire.close()
    assert replies.count([b"DENY", b"unknown"]) == 81  # then four fifths of the room are used
    assert sum("UNAVAILABLE too many lookups" in str(reply) for reply in replies) == 69
