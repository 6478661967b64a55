"""A role that may have fewer sessions than the daemon wants: which of them comes first, and that all is done
with those that there are."""

import contextlib
import itertools
import os
import signal
import threading

import pytest
import redis
from conftest import check, info
from harness.servers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.builds("release", "debug", "asan")]

TOLD = "has no room for a session"


@pytest.fixture
def role(db):
    """role(limit) makes the daemon's role one with a CONNECTION LIMIT, which a later call changes."""
    name = f"few_{db.name}"
    db.run(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 0 IN ROLE apikeyd")

    def limit(sessions):
        db.run(f"ALTER ROLE {name} CONNECTION LIMIT {sessions}")
        return db.server.dsn(db.name, name)
    yield limit
    db.run(f"DROP ROLE {name}")


def sessions(db):
    return db.one("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'few%' AND datname = current_database()")


def end_sessions(db):
    db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
           "WHERE usename LIKE 'few%' AND datname = current_database()")


def flush(daemon):
    """Whether all usage has been written."""
    with contextlib.suppress(redis.ResponseError):
        return daemon.admin_client().execute_command("FLUSH") is not None


def all_is_done(db, daemon, key):
    """Whether a revocation is heard of, a lookup answered, and its use written."""
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the change feed")
    assert check(daemon.client(), key)[0] == "ALLOW"
    wait_until(lambda: flush(daemon) and db.last_used(key), "its use to be written")
    db.set_active(key, False)
    wait_until(lambda: check(daemon.client(), key)[0] == "DENY", "its revocation to be heard of")


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_few_sessions_are_enough_and_the_change_feed_has_the_first(start, db, role, limit):
    db.add_keys(2)
    daemon = start({"postgres.dsn": role(limit), "postgres.connections": 4, "cache.ttl": "1h"}, settled=False)
    all_is_done(db, daemon, "key-0")
    end_sessions(db)
    wait_until(lambda: info(daemon)["feed_losses"] == 1, "the sessions to be lost")
    all_is_done(db, daemon, "key-1")
    wait_until(lambda: info(daemon)["postgres_refused"] == 6 - limit, "all others to be refused")
    wait_until(lambda: sessions(db) == limit, "no more sessions than are allowed")
    wait_until(lambda: info(daemon)["postgres_connections_up"] == (0 if limit == 1 else 1), "the order")
    assert daemon.log().count(TOLD) == 1, daemon.log()


def test_sessions_come_back_when_there_is_room(start, db, role):
    dsn = role(1)
    daemon = start({"postgres.dsn": dsn}, settled=False)
    wait_until(lambda: info(daemon)["feed_up"], "the change feed")
    role(10)
    wait_until(daemon.settled, "the other sessions")
    wait_until(lambda: info(daemon)["postgres_refused"] == 0, "the last of them")
    assert "room for all sessions again" in daemon.log()


def test_usages_own_session_comes_while_the_feeds_is_asked_where_it_leads(start, db, role):
    dsn = role(1)
    daemon = start({"postgres.dsn": dsn}, settled=False)
    wait_until(lambda: info(daemon)["usage_up"], "usage by the change feed's session")
    refused = info(daemon)["postgres_connects_failed_room"]
    wait_until(lambda: info(daemon)["postgres_connects_failed_room"] > refused + 3, "its own to be refused again")
    feed = db.one("SELECT pid FROM pg_stat_activity WHERE usename LIKE 'few%' AND datname = current_database()")
    os.kill(feed, signal.SIGSTOP)
    try:
        asking = threading.Thread(target=flush, args=[daemon])
        asking.start()
        role(10)
        wait_until(lambda: sessions(db) == 4, "the other sessions")
    finally:
        os.kill(feed, signal.SIGCONT)
    asking.join()
    wait_until(daemon.settled, "usage by a session of its own")


SLOW_UPDATE = """
CREATE FUNCTION api.wait_for_sessions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 50 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXIT WHEN (SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'few%'
                   AND datname = current_database()) >= 4;
        PERFORM pg_sleep(0.05);
    END LOOP;
    RETURN NEW;
END $$;
CREATE TRIGGER slow BEFORE UPDATE ON api.user_api_key FOR EACH ROW EXECUTE FUNCTION api.wait_for_sessions();
"""


def test_usage_goes_on_when_its_session_comes_while_the_feeds_is_lent(start, db, role):
    db.add_keys(1)
    db.run(SLOW_UPDATE)
    daemon = start({"postgres.dsn": role(1), "postgres.connections": 2}, settled=False)
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the change feed")
    assert check(daemon.client(), "key-0")[0] == "ALLOW"
    asking = threading.Thread(target=flush, args=[daemon])
    asking.start()
    wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'few%' AND "
                              "query LIKE 'WITH pending%' AND state = 'active'"), "the statement")
    role(10)
    asking.join()
    wait_until(lambda: flush(daemon) and db.last_used("key-0"), "its use to be written")
    assert check(daemon.client(), "key-0")[0] == "ALLOW"
    wait_until(lambda: flush(daemon), "the next use to be written")


def test_misses_without_end_leave_usage_its_turn(start, db, role):
    """All go by the one session that there is, and a lookup waits for it at any time."""
    db.add_keys(1)
    daemon = start({"postgres.dsn": role(1), "postgres.batch": 1, "redis.url": ""}, settled=False)
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the change feed")
    assert check(daemon.client(), "key-0")[0] == "ALLOW"
    done = threading.Event()

    def miss(name):
        with daemon.client() as client:
            for n in itertools.count():
                if done.is_set():
                    return
                pipeline = client.pipeline(transaction=False)
                for i in range(100):
                    pipeline.execute_command("CHECK", f"{name}-{n}-{i}")
                pipeline.execute(raise_on_error=False)

    missing = [threading.Thread(target=miss, args=[name]) for name in "abcd"]
    for thread in missing:
        thread.start()
    try:
        wait_until(lambda: info(daemon)["postgres_selects"] > 100, "misses")
        before = info(daemon)["postgres_selects"]
        assert flush(daemon)
        assert db.last_used("key-0") is not None
        assert info(daemon)["postgres_selects"] < before + 1000
    finally:
        done.set()
        for thread in missing:
            thread.join()


def test_a_place_that_another_client_takes_costs_one_session(start, db, role):
    """The feed has a role of its own that may have no session: claims for it lead nowhere."""
    db.add_keys(1)
    daemon = start({"postgres.dsn": db.dsn, "postgres.listen_dsn": role(0)}, settled=False)
    wait_until(lambda: info(daemon)["postgres_refused"] == 2, "a session to leave its place")
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 2, "it to be back all the same")
    assert check(daemon.client(), "key-0")[0] == "ALLOW"
