"""Keys that start and end at an instant of PostgreSQL's clock."""

import json
import subprocess
import time
from datetime import datetime, timedelta, timezone

import pytest
import redis
from coherence import INACTIVE, LONG, TABLE, becomes
from conftest import check, explain, has_heard_of, info, let_redis_be_fresh
from harness.clocks import Clocks
from harness.ends import play
from harness.proxy import Proxy
from harness.schema import deploy
from harness.servers import BUILD, wait_until
from http_wire import HttpWire

pytestmark = pytest.mark.builds("release", "debug", "asan")
EXPIRED, EARLY = ["DENY", "expired"], ["DENY", "early"]
OPTIONS = {**LONG, "postgres.expires_column": "expires_at", "postgres.not_before_column": "not_before"}
AGES = timedelta(days=1000)


def now():
    return datetime.now(timezone.utc)


def add_columns(db, kind="timestamptz"):
    db.run(f"ALTER TABLE {TABLE} ADD expires_at {kind}, ADD not_before {kind}")


@pytest.fixture
def windows(db, start):
    """windows({options}): a daemon over a table with both columns, whose triggers and grants know them."""
    def run(options=None, columns=True, **rest):
        if columns:
            add_columns(db)
        deploy(db.admin_dsn, expires_column="expires_at", not_before_column="not_before")
        return start({**OPTIONS, **(options or {})}, **rest)
    return run


def test_every_kind_of_window(db, windows, scratch):
    """On every face, from PostgreSQL and from memory, with words and numbers of their own."""
    past, future, ages = now() - timedelta(minutes=1), now() + timedelta(minutes=1), now() + AGES
    cases = {"none": (None, None, "ALLOW"), "open": (past, ages, "ALLOW"), "later": (future, None, "early"),
             "over": (None, past, "expired"), "both": (now() - AGES, past, "expired"),
             "upside-down": (future, past, "expired"), "never open": (ages, future, "early"),
             "for ever": ("-infinity", "infinity", "ALLOW"), "never": ("infinity", None, "early"),
             "ended always": (None, "-infinity", "expired"), "long ago": (None, "4000-01-01 BC", "expired"),
             "far ahead": (None, "294276-12-31", "ALLOW")}
    path = scratch / f"{db.name}.http"
    daemon = windows({"listen.http": path})
    for name, (start, end, _) in cases.items():
        db.add_key(name, not_before=start, expires_at=end)
    db.add_key("off", active=False, expires_at=past)
    changes = len(cases) + 1
    has_heard_of(daemon, changes)
    client = daemon.client()
    for _ in range(2):
        for name, (_, _, answer) in cases.items():
            given = check(client, name)
            assert given[0] == answer or given == ["DENY", answer], name
        assert check(client, "off") == INACTIVE
    counts = info(daemon)
    assert [counts["checks_deny_expired"], counts["checks_deny_early"]] == [10, 6]
    assert counts["checks_from_memory"] == changes
    with HttpWire(path) as wire:
        for key, kind, title in (("over", "expired", "Key expired"), ("later", "early", "Key not valid yet")):
            reply = wire.ask("/authorize", fields=[f"X-API-Key: {key}"])
            problem = json.loads(reply.body)
            assert [reply.status, problem["type"], problem["title"]] == [403, f"urn:apikeyd:key-{kind}", title]
            event = {"type": "TOKEN", "authorizationToken": key, "methodArn": "arn:aws:execute-api:r:1:a/s/GET/"}
            policy = json.loads(wire.ask("/aws/authorizer", "POST", [], json.dumps(event).encode()).body)
            assert policy["context"] == {"reason": kind}
            done = subprocess.run([BUILD / "apikeyctl", "--socket", daemon.admin, "check", key], capture_output=True,
                                  check=False)
            assert done.returncode == {"expired": 5, "early": 6}[kind]
            found = explain(daemon, key)
            assert [found["verdict"], found["memory"]] == [f"DENY {kind}", "fresh"]
        # A gateway must not keep an ALLOW beyond the end, though the ttl is an hour. It keeps none that a change overtook.
        db.add_key("soon", expires_at=future)
        has_heard_of(daemon, changes + 1)
        fields = wire.ask("/authorize", fields=["X-API-Key: soon"]).fields
        assert 30 < int(fields["cache-control"].removeprefix("max-age=")) < 60
    assert explain(daemon, "soon")["expires"] == future.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert explain(daemon, "soon")["not_before"] == "none"
    assert db.last_used("over") is None
    assert daemon.log().count("this key ends before it starts") == 1
    status = json.loads(daemon.admin_client().execute_command("STATUS"))
    assert status["checks"]["total"]["deny_expired"] == counts["checks_deny_expired"] + 3
    assert 'verdict="deny_early",tier="memory"' in daemon.admin_client().execute_command("METRICS")


def test_ends_starts_and_extensions(db, windows):
    """At the instant, without a lookup; what is changed works when it is notified."""
    daemon = windows()
    client = daemon.client()
    soon = now() + timedelta(seconds=2)
    db.add_key("ends", expires_at=soon)
    db.add_key("starts", not_before=soon)
    assert [check(client, "ends")[0], check(client, "starts")] == ["ALLOW", EARLY]
    lookups = info(daemon)["lookups"]
    late = 0
    while check(client, "ends") != EXPIRED:
        late = (now() - soon).total_seconds()
    assert late < 1  # how exact it is, test_a_thousand_ends tells
    wait_until(lambda: check(client, "starts")[0] == "ALLOW", "the start")
    assert now() >= soon and info(daemon)["lookups"] == lookups
    for column, value, key, answer in (("expires_at", None, "ends", "ALLOW"), ("not_before", "infinity", "ends", EARLY),
                                       ("not_before", None, "ends", "ALLOW"), ("expires_at", soon, "ends", EXPIRED),
                                       ("expires_at", now() + AGES, "ends", "ALLOW")):
        db.run(f"UPDATE {TABLE} SET {column} = %s WHERE key_id = %s", value, key)
        becomes(client, key, answer)
    assert check(client, "starts")[0] == "ALLOW"


@pytest.mark.builds("release")
def test_times_without_zone_and_several_rows(db, start, windows):
    """In postgres.timestamp_zone, whatever the session's. Of several rows the narrowest window counts. The ends of
    PostgreSQL's calendar, which the zone leads beyond, fail no lookup. In Redis nobody finds what was read in another
    zone."""
    db.run(f"ALTER DATABASE \"{db.name}\" SET timezone = 'America/New_York'")
    add_columns(db, "timestamp")
    seoul = datetime.now(timezone(timedelta(hours=9))).replace(tzinfo=None)
    for name, end in (("on", 5), ("off", -5), ("mixed", 5)):
        db.add_key(name, expires_at=seoul + timedelta(minutes=end))
    db.add_key("always", not_before="4714-11-24 BC", expires_at="294276-12-31 23:59:59")
    db.add_key("never", expires_at="4714-11-24 BC")
    daemon = windows({"postgres.timestamp_zone": "Asia/Seoul"}, columns=False)
    elsewhere = start({**OPTIONS, "postgres.timestamp_zone": "UTC"})  # the same times are later there
    client = daemon.client()
    db.run("DROP INDEX api.user_api_key_key_id_idx")
    db.add_key("mixed", expires_at=seoul - timedelta(minutes=5))
    let_redis_be_fresh()
    assert [check(client, "on")[0], check(client, "off"), check(client, "mixed")] == ["ALLOW", EXPIRED, EXPIRED]
    assert [check(client, "always")[0], check(client, "never")] == ["ALLOW", EXPIRED]
    assert info(daemon)["duplicate_key_ids"] == 1
    wait_until(lambda: info(daemon)["redis_fills"] == 4, "the fills")  # a tombstone stands for mixed
    assert check(elsewhere.client(), "off")[0] == "ALLOW" and info(elsewhere)["redis_hits"] == 0


@pytest.mark.builds("release")
def test_a_zone_that_is_none(db, windows):
    """Only a key whose window it has to tell is UNAVAILABLE, and no other in the same SELECT."""
    db.run(f"ALTER TABLE {TABLE} ADD expires_at timestamptz, ADD not_before timestamp")
    answers = {"plain": "ALLOW", "ends": "ALLOW", "starts": "UNAVAILABLE", "over": "DENY"}
    for i in range(10):
        for kind, columns in {"plain": {}, "ends": {"expires_at": now() + AGES}, "starts": {"not_before": now() + AGES},
                              "over": {"expires_at": now() - AGES}}.items():
            db.add_key(f"{kind} {i}", **columns)
    daemon = windows({"postgres.timestamp_zone": "Asia/Soul", "redis.url": ""}, columns=False)
    with daemon.client().pipeline(transaction=False) as pipeline:
        keys = [f"{kind} {i}" for i in range(10) for kind in answers]
        for key in keys:
            pipeline.execute_command("CHECK", key)
        given = pipeline.execute(raise_on_error=False)
    assert {key: str(answer if isinstance(answer, Exception) else answer[0]).split()[0]
            for key, answer in zip(keys, given)} == {key: answers[key.split()[0]] for key in keys}
    assert daemon.log().count('time zone "Asia/Soul" not recognized; see postgres.timestamp_zone (logged once)') == 1


@pytest.mark.builds("release")
@pytest.mark.parametrize("kind", ["text", "date", "bigint"])
def test_a_column_that_is_no_time(db, start, kind):
    """A sentence from the check of the schema, and from the daemon, which denies nobody for it."""
    db.run(f"ALTER TABLE {TABLE} ADD expires_at {kind}")
    db.run("GRANT SELECT ON ALL TABLES IN SCHEMA api TO apikeyd")
    db.add_key("k")
    options = {"postgres.expires_column": "expires_at"}
    daemon = start({**LONG, **options}, settled=False)
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
        check(daemon.client(), "k")
    wait_until(lambda: "expires_column" in daemon.log(), "the log")
    assert "of type timestamp" in daemon.log()
    done = subprocess.run([BUILD / "apikeyctl", "--config", daemon.config, "schema", "check", "--dsn", db.admin_dsn],
                          capture_output=True, text=True, check=False)
    shown = {"bigint": "int8"}.get(kind, kind)
    assert f"column expires_at is of type {shown}, not timestamptz or timestamp" in done.stdout and done.returncode == 1
    # It is noticed when that is put right.
    db.run(f"ALTER TABLE {TABLE} DROP expires_at, ADD expires_at timestamptz")
    db.run("GRANT SELECT ON ALL TABLES IN SCHEMA api TO apikeyd")
    wait_until(lambda: _answers(daemon, "k"), "an answer")


def _answers(daemon, key):
    try:
        return check(daemon.client(), key)[0] == "ALLOW"
    except redis.ResponseError:
        return False


def test_windows_in_redis(db, start, windows):
    """They come along. A daemon that knows of no windows, as all of before, never gets such a verdict, nor does
    one with windows get one that never had one; both ask PostgreSQL."""
    add_columns(db)
    end = now() + AGES
    db.add_key("open", expires_at=end)
    db.add_key("over", expires_at=now() - AGES)
    db.add_key("plain")
    first = windows(columns=False)
    second, old = start(OPTIONS), start(LONG)
    let_redis_be_fresh()
    asked = [[check(one.client(), key) for key in ("open", "over", "plain")] for one in (first, old)]
    assert asked[0][1] == EXPIRED and asked[1][1][0] == "ALLOW"  # it is not told of ends
    wait_until(lambda: info(first)["redis_fills"] == info(old)["redis_fills"] == 3, "the fills")
    # The triggers announce more than that one needs, and count for it, as docs/operations.md says.
    wait_until(lambda: info(old)["revocation_bound"] == "notification", "the triggers to count")
    assert [check(second.client(), key) for key in ("open", "over", "plain")] == asked[0]
    assert [info(one)["redis_hits"] for one in (first, second, old)] == [0, 3, 0]
    assert explain(second, "open")["expires"] == end.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def test_stale_and_unknown_clocks(db, windows, scratch, postgres):
    """While PostgreSQL is away a key ends all the same. When this host's clock has stood still, nobody knows whether
    it has ended: UNAVAILABLE, until PostgreSQL answers."""
    clocks = Clocks(scratch / f"clocks-{db.name}")
    clocks.set_wall(3600)  # which must not matter
    with Proxy(scratch / f"{db.name}.line", postgres.folder) as line:
        daemon = windows({"postgres.dsn": db.dsn.replace(str(postgres.folder), str(line.folder)), "redis.url": "",
                          "postgres.timeout": "300ms", "cache.stale_max": "10m", "cache.ttl_unlinked": "100ms"},
                         env=clocks.env)
        client = daemon.client()
        soon = now() + timedelta(seconds=2)
        db.add_key("ends", expires_at=soon)
        db.add_key("stays", expires_at=now() + AGES)
        db.add_key("plain")
        assert [check(client, key)[0] for key in ("ends", "stays", "plain")] == ["ALLOW"] * 3
        line.silence()
        wait_until(lambda: check(client, "ends") == EXPIRED, "the end")
        assert now() >= soon - timedelta(seconds=0.5)
        assert info(daemon)["checks_stale"] > 0
        assert check(client, "stays")[0] == "ALLOW"
        with clocks.pause(daemon.process):
            time.sleep(0.5)
        with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
            check(client, "stays")
        assert check(client, "plain")[0] == "ALLOW"
        line.speak()
        wait_until(lambda: _answers(daemon, "stays"), "PostgreSQL's clock", 30)


@pytest.mark.slow
@pytest.mark.builds("release")
def test_a_thousand_ends(scratch, figure):
    """None is allowed later than 10 ms: ./dev ends, in short."""
    wrong, counts = play(scratch / "ends", keys=1000, seconds=3)
    for name, count in counts.items():
        figure(name, count)
    assert not wrong
    assert counts["ends seen"] > 300
