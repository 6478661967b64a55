"""How many keys end within seven days: one daemon of a fleet counts."""

import pytest
from conftest import info
from harness.schema import deploy
from harness.servers import wait_until

pytestmark = pytest.mark.builds("release", "asan")

OPTIONS = {"postgres.expires_column": "ends"}
LINE = 'apikeyd_keys_ending{within="7d"} '
TABLE = "api.user_api_key"


def shown(daemon):
    """What the metrics show, or None; INFO shows the same."""
    lines = daemon.admin_client().execute_command("METRICS").splitlines()
    found = [int(line.removeprefix(LINE)) for line in lines if line.startswith(LINE)]
    assert any(line.startswith("# TYPE apikeyd_keys_ending ") for line in lines) == bool(found)
    assert len(found) < 2
    return found[0] if found else None


def counters(daemons):
    return [daemon for daemon in daemons if shown(daemon) is not None]


def look_again(daemon):
    """A reload does not wait for the next round."""
    assert daemon.admin_client().execute_command("RELOAD") == "OK"


@pytest.fixture
def table(db):
    """Three keys end soon; others are over, end later or never, or are inactive."""
    db.run(f"ALTER TABLE {TABLE} ADD ends timestamptz")
    deploy(db.admin_dsn, expires_column="ends")
    for i, (days, active) in enumerate([(1, True), (3, True), (6.9, True), (-1, True), (7.1, True), (2, False), (None, True)]):
        db.add_key(f"k{i}", active=active)
        db.run(f"UPDATE {TABLE} SET ends = now() + %s * interval '1 day' WHERE key_id = %s", days, f"k{i}")
    db.add_key("ever", ends="infinity")


def test_one_of_a_fleet_counts(db, table, start):
    daemons = [start(OPTIONS) for _ in range(3)]
    first = wait_until(lambda: counters(daemons), "a count")[0]
    for daemon in daemons:
        look_again(daemon)
    assert wait_until(lambda: shown(first), "its count") == 3 and info(first)["keys_ending_7d"] == 3
    assert counters(daemons) == [first] and "keys_ending_7d" not in info(daemons[daemons[0] is first])
    db.run(f"UPDATE {TABLE} SET ends = now() WHERE key_id = 'k0'")
    look_again(first)
    wait_until(lambda: shown(first) == 2, "the count to follow")
    # Its session ends, as when its host is lost: another daemon, or it again, takes over, and never two of them.
    db.run("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = "
           "(SELECT oid FROM pg_database WHERE datname = current_database())")
    wait_until(lambda: shown(first) is None or info(first)["feed_losses"] > 0, "the loss")
    rest = [daemon for daemon in daemons if daemon is not first]
    first.stop()

    def taken_over():
        for daemon in rest:
            look_again(daemon)
        return counters(rest)
    assert len(wait_until(taken_over, "another one to count")) == 1
    wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                              "AND usename = 'apikeyd'") == 2 * 4 + 1, "one session more than theirs")


def test_no_count_is_shown_that_is_not_known(db, table, start, pgbouncer):
    """No column, a table that is locked for as long as a count may take, and a feed that leads to a pooler."""
    plain, pooled = start(), start({**OPTIONS, "postgres.dsn": pgbouncer}, settled=False)
    wait_until(lambda: info(pooled)["usage_up"] and "leads through a pooler" in pooled.log(), "the pooler")
    with db.connect(autocommit=False) as locker:
        locker.execute(f"LOCK TABLE {TABLE}")
        daemon = start(OPTIONS, settled=False)
        wait_until(lambda: "keys that end soon cannot be counted" in daemon.log(), "the log")
        assert [shown(one) for one in (plain, pooled, daemon)] == [None] * 3
        assert db.one("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 1
    look_again(daemon)
    assert wait_until(lambda: shown(daemon), "the count") == 3
    # By a pooler, with a feed that has a way of its own.
    daemon.stop()
    through = start({**OPTIONS, "postgres.dsn": pgbouncer, "postgres.listen_dsn": db.dsn})
    assert wait_until(lambda: shown(through), "the count") == 3
    # A role that may not ask for the lock.
    db.run("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) FROM PUBLIC")
    look_again(through)
    wait_until(lambda: "permission denied for function pg_try_advisory_lock" in through.log(), "the log")
    assert shown(through) is None
