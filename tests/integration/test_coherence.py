"""What a change in PostgreSQL does to answers: notified, not notified, and missed.

With LONG as a bound, only the notification can be what enforced a change."""

import threading
import time
import uuid
from pathlib import Path

import psycopg
import pytest
from coherence import (ALLOWED, INACTIVE, LONG, TABLE, TTL_ONLY, UNKNOWN, becomes, cut, deaf_role,
                       digest, entombed, redis_value)
from conftest import LOOKUP, check, explain, info
from harness.proxy import Proxy
from harness.replication import FAKETIME
from harness.servers import Postgres, wait_until
from http_wire import HttpWire
from wire import Wire


def test_revoked_whoever_does_it(db, start):
    """Deactivated, deleted, its user deleted, its key changed: and back again."""
    other = uuid.uuid4()
    db.run('INSERT INTO api."user" (user_id) VALUES (%s)', other)
    for key in ("off", "gone", "moved"):
        db.add_key(key)
    db.add_key("orphan", user_id=other)
    daemon = start(LONG)
    client = daemon.client()
    for key in ("off", "gone", "moved", "orphan"):
        assert check(client, key)[0] == ALLOWED
    assert check(client, "new-name") == UNKNOWN
    db.set_active("off", False)
    db.run(f"DELETE FROM {TABLE} WHERE key_id = 'gone'")
    db.run('DELETE FROM api."user" WHERE user_id = %s', other)
    db.run(f"UPDATE {TABLE} SET key_id = 'new-name' WHERE key_id = 'moved'")
    becomes(client, "off", INACTIVE)
    becomes(client, "gone", UNKNOWN)
    becomes(client, "orphan", UNKNOWN)
    becomes(client, "moved", UNKNOWN)
    becomes(client, "new-name", ALLOWED)
    db.set_active("off", True)
    becomes(client, "off", ALLOWED)
    counts = info(daemon)
    assert counts["feed_notifications"] == counts["invalidations"] == 6
    assert 0 < counts["revocation_lag_us"] <= counts["revocation_lag_max_us"]
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the bound")


def test_truncated(db, start):
    db.add_keys(50)
    daemon = start(LONG)
    client = daemon.client()
    for i in range(50):
        assert check(client, f"key-{i}")[0] == ALLOWED
    db.run(f"TRUNCATE {TABLE}")
    for i in range(50):
        becomes(client, f"key-{i}", UNKNOWN)


def test_created_after_it_was_asked_for(db, start):
    daemon = start(LONG)
    client = daemon.client()
    assert check(client, "new") == UNKNOWN
    db.add_key("new")
    becomes(client, "new", ALLOWED)


def test_another_user_is_told(db, start):
    db.add_key("given")
    daemon = start(LONG)
    assert check(daemon.client(), "given")[2] == str(db.user_id)
    other = uuid.uuid4()
    db.run('INSERT INTO api."user" (user_id) VALUES (%s)', other)
    db.run(f"UPDATE {TABLE} SET user_id = %s", other)
    wait_until(lambda: check(daemon.client(), "given")[2] == str(other), "the other user")


def test_a_read_that_a_change_overtakes_is_not_kept(db, scratch, start):
    """The SELECT has its snapshot, the key is revoked and notified, then the SELECT answers: that is
    true for who asked before, but not for who asked after the change, and it is not kept."""
    db.add_key("good")
    with Proxy(scratch / f"proxy-{db.name}", db.server.folder) as proxy:
        daemon = start({**LONG, "postgres.timeout": "20s", "postgres.listen_dsn": db.dsn,
                        "postgres.dsn": f"host={proxy.folder} user=apikeyd dbname={db.name}"})
        with Wire(daemon.check) as early, Wire(daemon.check) as late:
            proxy.hold()
            db.reset_statements()
            early.send(b"CHECK good\r\n")
            wait_until(lambda: db.statements(LOOKUP) == 1, "the SELECT to be carried out")
            db.set_active("good", False)
            wait_until(lambda: info(daemon)["feed_notifications"] == 1, "the notification")
            late.send(b"CHECK good\r\n" * 5)
            wait_until(lambda: info(daemon)["lookups_shared"] == 5, "late ones to join")
            proxy.speak()
            assert early.reply()[0] == b"ALLOW"
            assert [late.reply() for _ in range(5)] == [[b"DENY", b"inactive"]] * 5
            assert early.ask("CHECK", "good") == [b"DENY", b"inactive"]
            assert info(daemon)["postgres_selects"] == 2


def test_a_key_that_is_notified_all_the_time_is_answered(db, scratch, start):
    """Any role may do that. Each SELECT is overtaken by the next notification; the answers are right
    for who asked before it was sent, and a real change is enforced all the same. No gateway is told to
    keep such an answer."""
    db.add_key("good")
    path = scratch / f"{db.name}.http"
    db.run("DO $$ BEGIN CREATE ROLE nobody_here LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    stop = threading.Event()

    def notify():
        with psycopg.connect(db.server.dsn(db.name, "nobody_here"), autocommit=True) as evil:
            while not stop.wait(0.001):
                evil.execute("SELECT pg_notify('apikeyd_key', %s)", [digest("good")])
    thread = threading.Thread(target=notify)
    with Proxy(scratch / f"proxy-{db.name}", db.server.folder) as proxy:
        daemon = start({**LONG, "postgres.timeout": "20s", "postgres.listen_dsn": db.dsn, "listen.http": path,
                        "postgres.dsn": f"host={proxy.folder} user=apikeyd dbname={db.name}"})
        client = daemon.client()

        def overtaken():
            """Answers wait until the daemon has heard of a change after they were sent."""
            before = info(daemon)["feed_notifications"]
            wait_until(lambda: stop.is_set() or info(daemon)["feed_notifications"] > before, "a notification")
            return 0
        proxy.delay = overtaken
        thread.start()
        try:
            wait_until(lambda: info(daemon)["feed_notifications"] > 100, "notifications")
            for _ in range(5):
                assert check(client, "good")[0] == ALLOWED
            with HttpWire(path) as page:
                assert page.authorize("good").fields["cache-control"] == "max-age=0"
            assert info(daemon)["checks_from_memory"] == 0
            db.set_active("good", False)
            for _ in range(5):
                assert check(client, "good") == INACTIVE
        finally:
            stop.set()
            thread.join()
        counts = info(daemon)
        # One SELECT for each: nobody asks for more.
        assert counts["checks_unavailable"] == 0 and counts["postgres_selects"] == 11


@pytest.mark.parametrize("lost", ["tombstone", "everything"])
def test_a_late_fill_brings_nothing_back(db, redis_server, start, lost):
    """Redis forgets the tombstone and then takes a fill that another host read before: neither the
    daemon that heard of the change nor one that starts later uses it."""
    db.add_key("good")
    first = start(LONG)
    assert check(first.client(), "good")[0] == ALLOWED
    wait_until(lambda: redis_value(redis_server, first, "good")[1], "the fill")
    name, old = redis_value(redis_server, first, "good")
    db.set_active("good", False)
    wait_until(lambda: entombed(redis_server, first, "good"), "the tombstone")
    if lost == "tombstone":
        redis_server.client().delete(name)
    else:
        redis_server.client().flushall()
    assert redis_server.client().set(name, old, nx=True)
    assert check(first.client(), "good") == INACTIVE
    assert explain(first, "good")["redis"] == "below the watermark"
    assert check(start(LONG).client(), "good") == INACTIVE
    assert redis_value(redis_server, first, "good")[1] == old


def test_a_tombstone_warns_who_cannot_hear(db, redis_server, start):
    """One daemon's feed is cut; what another one heard reaches it through Redis."""
    db.add_key("good")
    deaf_role(db)
    hears = start(LONG)
    deaf = start({**LONG, "postgres.listen_dsn": db.server.dsn(db.name, "deaf")})
    cut(db)
    wait_until(lambda: info(deaf)["feed_up"] == 0, "the feed to be cut")
    assert check(hears.client(), "good")[0] == ALLOWED
    wait_until(lambda: redis_value(redis_server, hears, "good")[1], "the fill")
    db.set_active("good", False)
    wait_until(lambda: entombed(redis_server, hears, "good"), "the tombstone")
    assert check(deaf.client(), "good") == INACTIVE


def allowed_for(client, key, since):
    """How long after `since` the key was last allowed; it must be denied within a minute."""
    last = since
    while time.monotonic() < since + 60:
        asked = time.monotonic()
        if check(client, key)[0] == "DENY":
            return last - since
        last = asked
        time.sleep(0.001)
    raise AssertionError(f"{key} is still allowed")


def deny_bound(client, db, key, bound):
    """The key is revoked: no CHECK sent later than `bound` seconds after that is allowed."""
    db.set_active(key, False)
    late = allowed_for(client, key, time.monotonic())
    print(f"allowed for {late:.3f} s after COMMIT, bound {bound} s")
    assert late <= bound
    return late


def test_without_the_trigger_ttl_is_the_bound(db, start):
    db.silence()
    db.add_key("good")
    daemon = start({"cache.ttl": "1s", "cache.ttl_unlinked": "300ms"})
    assert info(daemon)["feed_trigger"] == 0
    assert info(daemon)["revocation_bound"] == TTL_ONLY
    assert "the triggers on api.user_api_key do not notify of every change" in daemon.log()
    client = daemon.client()
    assert check(client, "good")[0] == ALLOWED
    deny_bound(client, db, "good", 1)


@pytest.mark.slow
def test_the_trigger_goes_and_comes(db, start):
    """Noticed while running; what changed while it was away is not fresh once it is back."""
    db.add_key("good")
    daemon = start(LONG)
    client = daemon.client()
    assert check(client, "good")[0] == ALLOWED
    db.run(f"DROP TRIGGER apikeyd_notify_update ON {TABLE}")
    wait_until(lambda: info(daemon)["feed_trigger"] == 0, "its loss to be noticed")
    wait_until(lambda: "the triggers on api.user_api_key do not notify" in daemon.log(), "the log")
    assert "announces UPDATE for key column key_id; deploy the schema" in daemon.log()
    assert check(client, "good")[0] == ALLOWED
    db.set_active("good", False)
    time.sleep(0.1)
    assert check(client, "good")[0] == ALLOWED  # the bound is an hour
    db.run(f"CREATE TRIGGER other_name AFTER UPDATE ON {TABLE} FOR EACH ROW "
           "EXECUTE FUNCTION apikeyd.notify_key_change('key_id')")
    becomes(client, "good", INACTIVE)
    wait_until(lambda: info(daemon)["revocation_bound"] == TTL_ONLY, "the inspection")
    db.run(f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER other_name")
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the trigger")


OFF, ON = f"ALTER TABLE {TABLE} DISABLE TRIGGER ALL", f"ALTER TABLE {TABLE} ENABLE TRIGGER ALL"
FUNCTION = ("CREATE OR REPLACE FUNCTION apikeyd.notify_key_change() RETURNS trigger LANGUAGE plpgsql "
            "SECURITY INVOKER SET search_path = pg_catalog, pg_temp AS ")
REVOKE = f"UPDATE {TABLE} SET is_active = false"
RENAMED = TABLE.split(".")[1]
BEHIND_THE_TRIGGERS = {
    "pg_restore --disable-triggers": ([OFF, REVOKE, ON], TTL_ONLY),
    "a function that does nothing for a while": (
        [FUNCTION + "$$ BEGIN RETURN NULL; END $$", REVOKE, FUNCTION + "%(body)s"], "notification"),
    "another table in its place": (
        [f"CREATE TABLE api.other (LIKE {TABLE} INCLUDING ALL)",
         f"INSERT INTO api.other SELECT * FROM {TABLE}", "UPDATE api.other SET is_active = false",
         f"DROP TABLE {TABLE}", f"ALTER TABLE api.other RENAME TO {RENAMED}",
         f"GRANT SELECT ON {TABLE} TO apikeyd"], TTL_ONLY),
    "another column in its place": (
        [f"ALTER TABLE {TABLE} ADD COLUMN revoked boolean NOT NULL DEFAULT false",
         f"ALTER TABLE {TABLE} RENAME is_active TO was_active",
         f"ALTER TABLE {TABLE} RENAME revoked TO is_active", f"GRANT SELECT ON {TABLE} TO apikeyd"],
        "notification"),  # the trigger's condition is about what has the name
}


@pytest.mark.parametrize("way", BEHIND_THE_TRIGGERS)
def test_changed_behind_the_triggers(db, start, way):
    """In one transaction, so that no heartbeat sees them missing: the definition has changed."""
    statements, bound = BEHIND_THE_TRIGGERS[way]
    db.add_key("good")
    daemon = start(LONG)
    client = daemon.client()
    assert check(client, "good")[0] == ALLOWED
    body = db.one("SELECT quote_literal(prosrc) FROM pg_proc WHERE proname = 'notify_key_change'")
    db.run(";".join(statements).replace("%(body)s", body))
    assert info(daemon)["feed_notifications"] == 0
    becomes(client, "good", INACTIVE)
    assert info(daemon)["feed_losses"] == info(daemon)["feed_notifications"] == 0
    wait_until(lambda: info(daemon)["revocation_bound"] == bound, bound)


@pytest.mark.slow
def test_maintenance_costs_no_verdict(db, start):
    """What autovacuum and reindexing do to the catalog is no change of the definition."""
    db.add_keys(100)
    daemon = start(LONG)
    assert check(daemon.client(), "key-1")[0] == ALLOWED
    for statement in ("VACUUM ANALYZE", "VACUUM FREEZE", "REINDEX TABLE"):
        db.run(f"{statement} {TABLE}")
    beats = info(daemon)["feed_heartbeats"]
    wait_until(lambda: info(daemon)["feed_heartbeats"] > beats + 1, "heartbeats")
    assert explain(daemon, "key-1")["memory"] == "fresh"


@pytest.mark.slow
def test_triggers_of_another_column_or_maker_do_not_count(db, start):
    db.run("CREATE FUNCTION public.notify_key_change() RETURNS trigger LANGUAGE plpgsql AS "
           "$$ BEGIN RETURN NULL; END $$")
    db.run(f"GRANT SELECT (key_name) ON {TABLE} TO apikeyd")
    daemon = start({"postgres.key_column": "key_name"})
    assert info(daemon)["revocation_bound"] == TTL_ONLY
    for trigger, events in (("rows", "INSERT OR DELETE OR UPDATE"), ("truncate", "TRUNCATE")):
        each = "STATEMENT" if events == "TRUNCATE" else "ROW"
        db.run(f"CREATE TRIGGER other_{trigger} AFTER {events} ON {TABLE} FOR EACH {each} "
               "EXECUTE FUNCTION public.notify_key_change('key_name')")
        db.run(f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER other_{trigger}")
    beats = info(daemon)["feed_heartbeats"]
    wait_until(lambda: info(daemon)["feed_heartbeats"] > beats + 1, "a heartbeat")
    wait_until(lambda: info(daemon)["revocation_bound"] == TTL_ONLY, "the inspection")
    for trigger, events in (("rows", "INSERT OR DELETE OR UPDATE"), ("truncate", "TRUNCATE")):
        db.run(f"CREATE OR REPLACE TRIGGER other_{trigger} AFTER {events} ON {TABLE} FOR EACH "
               f"{'STATEMENT' if events == 'TRUNCATE' else 'ROW'} "
               "EXECUTE FUNCTION apikeyd.notify_key_change('key_name')")
        db.run(f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER other_{trigger}")
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the trigger")


def test_a_heartbeat_that_is_refused_counts_once(db, start):
    daemon = start({"log.level": "debug", "redis.url": ""})
    assert info(daemon)["postgres_errors"] == 0
    db.run("REVOKE SELECT ON pg_catalog.pg_trigger FROM public")
    refused = "permission denied for table pg_trigger"
    wait_until(lambda: daemon.log().count(refused) >= 2, "refusals")
    wait_until(lambda: info(daemon)["postgres_errors"] == daemon.log().count(refused), "the count")
    assert info(daemon)["revocation_bound"] == "cache.ttl_unlinked: the change feed is down"


def test_the_lag_cannot_be_made_up(db, start):
    """A notification by hand that tells a time of long ago."""
    daemon = start(LONG)
    begin = time.monotonic()
    db.run(f"NOTIFY apikeyd_key, '{digest('good')} 1000000'")
    wait_until(lambda: info(daemon)["invalidations"] == 1, "the notification")
    assert 0 < info(daemon)["revocation_lag_max_us"] < (time.monotonic() - begin + 4) * 1e6


@pytest.mark.slow
def test_feed_killed_and_kept_away(db, start):
    """ttl_unlinked is the bound, and when the feed is back what was missed is not fresh."""
    for key in ("first", "second"):
        db.add_key(key)
    deaf_role(db)
    daemon = start({"cache.ttl": "1h", "cache.ttl_unlinked": "1s",
                    "postgres.listen_dsn": db.server.dsn(db.name, "deaf")})
    client = daemon.client()
    assert check(client, "first")[0] == ALLOWED
    cut(db)
    deny_bound(client, db, "first", 1)
    wait_until(lambda: info(daemon)["feed_up"] == 0, "the loss")
    assert info(daemon)["revocation_bound"] == "cache.ttl_unlinked: the change feed is down"
    assert explain(daemon, "first")["feed"] == "down"
    assert info(daemon)["feed_losses"] == 1
    assert check(client, "second")[0] == ALLOWED
    db.set_active("second", False)
    db.run("ALTER ROLE deaf CONNECTION LIMIT -1")
    wait_until(lambda: info(daemon)["feed_up"] == 1, "the feed")
    assert check(client, "second") == INACTIVE


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["feed back", "feed away", "no triggers"])
def test_missed_changes_are_not_served_after_the_soft_timeout(db, start, trouble):
    """PostgreSQL is slow, and what was revoked without being heard of is in hand."""
    db.add_key("good")
    deaf_role(db)
    daemon = start({"cache.ttl": "300ms" if trouble == "no triggers" else "1h",
                    "cache.ttl_unlinked": "300ms", "redis.url": "",
                    "postgres.timeout": "20s", "postgres.soft_timeout": "10ms",
                    "postgres.listen_dsn": db.server.dsn(db.name, "deaf")})
    assert check(daemon.client(), "good")[0] == ALLOWED
    if trouble == "no triggers":
        db.silence()
        wait_until(lambda: info(daemon)["feed_trigger"] == 0, "the loss")
    else:
        cut(db)
        wait_until(lambda: info(daemon)["feed_up"] == 0, "the loss")
    db.set_active("good", False)
    if trouble == "feed back":
        db.run("ALTER ROLE deaf CONNECTION LIMIT -1")
        wait_until(lambda: info(daemon)["feed_up"] == 1, "the feed")
    time.sleep(0.4)
    with db.connect(autocommit=False) as lock, Wire(daemon.check) as wire:
        lock.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        wire.send(b"CHECK good\r\n")
        time.sleep(0.5)
        lock.rollback()
        assert wire.reply() == [b"DENY", b"inactive"]
    assert info(daemon)["checks_stale"] == 0


def test_what_postgres_said_comes_before_what_is_stale(db, scratch, start):
    """Its answers take longer than ttl_unlinked, so none is fresh: the last one is still better
    than what memory holds from before."""
    db.add_key("good")
    deaf_role(db)
    with Proxy(scratch / f"proxy-{db.name}", db.server.folder) as proxy:
        daemon = start({"cache.ttl": "1h", "cache.ttl_unlinked": "100ms", "cache.stale_max": "1h",
                        "redis.url": "", "postgres.timeout": "20s",
                        "postgres.dsn": f"host={proxy.folder} user=apikeyd dbname={db.name}",
                        "postgres.listen_dsn": db.server.dsn(db.name, "deaf")})
        assert check(daemon.client(), "good")[0] == ALLOWED
        cut(db)
        db.set_active("good", False)
        proxy.delay = lambda: 0.2
        wait_until(lambda: info(daemon)["feed_up"] == 0, "the loss")
        time.sleep(0.2)
        assert check(daemon.client(), "good") == INACTIVE


@pytest.mark.slow
def test_a_feed_that_falls_silent(db, scratch, start):
    """Nothing is closed, nothing comes any more: the bound holds before anybody has noticed."""
    db.add_key("good")
    with Proxy(scratch / f"proxy-{db.name}", db.server.folder) as proxy:
        daemon = start({"cache.ttl": "1h", "cache.ttl_unlinked": "500ms",
                        "postgres.listen_dsn": f"host={proxy.folder} user=apikeyd dbname={db.name}"})
        client = daemon.client()
        assert check(client, "good")[0] == ALLOWED
        time.sleep(1.5)  # it has been confirmed long after it was read
        proxy.silence()
        deny_bound(client, db, "good", 0.5)
        assert info(daemon)["feed_losses"] == 0
        wait_until(lambda: info(daemon)["feed_losses"] == 1, "a late heartbeat")
        proxy.speak()
        wait_until(lambda: info(daemon)["feed_up"] == 1, "the feed")


@pytest.mark.slow
def test_a_daemon_that_slept(db, start):
    """Stopped while a key is revoked: its first answer after that knows."""
    db.add_key("good")
    daemon = start({"cache.ttl": "1h", "cache.ttl_unlinked": "500ms"})
    with Wire(daemon.check) as wire:
        assert wire.ask("CHECK", "good")[0] == b"ALLOW"
        daemon.process.pause()
        db.set_active("good", False)
        time.sleep(1)
        wire.send(b"CHECK good\r\n")
        daemon.process.resume()
        assert wire.reply() == [b"DENY", b"inactive"]


@pytest.mark.slow
def test_an_answer_that_slept(db, start):
    """It was on its way when the daemon was stopped, and is older than the bound when it wakes:
    whoever asks then is not answered from it."""
    db.add_key("good")
    deaf_role(db)
    daemon = start({"cache.ttl": "1h", "cache.ttl_unlinked": "500ms", "postgres.timeout": "20s",
                    "redis.url": "", "postgres.listen_dsn": db.server.dsn(db.name, "deaf")})
    cut(db)
    with db.connect(autocommit=False) as lock, Wire(daemon.check) as early, \
            Wire(daemon.check) as late:
        lock.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        early.send(b"CHECK good\r\n")
        wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE "
                                  "'SELECT t.%' AND wait_event_type = 'Lock'"), "the SELECT")
        daemon.process.pause()
        lock.rollback()
        wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE "
                                  "'SELECT t.%' AND state = 'idle'"), "its end")
        db.set_active("good", False)
        time.sleep(0.6)
        late.send(b"CHECK good\r\n")
        daemon.process.resume()
        assert late.reply() == [b"DENY", b"inactive"]
        early.reply()


@pytest.mark.slow
@pytest.mark.needs("pgbouncer")
def test_a_pooler_is_no_feed(db, pgbouncer, start):
    daemon = start({"postgres.dsn": db.dsn, "postgres.listen_dsn": pgbouncer}, settled=False)
    wait_until(lambda: "leads through a pooler" in daemon.log(), "the complaint")
    assert info(daemon)["feed_up"] == 0


@pytest.mark.slow
def test_a_standby_is_no_primary(db, postgres, scratch, start):
    """Lookups and the feed go to the primary: a standby may lag behind what is notified."""
    db.add_key("good")
    standby = Postgres(scratch / "standby", primary=postgres)
    try:
        standby.start()
        both = f"host={standby.folder},{postgres.folder} user=apikeyd dbname={db.name}"
        daemon = start({**LONG, "postgres.dsn": both})
        assert check(daemon.client(), "good")[0] == ALLOWED
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'apikeyd'"
        with psycopg.connect(standby.dsn(db.name), autocommit=True) as there:  # they have ended, or are about to
            wait_until(lambda: there.execute(sessions).fetchone() == (0,), "the standby to have no session")
        db.set_active("good", False)
        becomes(daemon.client(), "good", INACTIVE)
        daemon = start({"postgres.dsn": standby.dsn(db.name, "apikeyd")}, settled=False)
        wait_until(lambda: "server is in hot standby mode" in daemon.log(), "the refusal")
    finally:
        standby.stop()


def test_notifications_of_others(db, start):
    """By hand "*" forgets everything; rubbish is counted and told once, and does no harm."""
    db.add_key("good")
    daemon = start(LONG)
    client = daemon.client()
    assert check(client, "good")[0] == ALLOWED
    for payload in ("rubbish", "", "good"):
        db.run(f"NOTIFY apikeyd_key, '{payload}'")
    wait_until(lambda: info(daemon)["feed_notifications_bad"] == 3, "the rubbish")
    assert daemon.log().count("ignoring a malformed notification") == 1
    assert explain(daemon, "good")["memory"] == "fresh"
    db.run("NOTIFY apikeyd_key, '*'")
    wait_until(lambda: explain(daemon, "good")["memory"] == "below the watermark", "the watermark")
    assert check(client, "good")[0] == ALLOWED


@pytest.mark.slow
def test_many_changes_at_once(db, start):
    """One statement that revokes 20,000 keys is announced as one change of all: every one of them,
    while hits go on."""
    db.add_keys(20000)
    db.add_key("hot")
    daemon = start(LONG)
    client = daemon.client()
    for i in range(0, 20000, 20):
        check(client, f"key-{i}")
    db.run(f"UPDATE {TABLE} SET is_active = false WHERE key_id <> 'hot'")
    assert check(client, "hot")[0] == ALLOWED
    wait_until(lambda: info(daemon)["feed_notifications"] == 1001, "the notifications")
    for i in range(0, 20000, 20):
        assert check(client, f"key-{i}") == INACTIVE


@pytest.mark.slow
@pytest.mark.needs("faketime")
@pytest.mark.parametrize("offset", ["+1h", "-1h"])
def test_the_hosts_clock_is_wrong(db, redis_server, start, offset):
    """By an hour, which last_used shows, but freshness does not depend on it: not in memory, nor
    through Redis between a host with a wrong clock and one with a right one."""
    for key in ("good", "shared"):
        db.add_key(key)
    db.silence()
    wrong = {"LD_PRELOAD": FAKETIME, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
             "ASAN_OPTIONS": "verify_asan_link_order=0"}
    options = {"cache.ttl": "2s"}
    right, skewed = start(options), start(options, env=wrong)
    for left in Path("/dev/shm").glob(f"*faketime_*_{skewed.process.pid}"):
        left.unlink()  # libfaketime does not, and needs the name no more
    for reader, other in ((right, skewed), (skewed, right)):
        redis_server.client().flushall()
        db.set_active("shared", True)
        time.sleep(2.1)
        asked = time.monotonic()
        assert check(reader.client(), "shared")[0] == ALLOWED
        wait_until(lambda r=reader: redis_value(redis_server, r, "shared")[1], "the fill")
        read = time.monotonic()
        assert check(other.client(), "shared")[0] == ALLOWED
        # It counts as an eighth older than it seems.
        assert explain(other, "shared")["redis"] == "fresh" or time.monotonic() - asked > 1.5
        db.set_active("shared", False)
        assert allowed_for(other.client(), "shared", read) <= 2
    assert check(skewed.client(), "good")[0] == ALLOWED
    deny_bound(skewed.client(), db, "good", 2)
