"""Clocks that are set, stand still, or disagree."""

import datetime
import re
import time

import pytest
from conftest import check, info, known
from harness.clocks import Clocks
from harness.proxy import Proxy
from harness.servers import wait_until

pytestmark = pytest.mark.slow

YEAR = 365 * 86400


@pytest.fixture
def clocks(scratch, db):
    return Clocks(scratch / f"clocks-{db.name}")


@pytest.fixture
def line(scratch, db, postgres):
    """A line to PostgreSQL that can be cut."""
    with Proxy(scratch / f"{db.name}.line", postgres.folder) as proxy:
        proxy.dsn = db.dsn.replace(str(postgres.folder), str(proxy.folder))
        yield proxy


def revoked_while_paused(db, start, clocks, line, options):
    """A daemon whose machine stood still while a key that it had allowed was revoked, and whose line to
    PostgreSQL is silent since. Until the lease ends by itself it has five more seconds."""
    db.add_key("k")
    daemon = start({"postgres.dsn": line.dsn, "postgres.timeout": "1s", "redis.url": "", **options},
                   env=clocks.env)
    client = daemon.client()
    assert known(client, "k")[0] == "ALLOW"
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the feed")
    with clocks.pause(daemon.process):
        line.silence()
        db.set_active("k", False)
        time.sleep(1)
        clocks.set_wall(20)  # as after 21 seconds
    return daemon, client


def test_a_paused_machine_takes_nothing_from_before_for_fresh(db, start, clocks, line):
    daemon, client = revoked_while_paused(db, start, clocks, line, {"cache.stale_max": "0s"})
    with pytest.raises(Exception, match="UNAVAILABLE"):
        check(client, "k")
    assert info(daemon)["clock_jumps"] == 1
    assert not info(daemon)["revocation_bound"].startswith("notification")
    assert "clocks parted by" in daemon.log()
    line.speak()
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the feed", 30)
    assert known(client, "k") == ["DENY", "inactive"]


def test_stale_service_counts_the_pause(db, start, clocks, line):
    """Older than stale_max by the pause, and so not to be served; within half an hour it is."""
    for stale_max, answered in (("15s", "UNAVAILABLE"), ("30m", "ALLOW")):
        line.speak()
        db.run("DELETE FROM api.user_api_key")
        daemon, client = revoked_while_paused(db, start, clocks, line, {"cache.stale_max": stale_max})
        try:
            answer = check(client, "k")[0]
        except Exception as error:  # pylint: disable=broad-exception-caught
            answer = str(error)
        assert answer.startswith(answered)
        line.speak()


def test_a_pause_that_no_clock_of_the_host_shows(db, start, clocks):
    """PostgreSQL's clock does, with the next answer."""
    db.add_key("k")
    daemon = start(env=clocks.env)
    check(daemon.client(), "k")
    lookups = info(daemon)["lookups"]
    with clocks.pause(daemon.process, wall_too=True):
        time.sleep(1)
    wait_until(lambda: info(daemon)["clock_jumps"] == 1, "the jump to be seen")
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the feed")
    assert check(daemon.client(), "k")[0] == "ALLOW"
    assert info(daemon)["lookups"] > lookups


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_a_clock_that_is_set_costs_lookups_only(db, start, clocks, ahead):
    db.add_key("k")
    daemon = start(env=clocks.env)
    client = daemon.client()
    check(client, "k")
    lookups = info(daemon)["lookups"]
    clocks.set_wall(ahead)
    assert check(client, "k")[0] == "ALLOW"
    assert info(daemon)["lookups"] == lookups + 1
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the feed")
    assert info(daemon)["clock_jumps"] == 1
    db.set_active("k", False)
    wait_until(lambda: check(client, "k") == ["DENY", "inactive"], "the revocation")


def test_last_used_is_never_later_than_postgres_now(db, start, clocks):
    """A host whose clock is 400 days ahead."""
    db.add_key("k")
    clocks.set_wall(400 * 86400)
    daemon = start(env=clocks.env)
    check(daemon.client(), "k")
    assert daemon.admin_client().execute_command("FLUSH") == 1
    assert db.one("SELECT last_used <= now() AND last_used > now() - interval '1 min' "
                  "FROM api.user_api_key")
    assert info(daemon)["usage_clamped"] == 1
    assert "ahead of PostgreSQL's" in daemon.log()


def test_a_last_used_that_cannot_be_true_gives_way(db, start):
    now = datetime.datetime.now(datetime.timezone.utc)
    db.add_key("future", last_used=now + datetime.timedelta(days=365))
    db.add_key("hours", last_used=now + datetime.timedelta(hours=2))  # a clock may be off by so much
    daemon = start()
    for key in ("future", "hours"):
        check(daemon.client(), key)
    daemon.admin_client().execute_command("FLUSH")
    assert db.one("SELECT last_used <= now() FROM api.user_api_key WHERE key_id = 'future'")
    assert db.one("SELECT last_used > now() FROM api.user_api_key WHERE key_id = 'hours'")


def test_a_postgres_that_is_too_old_is_refused(db, start, line):
    line.says = lambda data: re.sub(rb"(?<=server_version\x00)\d\d(?=\.)", b"14", data)
    db.add_key("k")
    daemon = start({"postgres.dsn": line.dsn}, settled=False)
    wait_until(lambda: "PostgreSQL 14 is too old: 15 or later is needed" in daemon.log(), "the reason")
    with pytest.raises(Exception, match="UNAVAILABLE"):
        check(daemon.client(), "k", "WITHIN", "3000")
    assert info(daemon)["postgres_connections_up"] == 0
