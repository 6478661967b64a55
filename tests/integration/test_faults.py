"""Stores that are down, hung, or wrong. Times printed are measured; those asserted are hangs."""

import time

import pytest
import redis
from conftest import LOOKUP, answer, check, info, known, let_redis_be_fresh
from harness.gateways import free_port
from harness.servers import Redis, wait_until
from wire import Wire


def timed(call):
    begin = time.monotonic()
    value = call()
    return value, time.monotonic() - begin


def redis_down_answers(db, daemon):
    """Right answers; the slowest of the requests is returned."""
    for i in range(30):
        db.add_key(f"down{i}", active=i % 2 == 0)
    client = daemon.client()
    slowest = 0
    for i in range(30):
        answer, took = timed(lambda i=i: check(client, f"down{i}"))
        assert answer[0] == ("ALLOW" if i % 2 == 0 else "DENY")
        slowest = max(slowest, took)
    assert check(client, "none") == ["DENY", "unknown"]
    return slowest


@pytest.mark.slow
def test_redis_killed_and_back(db, redis_server, daemon, figure):
    db.add_key("good")
    assert check(daemon.client(), "good")[0] == "ALLOW"
    redis_server.stop()
    slowest = redis_down_answers(db, daemon)
    figure("slowest with Redis killed, ms", slowest * 1000)
    counts = info(daemon)
    assert counts["redis_up"] == 0
    assert counts["postgres_errors"] == 0
    redis_server.start()
    wait_until(lambda: info(daemon)["redis_up"] == 1, "Redis to be used again")
    db.add_key("after")
    assert check(daemon.client(), "after")[0] == "ALLOW"
    wait_until(lambda: redis_server.client().keys(), "a fill")


@pytest.mark.slow
def test_redis_hung_opens_the_breaker(db, redis_server, start, figure):
    """Each request waits redis.timeout and no more, five times; then Redis costs nothing."""
    db.add_keys(5, prefix="slow")  # before the daemon hears of it: no tombstones wait for Redis too
    daemon = start({"redis.timeout": "200ms"})
    redis_server.pause()
    client = daemon.client()
    slowest = 0
    for i in range(5):
        answer, took = timed(lambda i=i: check(client, f"slow{i}"))
        assert answer[0] == "ALLOW"
        assert took >= 0.19
        slowest = max(slowest, took)
    figure("slowest while Redis hangs, ms", slowest * 1000)
    counts = info(daemon)
    assert counts["redis_timeouts"] == 5
    assert counts["redis_breaker_opened"] == 1
    trips = counts["redis_round_trips"]
    slowest = redis_down_answers(db, daemon)
    figure("slowest with the breaker open, ms", slowest * 1000)
    assert info(daemon)["redis_round_trips"] == trips
    redis_server.resume()
    wait_until(lambda: info(daemon)["redis_up"] == 1, "the breaker to close")
    assert check(client, "slow0")[0] == "ALLOW"


def test_redis_wants_a_password(db, scratch, start):
    """From a file; a wrong one is an error in the log, not an outage."""
    guarded = Redis(scratch / "redis-auth", "--requirepass", "right")
    guarded.start()
    try:
        secret = scratch / "redis-password"
        secret.write_text("wrong\n")
        db.add_key("good")
        options = {"redis.url": guarded.url(), "redis.password_file": secret}
        daemon = start(options, settled=False)
        wait_until(lambda: "WRONGPASS" in daemon.log(), "the refusal")
        assert check(daemon.client(), "good")[0] == "ALLOW"
        assert info(daemon)["redis_up"] == 0
        secret.write_text("right\n")
        daemon = start(options)
        assert check(daemon.client(), "good")[0] == "ALLOW"
        wait_until(lambda: info(daemon)["redis_fills"] == 1, "the fill")
    finally:
        guarded.stop()


@pytest.mark.parametrize("login", [":r%69ght%40home", "me:other%2Fone"])
def test_redis_password_in_the_url(db, scratch, start, login):
    """Over TCP and over the Unix socket; nobody is shown the password."""
    port = free_port()
    folder = scratch / f"{db.name}-redis-login"
    guarded = Redis(folder, "--port", str(port), "--requirepass", "right@home",
                    "--user", "me", "on", ">other/one", "~*", "+@all")
    guarded.start()
    try:
        db.add_key("good")
        for url in (f"redis://{login}@127.0.0.1:{port}/0", f"unix://{login}@{guarded.socket}?db=1"):
            daemon = start({"redis.url": url})
            assert check(daemon.client(), "good")[0] == "ALLOW"
            wait_until(lambda daemon=daemon: info(daemon)["redis_fills"] == 1, "the fill")
            shown = daemon.admin_client().config_get("redis.url")["redis.url"]
            assert shown == url.replace(login, login.partition(":")[0] + ":***")
    finally:
        guarded.stop()


@pytest.mark.slow
def test_postgres_stopped(db, postgres, start):
    """Memory and Redis answer on; unknown keys get UNAVAILABLE, never DENY; then it is back."""
    for name in ("cached", "in-redis", "cold"):
        db.add_key(name)
    db.add_key("off", active=False)
    other, daemon = start(), start()
    let_redis_be_fresh()
    check(daemon.client(), "cached")
    check(daemon.client(), "off")
    for name in ("in-redis", "cached"):
        check(other.client(), name)
    wait_until(lambda: info(daemon)["redis_fills"] + info(other)["redis_fills"] >= 3, "fills")
    postgres.stop()
    client = daemon.client()
    assert check(client, "cached")[0] == "ALLOW"
    assert check(client, "off") == ["DENY", "inactive"]
    assert check(client, "in-redis")[0] == "ALLOW"
    assert info(daemon)["checks_from_redis"] >= 1
    for _ in range(20):
        with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
            check(client, "cold")
        with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
            check(client, "no-such-key")
    postgres.start()
    wait_until(lambda: info(daemon)["postgres_connections_up"] > 0, "PostgreSQL to be used")
    assert check(client, "cold")[0] == "ALLOW"
    assert check(client, "no-such-key") == ["DENY", "unknown"]


def test_both_stopped_and_back(db, postgres, redis_server, start):
    db.add_key("cached")
    db.add_key("cold")
    daemon = start()
    client = daemon.client()
    check(client, "cached")
    postgres.stop()
    redis_server.stop()
    assert check(client, "cached")[0] == "ALLOW"
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
        check(client, "cold")
    redis_server.start()
    postgres.start()
    wait_until(lambda: answer(client, "cold")[0] == "ALLOW", "recovery")
    wait_until(lambda: info(daemon)["redis_up"] == 1, "Redis to be used")

    def flushed():
        try:
            daemon.admin_client().execute_command("FLUSH")
        except redis.ResponseError:
            return False  # the connection for usage comes back on its own
        return db.last_used("cached") and db.last_used("cold")
    wait_until(flushed, "usage to be written")


@pytest.mark.slow
def test_sessions_ended_by_the_server_are_not_noticed(db, daemon):
    """As by an administrator, a time-out for idle sessions or a pooler's restart."""
    db.add_keys(20)
    for i in range(20):
        if i % 10 == 0:
            wait_until(daemon.settled, "its sessions")
            time.sleep(1.1)  # a connection that broke at once would be tried again with back-off
            db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                   "WHERE usename = 'apikeyd' AND datname = current_database()")
        assert check(daemon.client(), f"key-{i}")[0] == "ALLOW"
        time.sleep(0.02)


def test_postgres_hung_is_unavailable_in_time(db, postgres, start, figure):
    db.add_key("cached")
    daemon = start({"postgres.timeout": "200ms", "redis.url": ""})
    client = daemon.client()
    known(client, "cached")
    postgres.pause()
    try:
        _, took = timed(lambda: pytest.raises(redis.ResponseError, check, client, "cold"))
        figure("UNAVAILABLE after, ms", took * 1000)
        assert took < 5
        assert check(client, "cached")[0] == "ALLOW"
    finally:
        postgres.resume()
    wait_until(lambda: answer(client, "cold") == ["DENY", "unknown"], "recovery")


@pytest.mark.slow
def test_stale_is_served_while_postgres_is_down_up_to_stale_max(db, postgres, start):
    db.add_key("good")
    daemon = start({"cache.ttl": "100ms", "cache.stale_max": "5s", "redis.url": ""})
    with Wire(daemon.check) as wire:
        begin = time.monotonic()
        assert wire.ask("CHECK", "good")[0] == b"ALLOW"
        read = time.monotonic()  # at the latest; not before `begin`
        postgres.stop()
        asked = 0
        while asked <= read + 5:
            asked = time.monotonic()
            answer = wire.ask("CHECK", "good")
            if time.monotonic() < begin + 5:
                assert answer[0] == b"ALLOW"
            time.sleep(0.02)
        assert "UNAVAILABLE" in str(answer)
    assert info(daemon)["checks_stale"] > 0


def test_stale_in_hand_ends_the_wait_early(db, postgres, start):
    """postgres.soft_timeout: a hung PostgreSQL is not waited for with a stale verdict in hand."""
    db.add_key("good")
    daemon = start({"cache.ttl": "100ms", "postgres.timeout": "30s",
                    "postgres.soft_timeout": "50ms", "redis.url": ""})
    client = daemon.client()
    check(client, "good")
    time.sleep(0.15)
    postgres.pause()
    try:
        answer, took = timed(lambda: check(client, "good"))
        assert answer[0] == "ALLOW"
        assert 0.04 < took < 10
        assert info(daemon)["checks_stale"] == 1
    finally:
        postgres.resume()


def test_table_gone_is_unavailable(db, daemon):
    db.add_key("good")
    client = daemon.client()
    check(client, "warm-up")
    db.run("ALTER TABLE api.user_api_key RENAME TO elsewhere")
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
        check(client, "good")
    assert "does not exist" in daemon.log()
    db.run("ALTER TABLE api.elsewhere RENAME TO user_api_key")
    assert check(client, "good")[0] == "ALLOW"


def test_an_error_about_data_is_not_a_deny(db, daemon):
    """A policy, view or cast that fails says nothing about the key."""
    db.add_key("good")
    db.run("CREATE POLICY broken ON api.user_api_key USING (('x' || key_id)::uuid = user_id)")
    db.run("ALTER TABLE api.user_api_key ENABLE ROW LEVEL SECURITY")
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
        check(daemon.client(), "good")
    assert "invalid input syntax" in daemon.log()
    db.run("ALTER TABLE api.user_api_key DISABLE ROW LEVEL SECURITY")
    assert check(daemon.client(), "good")[0] == "ALLOW"


@pytest.mark.slow
def test_late_queries_do_not_pile_up_on_the_server(db, start, figure):
    """Behind a lock, each late query costs its connection; the server ends what is left behind."""
    daemon = start({"postgres.timeout": "100ms", "redis.url": ""})
    most = 0
    with db.connect(autocommit=False) as lock:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        end = time.monotonic() + 5
        i = 0
        while time.monotonic() < end:
            i += 1
            with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
                check(daemon.client(), f"cold{i}")
            time.sleep(0.05)
            most = max(most, db.one("SELECT count(*) FROM pg_stat_activity WHERE usename = "
                                    "'apikeyd' AND datname = current_database()"))
    figure("sessions left by late queries", most)
    assert most <= 3 * 4


def test_another_connection_takes_over(db, start):
    """One session ends under a lookup and cannot come back; the other one answers it."""
    db.add_key("good")
    daemon = start({"postgres.timeout": "10s", "redis.url": ""})
    time.sleep(1.1)
    waiting = "wait_event_type = 'Lock' AND query LIKE 'SELECT t.%'"
    with db.connect(autocommit=False) as lock, Wire(daemon.check) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        wire.send(b"CHECK good\r\n")
        wait_until(lambda: db.one(f"SELECT count(*) FROM pg_stat_activity WHERE {waiting}"),
                   "the SELECT")
        db.run("ALTER ROLE apikeyd CONNECTION LIMIT 0")
        try:
            db.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {waiting}")
            lock.rollback()
            assert wire.reply()[0] == b"ALLOW"
        finally:
            db.run("ALTER ROLE apikeyd CONNECTION LIMIT -1")


def test_forged_redis_values_are_ignored(db, redis_server, scratch, start):
    secret = scratch / "redis-secret"
    secret.write_text("shared\n")
    api_key_id = db.add_key("good")
    db.add_key("bad", active=False)
    daemon = start({"redis.secret_file": secret})
    client, store = daemon.client(), redis_server.client()
    check(client, "good")
    wait_until(lambda: store.keys(), "the fill")
    good_key, = store.keys()
    check(client, "bad")
    wait_until(lambda: len(store.keys()) == 2, "the fill")
    bad_key, = set(store.keys()) - {good_key}
    other = start({"redis.secret_file": secret})
    store.set(bad_key, store.get(good_key))  # copied from another key
    assert check(other.client(), "bad") == ["DENY", "inactive"]
    store.set(good_key, f"1 INACTIVE {api_key_id} {db.user_id} 1795404331990069")  # by hand
    assert check(other.client(), "good")[0] == "ALLOW"
    assert info(other)["redis_forged"] == 2


def test_broken_redis_values_are_passed_over(db, redis_server, start):
    db.add_key("good")
    first, second = start(), start()
    check(first.client(), "good")
    wait_until(lambda: redis_server.client().keys(), "the fill")
    key, = redis_server.client().keys()
    redis_server.client().set(key, "rubbish")
    db.reset_statements()
    assert check(second.client(), "good")[0] == "ALLOW"
    assert db.statements(LOOKUP) == 1
    assert info(second)["redis_broken"] == 1


def test_flushall_costs_only_lookups(db, redis_server, daemon):
    db.add_key("good")
    client = daemon.client()
    check(client, "good")
    redis_server.client().flushall()
    daemon.admin_client().execute_command("INVALIDATE", "ALL")
    assert check(client, "good")[0] == "ALLOW"
