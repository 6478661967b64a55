"""A role that may have fewer sessions than the daemon wants: which of them comes first, and that all is done
with those that there are."""

import contextlib

import pytest
import redis
from conftest import check, info
from harness.servers import wait_until

pytestmark = pytest.mark.slow

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
    assert info(daemon)["postgres_connections_up"] == (0 if limit == 1 else 1)
    assert daemon.log().count(TOLD) == 1, daemon.log()


def test_sessions_come_back_when_there_is_room(start, db, role):
    dsn = role(1)
    daemon = start({"postgres.dsn": dsn}, settled=False)
    wait_until(lambda: info(daemon)["feed_up"], "the change feed")
    role(10)
    wait_until(daemon.settled, "the other sessions")
    wait_until(lambda: info(daemon)["postgres_refused"] == 0, "the last of them")
    assert "room for all sessions again" in daemon.log()


def test_a_place_that_another_client_takes_costs_one_session(start, db, role):
    """The feed has a role of its own that may have no session: claims for it lead nowhere."""
    db.add_keys(1)
    daemon = start({"postgres.dsn": db.dsn, "postgres.listen_dsn": role(0)}, settled=False)
    wait_until(lambda: info(daemon)["postgres_refused"] == 2, "a session to leave its place")
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 2, "it to be back all the same")
    assert check(daemon.client(), "key-0")[0] == "ALLOW"
