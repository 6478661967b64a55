"""A standby takes over: what is answered before, meanwhile and after, whatever the old primary does.

Two real servers in streaming replication. Every answer under load is held to the bound that INFO
states at that time (harness/bound_judge.py). With an hour as ttl, only notifications and ttl_unlinked
can be what enforced a change."""

import itertools
import time

import psycopg
import pytest
from coherence import TABLE
from conftest import Database, answer, check, has_heard_of, info, known
from harness.judged_load import Keys, judged_load
from harness.replication import DATABASE, Bouncer, Pair, template
from harness.servers import wait_until
from primaries import NAMES, OPTIONS, follows, hears, timelines

pytestmark = [pytest.mark.slow, pytest.mark.needs("faketime", "pgbouncer"), pytest.mark.builds("release")]

pairs = itertools.count(1)


@pytest.fixture(scope="module")
def cluster(scratch):
    return template(scratch / "template")


@pytest.fixture
def pair(scratch, cluster):
    nodes = Pair(scratch / f"pair{next(pairs)}", cluster)
    try:
        yield nodes
    finally:
        nodes.stop()


@pytest.fixture
def db(pair):
    """Its dsn is both servers', a first."""
    return Database(pair, DATABASE)


@pytest.fixture
def bouncer(scratch, pair):
    pooler = Bouncer(scratch / f"bouncer{next(pairs)}")
    yield pooler
    pooler.stop()


@pytest.fixture
def run(pair, start):
    """run({options}) starts a daemon whose change feed has a role of its own."""
    return lambda options=None: start({**OPTIONS, "postgres.listen_dsn": pair.dsn(user="feed"), **(options or {})})


def fail_over(pair, load):
    """To the standby, which has everything."""
    wait_until(lambda: pair.b.has_all_of(pair.a), "the standby to have it all")
    with load.keys.moving(lambda: pair.b.dsn(DATABASE)) as lost:
        pair.fail_over()
    assert not lost


def asks(load, node, before):
    """Nothing is remembered any more, and lookups have asked this server, if only for what it is: more
    than the `before` statements that it had then."""
    load.daemon.admin_client().execute_command("INVALIDATE", "ALL")
    load.wait(lambda: node.statements("apikeyd") > before, "lookups to ask this server")


def limit_connections(primary, limit, *roles):
    """0: the roles cannot connect, to its standby neither; -1: they can."""
    for role in roles:
        primary.run(f"ALTER ROLE {role} CONNECTION LIMIT {limit}")


def start_beside(node, load, key):
    """The old primary is back, with a key that only it knows: it cannot be known that there is another one."""
    node.start()
    with psycopg.connect(node.dsn(DATABASE), autocommit=True) as old:
        load.keys.insert(old, key)


def test_a_standby_takes_over(pair, run):
    """Revocations before and after are enforced within what INFO states."""
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES)
    with judged_load(run(), keys) as load:
        follows(load, pair.a)
        load.revoke("key-1")
        fail_over(pair, load)
        load.revoke("key-2")
        keys.set_active("key-1", True)
        follows(load, pair.b)
        load.revoke("key-3")
        load.all_known()
        assert timelines(load) == [1, 2]


def test_a_standby_takes_over_under_a_relay(pair, run, scratch):
    """The same where lookups and changes come by two ways: the relay finds the new primary late, and what it
    confirms of the old one is worth nothing by then."""
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES)
    secret = scratch / f"relay{next(pairs)}.secret"
    secret.write_text("the secret of both hosts, long enough")
    secret.chmod(0o600)
    run({"feed.relay": "yes", "redis.secret_file": secret})
    daemon = run({"feed.source": "redis", "redis.secret_file": secret})
    with judged_load(daemon, keys) as load:
        follows(load, pair.a)
        load.revoke("key-1")
        limit_connections(pair.a, 0, "feed")
        fail_over(pair, load)
        load.revoke("key-2")
        assert info(daemon)["revocation_bound"].startswith("cache.ttl_unlinked")
        load.all_known()
        limit_connections(pair.b, -1, "feed")
        follows(load, pair.b)
        load.revoke("key-3")
        load.all_known()
        assert timelines(load) == [1, 2]


def test_the_change_feed_finds_the_new_primary_late(pair, run):
    """ttl_unlinked is the bound meanwhile; what was revoked just before it is back is not allowed again."""
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES)
    daemon = run()
    with judged_load(daemon, keys) as load:
        follows(load, pair.a)
        limit_connections(pair.a, 0, "feed")
        fail_over(pair, load)
        load.revoke("key-1")
        assert info(daemon)["revocation_bound"].startswith("cache.ttl_unlinked")
        load.all_known()
        limit_connections(pair.b, -1, "feed")
        for key in NAMES[2:]:  # when it tries again cannot be known
            if not info(daemon)["feed_up"]:
                keys.set_active(key, False)
                time.sleep(0.3)
        follows(load, pair.b)
        assert timelines(load) == [1, 2]


def test_stale_service_until_the_new_primary_is_reached(pair, run):
    """What is revoked there meanwhile nobody can hear of: INFO says that stale_max is the bound."""
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES)
    daemon = run({"cache.stale_max": "1h", "cache.ttl_unlinked": "1s"})
    with judged_load(daemon, keys) as load:
        follows(load, pair.a)
        limit_connections(pair.a, 0, "apikeyd", "feed")
        fail_over(pair, load)
        keys.set_active("key-1", False)
        load.wait(lambda: info(daemon)["revocation_bound"].startswith("cache.stale_max"), "stale_max to be stated")
        assert load.ask("key-1")[0] == "ALLOW"
        limit_connections(pair.b, -1, "apikeyd", "feed")
        follows(load, pair.b)
        load.revoke("key-2")
        assert timelines(load) == [1, 2]


@pytest.mark.parametrize("offset", ["-1h", "+1h"])
def test_the_new_primarys_clock_is_another(pair, run, offset):
    """By an hour: neither are its answers older than what was changed on the old one, nor younger than
    what will be changed."""
    pair.b.set_clock(offset)
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES)
    with judged_load(run(), keys) as load:
        follows(load, pair.a)
        load.revoke("key-1")
        load.revoke("key-2")
        fail_over(pair, load)
        assert abs(pair.b.one("SELECT extract(epoch FROM clock_timestamp())::float8") - time.time()) > 3000
        follows(load, pair.b)
        keys.set_active("key-1", True)
        load.all_known()
        load.revoke("key-1")
        load.revoke("key-3")
        load.all_known()
        assert timelines(load) == [1, 2]


def test_what_redis_holds_from_before_is_not_fresh(pair, run, redis_server):
    """The new primary's clock is behind the old one's, so that a fill from before seems to be new to a
    daemon that starts after the failover; nobody was there who could hear of the revocation."""
    pair.b.set_clock("-3s")
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES)
    before = run()
    with judged_load(before, keys) as load:
        follows(load, pair.a)
        wait_until(lambda: redis_server.client().dbsize() >= len(NAMES), "the fills")
    filled = time.monotonic()
    assert before.stop() == 0
    fail_over(pair, load)
    keys.set_active("key-1", False)
    with judged_load(run(), keys, clients=0) as load:
        load.wait(lambda: hears(load.daemon, pair.b), "the primary to be heard")
        time.sleep(max(0, filled + 3.5 - time.monotonic()))
        load.all_known()


@pytest.mark.parametrize("roles", [["apikeyd"], ["feed"], ["apikeyd", "feed"]], ids="+".join)
def test_the_old_primary_is_back_beside_the_new_one(pair, run, roles):
    """Nobody fenced it, and it is the first in the dsn. Sessions that end are made anew with it: its
    timeline is older than the one that was seen, so what it says is not used."""
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES, elsewhere=["only-on-a"])
    daemon = run()
    with judged_load(daemon, keys) as load:
        follows(load, pair.a)
        fail_over(pair, load)
        follows(load, pair.b)
        start_beside(pair.a, load, "only-on-a")
        before, asked = pair.a.connections(roles[-1]), pair.a.statements("apikeyd")
        pair.b.cut(*roles)
        load.wait(lambda: pair.a.connections(roles[-1]) > before, "the old primary to be tried")
        load.revoke("key-1")
        if "apikeyd" in roles:
            asks(load, pair.a, asked)
        load.revoke("key-2")
        load.never_wrong("key-1", "key-2", "key-3", "only-on-a")
        follows(load, pair.b)  # the next host is tried, though the first one answers
        pair.a.crash()
        follows(load, pair.b)
        assert timelines(load) == [1, 2]


def test_the_old_primary_comes_back_as_a_standby(pair, run):
    """It was fenced, and now lags behind. It is the first in the dsn, and lookups do not go there."""
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES)
    with judged_load(run(), keys) as load:
        follows(load, pair.a)
        fail_over(pair, load)
        follows(load, pair.b)
        pair.a.rejoin(pair.b)
        pair.a.pause_replay()
        before = pair.a.connections("apikeyd")
        pair.b.cut("apikeyd", "feed")
        load.wait(lambda: pair.a.connections("apikeyd") > before, "lookups to try the standby")
        load.revoke("key-1")
        follows(load, pair.b)
        load.revoke("key-2")
        load.all_known()
        assert pair.a.sessions("apikeyd") == pair.a.sessions("feed") == 0
        assert timelines(load) == [1, 2]


def test_the_standby_did_not_get_the_last_changes(pair, run):
    """Replication was asynchronous. What is lost was never changed, as far as anybody can tell now."""
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES)
    with judged_load(run(), keys) as load:
        follows(load, pair.a)
        load.revoke("key-1")
        load.revoke("key-3")
        wait_until(lambda: pair.b.has_all_of(pair.a), "the standby to have it all")
        pair.b.stop_receiving()
        load.revoke("key-2")
        keys.set_active("key-3", True)
        load.all_known()
        with keys.moving(lambda: pair.b.dsn(DATABASE)) as lost:
            pair.fail_over()
        assert lost == ["key-2", "key-3"]
        follows(load, pair.b)
        load.revoke("key-2")
        load.all_known()
        assert timelines(load) == [1, 2]


def test_lookups_are_led_to_a_lagging_standby(pair, bouncer, run):
    """PgBouncer is pointed to it while the daemon's sessions with PgBouncer live on."""
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES)
    wait_until(lambda: pair.b.has_all_of(pair.a), "the standby to have the keys")
    pair.b.stop()
    pair.b.follow(pair.a, "recovery_min_apply_delay = 60s")
    pair.b.start()
    bouncer.start(pair.a)
    # That it is a standby is left for the daemon to see: libpq would not stay connected.
    dsn = f"{bouncer.dsn()} target_session_attrs=any"
    with judged_load(run({"postgres.dsn": dsn}), keys) as load:
        follows(load, pair.a)
        bouncer.point_to(pair.b)
        load.revoke("key-1")
        asks(load, pair.b, 5)
        load.revoke("key-2")
        load.never_wrong("key-1", "key-2", "key-3")
        bouncer.point_to(pair.a)
        follows(load, pair.a)
        assert timelines(load) == [1]


@pytest.mark.parametrize("fenced", [True, False], ids=["fenced", "unfenced"])
def test_lookups_through_a_pooler_come_later(pair, bouncer, run, fenced):
    """The change feed has found the new primary, while PgBouncer still leads to the old one: which is
    gone, or back and knows nothing of the new timeline."""
    pair.start()
    keys = Keys(pair.a.dsn(DATABASE), NAMES, elsewhere=["only-on-a"])
    bouncer.start(pair.a)
    daemon = run({"postgres.dsn": bouncer.dsn()})
    with judged_load(daemon, keys) as load:
        follows(load, pair.a)
        fail_over(pair, load)
        load.revoke("key-1")
        load.wait(lambda: info(daemon)["feed_up"], "the change feed")
        if not fenced:
            before = pair.a.statements("apikeyd")
            start_beside(pair.a, load, "only-on-a")
            asks(load, pair.a, before + 5)
        load.revoke("key-2")
        load.never_wrong("key-1", "key-2", "only-on-a")
        bouncer.point_to(pair.b)
        follows(load, pair.b)
        load.revoke("key-3")
        load.all_known()
        assert timelines(load) == [1, 2]


def test_an_operator_goes_back_to_the_old_primary(pair, run):
    """Somebody promoted the standby by mistake. The old primary is refused, until RELOAD: then it is taken, and
    nothing that the other one said is."""
    pair.start()
    Keys(pair.a.dsn(DATABASE), NAMES)
    daemon = run({"cache.stale_max": "1h", "redis.url": ""})
    wait_until(lambda: hears(daemon, pair.a), "the primary")
    wait_until(lambda: pair.b.has_all_of(pair.a), "the standby to have it all")
    pair.fail_over()
    wait_until(lambda: hears(daemon, pair.b), "the promoted one")
    heard = info(daemon)["feed_notifications"]
    pair.b.run(f"UPDATE {TABLE} SET is_active = false")
    has_heard_of(daemon, heard + len(NAMES))
    wait_until(lambda: answer(daemon.client(), NAMES[0]) == ["DENY", "inactive"], "what stands there")
    daemon.admin_client().execute_command("RELOAD")  # for another reason: nothing is forgotten
    pair.b.stop()
    wait_until(lambda: not info(daemon)["feed_up"], "the end of the feed")
    daemon.admin_client().execute_command("RELOAD")
    assert "earlier timelines are forgotten" not in daemon.log()
    pair.a.start()
    wait_until(lambda: "on an earlier timeline than seen before" in daemon.log(), "the refusal")
    wait_until(lambda: check(daemon.client(), NAMES[0]) and info(daemon)["checks_stale"], "stale service")
    daemon.admin_client().execute_command("RELOAD")
    wait_until(lambda: hears(daemon, pair.a), "the old primary")
    assert known(daemon.client(), NAMES[0])[0] == "ALLOW"
    assert "earlier timelines are forgotten" in daemon.log()
