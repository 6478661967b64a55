"""PostgreSQL stops answering under load, for longer than stale_max, and comes back."""

import socket
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import redis
from coherence import cut, deaf_role, entombed, redis_value
from conftest import check, info, known
from harness.operators import fetch
from harness.proxy import POSTGRES
from harness.servers import wait_until
from wire import Wire, command

pytestmark = pytest.mark.slow

KEYS = 20


class Load:
    """Asks for the same active keys all the time; (when, kinds of answers, duration) a batch."""

    def __init__(self, daemon):
        self.batch = b"".join(command("CHECK", f"key-{i}") for i in range(KEYS))
        self.wire = Wire(daemon.check)
        self.seen = []
        self.stopping = False
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()
        self.wire.close()

    def run(self):
        while not self.stopping:
            begin = time.monotonic()
            self.wire.send(self.batch)
            kinds = Counter(self.kind(self.wire.reply()) for _ in range(KEYS))
            self.seen.append((begin, kinds, time.monotonic() - begin))

    @staticmethod
    def kind(reply):
        return "UNAVAILABLE" if isinstance(reply, RuntimeError) else reply[0].decode()

    def kinds(self, begin, end):
        found = Counter()
        for at, kinds, _ in self.seen:
            if begin <= at < end:
                found += kinds
        return found

    def rate(self, begin, end):
        """Answers a second while they were not UNAVAILABLE."""
        return self.kinds(begin, end)["ALLOW"] / (end - begin)

    def slowest(self, begin, end):
        return max(took for at, _, took in self.seen if begin <= at < end)


# The bounds in seconds: freshness ends soon after PostgreSQL stops, and the stale time is what lasts, also where what
# was read first is not read again.
@pytest.mark.parametrize("ttl, ttl_unlinked, stale_max", [(1, 1, 5), (60, 3, 9)])
def test_stopped_for_longer_than_stale_max(db, postgres, start, figure, ttl, ttl_unlinked, stale_max):
    db.add_keys(KEYS)
    daemon = start({"cache.ttl": f"{ttl}s", "cache.ttl_unlinked": f"{ttl_unlinked}s",
                    "cache.stale_max": f"{stale_max}s", "postgres.timeout": "500ms", "redis.url": ""})
    client = daemon.client()
    for i in range(KEYS):
        known(client, f"key-{i}")
    with Load(daemon) as load:
        time.sleep(2)
        paused = time.monotonic()
        postgres.pause()
        try:
            stopped = time.monotonic()
            wait_until(lambda: info(daemon)["checks_stale"] > 1000, "stale answers")
            began, before = time.monotonic(), info(daemon)
            wait_until(lambda: info(daemon)["lookups"] >= before["lookups"] + KEYS, "each key to be asked for again")
            after, seconds = info(daemon), time.monotonic() - began
            wait_until(lambda: load.kinds(paused, time.monotonic())["UNAVAILABLE"] > 100,
                       "the end of stale_max")
            first = next(at for at, kinds, _ in load.seen if at > paused and kinds["UNAVAILABLE"])
            time.sleep(max(0.5, stopped + stale_max + 0.5 - time.monotonic()))
        finally:
            resumed = time.monotonic()
            postgres.resume()
        wait_until(lambda: load.seen[-1][1] == {"ALLOW": KEYS}, "recovery")
        recovered = time.monotonic()
        time.sleep(0.5)
    assert load.kinds(0, time.monotonic())["DENY"] == 0
    assert load.kinds(0, paused).keys() == {"ALLOW"}
    assert load.kinds(recovered, time.monotonic()).keys() == {"ALLOW"}
    # Verdicts were at most ttl old when PostgreSQL stopped. The cap is hard: none was read later.
    assert first - paused > stale_max - ttl - 0.1
    assert load.kinds(stopped + stale_max, resumed)["UNAVAILABLE"] > 0
    assert load.kinds(stopped + stale_max, resumed)["ALLOW"] == 0
    # Once PostgreSQL is known to be down they cost what hits do: nearly all of them ask nobody, but
    # each key is asked for about once a second.
    stale, asked = (after[name] - before[name] for name in ("checks_stale", "lookups"))
    assert after["checks_unavailable"] == before["checks_unavailable"]
    assert asked <= KEYS * (seconds + 1) and asked < stale / 10
    stale_from = paused + ttl_unlinked + 1
    case = f"stale_max {stale_max} s, "
    figure(case + "answers a second before", load.rate(paused - 1, paused))
    figure(case + "answers a second, all stale", load.rate(stale_from, first))
    figure(case + "slowest batch before, ms", load.slowest(paused - 1, paused) * 1000)
    figure(case + "slowest batch while stopped, ms", load.slowest(paused, first) * 1000)
    figure(case + "UNAVAILABLE after, s", first - paused)
    figure(case + "back after, ms", (recovered - resumed) * 1000)


def keep_lookups_away(db):
    db.run("ALTER ROLE apikeyd CONNECTION LIMIT 0")
    db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'apikeyd'")


def away_then_link_back(db, daemon, client):
    """Lookups and feed are kept away, stale verdicts are served, then only the feed is back."""
    keep_lookups_away(db)
    cut(db)
    wait_until(lambda: check(client, "good") and info(daemon)["checks_stale"], "stale answers")
    assert info(daemon)["revocation_bound"].startswith("cache.stale_max")
    db.set_active("revoked", False)
    db.run("ALTER ROLE deaf CONNECTION LIMIT -1")
    wait_until(lambda: info(daemon)["feed_up"] == 1, "the feed")


def start_with_a_link_of_its_own(db, start):
    for key in ("good", "revoked"):
        db.add_key(key)
    deaf_role(db)
    daemon = start({"cache.ttl": "1h", "cache.ttl_unlinked": "500ms", "cache.stale_max": "1h",
                    "redis.url": "", "postgres.listen_dsn": db.server.dsn(db.name, "deaf")})
    for key in ("good", "revoked"):
        assert check(daemon.client(), key)[0] == "ALLOW"
    return daemon


def test_a_feed_that_is_back_ends_stale_service(db, start):
    """It proves that PostgreSQL answers: what may have changed unheard is not served any more,
    even if lookups are refused and the feed's role may not read keys."""
    daemon = start_with_a_link_of_its_own(db, start)
    client = daemon.client()
    try:
        away_then_link_back(db, daemon, client)
        for key in ("good", "revoked"):
            with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
                check(client, key)
        wait_until(lambda: info(daemon)["revocation_bound"].startswith("cache.stale_max"), "the table to be read")
        # What memory holds may not be served: so the daemon is not ready.
        assert fetch(daemon, "/readyz")[0] == 503
    finally:
        db.run("ALTER ROLE apikeyd CONNECTION LIMIT -1")
    wait_until(lambda: info(daemon)["postgres_connections_up"] > 0, "the lookups")
    assert check(client, "good")[0] == "ALLOW"
    assert check(client, "revoked") == ["DENY", "inactive"]


def test_lookups_go_by_the_feeds_session_while_theirs_are_refused(db, start):
    db.run("DO $$ BEGIN CREATE ROLE deaf LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    db.run("GRANT USAGE ON SCHEMA api TO deaf; GRANT SELECT ON api.user_api_key TO deaf")
    daemon = start_with_a_link_of_its_own(db, start)
    client = daemon.client()
    try:
        away_then_link_back(db, daemon, client)
        wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the bound", 10)
        assert check(client, "revoked") == ["DENY", "inactive"]
        assert check(client, "good")[0] == "ALLOW"
        assert info(daemon)["postgres_connections_up"] == 0
        beats = info(daemon)["feed_heartbeats"]
        wait_until(lambda: info(daemon)["feed_heartbeats"] > beats + 1, "heartbeats meanwhile")
        db.set_active("good", False)
        wait_until(lambda: check(client, "good") == ["DENY", "inactive"], "the revocation")
    finally:
        db.run("ALTER ROLE apikeyd CONNECTION LIMIT -1")
        db.run("DROP OWNED BY deaf")


def test_a_feed_that_is_back_hurries_sessions_that_hang(db, scratch, start):
    """They hang in connecting to what never answers: they begin anew when the feed tells that PostgreSQL is
    there, not only when connecting has taken too long."""
    db.add_key("good")
    deaf_role(db)
    folder = scratch / f"door-{db.name}"
    folder.mkdir()
    door, there = folder / POSTGRES, Path(db.server.folder) / POSTGRES
    door.symlink_to(there)
    daemon = start({"redis.url": "", "log.level": "debug", "postgres.listen_dsn": db.server.dsn(db.name, "deaf"),
                    "postgres.dsn": f"host={folder} user=apikeyd dbname={db.name}"})
    cut(db)
    wait_until(lambda: info(daemon)["feed_up"] == 0, "the feed to be lost")
    with socket.socket(socket.AF_UNIX) as nobody:
        door.unlink()
        nobody.bind(str(door))
        nobody.listen(10)
        db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'apikeyd'")
        held = [nobody.accept()[0] for _ in range(3)]  # lookups and usage
        time.sleep(0.5)
        door.unlink()
        door.symlink_to(there)
        db.run("ALTER ROLE deaf CONNECTION LIMIT -1")
        wait_until(lambda: info(daemon)["postgres_connections_up"] == 2, "lookups")
        assert check(daemon.client(), "good")[0] == "ALLOW"
        assert "(lookups): connecting took too long" not in daemon.log()
        for one in held:
            one.close()


def test_the_feeds_session_is_tried_again_after_a_refusal(db, start):
    """Its role may not read keys, and is not asked all the time; ten seconds after it may, lookups go that way."""
    daemon = start_with_a_link_of_its_own(db, start)
    client = daemon.client()
    try:
        away_then_link_back(db, daemon, client)
        with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
            check(client, "good")
        db.run("GRANT USAGE ON SCHEMA api TO deaf; GRANT SELECT ON api.user_api_key TO deaf")
        wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "lookups")
        assert check(client, "revoked") == ["DENY", "inactive"]
        assert check(client, "good")[0] == "ALLOW"
        assert info(daemon)["postgres_connections_up"] == 0
        assert daemon.log().count("(lookups): ERROR:  permission denied") == 1
    finally:
        db.run("ALTER ROLE apikeyd CONNECTION LIMIT -1")
        db.run("DROP OWNED BY deaf")


def test_lookups_that_were_refused_come_back_without_the_feed(db, start):
    """Nobody asks a daemon that is not ready, and no heartbeat comes: it looks by itself."""
    daemon = start_with_a_link_of_its_own(db, start)
    cut(db)
    wait_until(lambda: info(daemon)["feed_up"] == 0, "the feed's loss")
    db.run("REVOKE USAGE ON SCHEMA api FROM apikeyd")
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 0, "lookups to be refused")
    db.run("GRANT USAGE ON SCHEMA api TO apikeyd")
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 2, "lookups")
    assert info(daemon)["feed_up"] == 0


@pytest.mark.parametrize("what", ["tombstone", "newer verdict"])
def test_what_others_heard_ends_stale_service(db, redis_server, start, what):
    """A sidecar whose lookups and feed are kept away, beside one that has heard of the revocation:
    what Redis holds of it counts, be it a tombstone or a verdict that was read later."""
    db.add_key("good")
    db.run("DO $$ BEGIN CREATE ROLE outer_role LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    db.run("GRANT USAGE ON SCHEMA api TO outer_role; GRANT SELECT ON api.user_api_key TO outer_role")
    options = {"cache.ttl": "1h", "cache.ttl_unlinked": "500ms", "cache.stale_max": "1h"}
    outer = db.server.dsn(db.name, "outer_role")
    cut_off = start({**options, "postgres.dsn": outer, "postgres.listen_dsn": outer}, settled=False)
    hears = start(options)
    # What was read before the triggers were inspected is below a watermark, so it is not served stale.
    wait_until(cut_off.settled, "the feed")
    wait_until(lambda: check(cut_off.client(), "good")[0] == "ALLOW", "a verdict")
    try:
        db.run("ALTER ROLE outer_role CONNECTION LIMIT 0")
        db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'outer_role'")
        client = cut_off.client()
        wait_until(lambda: check(client, "good") and info(cut_off)["checks_stale"], "stale answers")
        db.set_active("good", False)
        wait_until(lambda: entombed(redis_server, hears, "good"), "the tombstone")
        if what == "newer verdict":
            redis_server.client().delete(redis_value(redis_server, hears, "good")[0])
            hears.admin_client().execute_command("INVALIDATE", "ALL")
            assert check(hears.client(), "good") == ["DENY", "inactive"]
            wait_until(lambda: "INACTIVE" in (redis_value(redis_server, hears, "good")[1] or ""), "the fill")

        def ended():
            try:
                return check(client, "good") == ["DENY", "inactive"]
            except redis.ResponseError as error:
                return "UNAVAILABLE" in str(error)
        wait_until(ended, "stale service to end")
        if what == "newer verdict":
            assert check(client, "good") == ["DENY", "inactive"]
    finally:
        db.run("ALTER ROLE outer_role CONNECTION LIMIT -1")
        db.run("DROP OWNED BY outer_role")


def test_a_session_behind_a_long_lock_is_back_at_once(db, start):
    """Late queries are not given up at once: they are first in the lock's queue, and their answer
    tells that lookups are answered again, without a new attempt."""
    db.add_key("good")
    daemon = start({"postgres.timeout": "200ms", "redis.url": "", "cache.stale_max": "0s"})
    client = daemon.client()
    with db.connect(autocommit=False) as lock:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
            check(client, "good")
        wait_until(lambda: info(daemon)["postgres_connections_up"] == 0, "both to be late")
        errors = info(daemon)["postgres_errors"]
        lock.rollback()
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 2, "lookups")
    assert known(client, "good")[0] == "ALLOW"
    assert info(daemon)["postgres_errors"] == errors
    assert daemon.log().count("postgres (lookups): connected") == 2


def test_sessions_that_come_and_go_fill_no_log(db, start):
    """The server ends what is idle: each is told of three times, and then not until it has stayed."""
    role = f"idle_{db.name}"
    db.run(f"CREATE ROLE {role} LOGIN IN ROLE apikeyd; ALTER ROLE {role} SET idle_session_timeout = '200ms'")
    daemon = start({"redis.url": "", "postgres.dsn": db.server.dsn(db.name, role)})
    wait_until(lambda: info(daemon)["feed_losses"] >= 6, "the feed to be lost")
    log = daemon.log()
    assert sum("postgres (feed)" in line for line in log.splitlines()) == 6, log
    assert log.count("the change feed is up") == 3
    daemon.stop()
    db.run(f"DROP ROLE {role}")


def test_restarts_within_stale_max_are_not_noticed(db, postgres, start):
    """Whichever connection is back first: keys in memory are answered all the time."""
    db.add_keys(KEYS)
    daemon = start({"cache.ttl_unlinked": "200ms", "redis.url": ""})
    with Load(daemon) as load:
        for _ in range(3):
            # Each key looked up since the feed came up: what is older may not be served now.
            up = time.monotonic()
            wait_until(lambda since=up: load.seen and load.seen[-1][0] > since
                       and load.seen[-1][1] == {"ALLOW": KEYS}, "answers")
            postgres.stop()
            time.sleep(1)
            postgres.start()
            wait_until(lambda: info(daemon)["feed_up"] == 1, "the feed")
    assert load.kinds(0, time.monotonic()).keys() == {"ALLOW"}


def test_a_probe_is_no_loss(db, postgres, start):
    """A connection that is asked whether it is answered is up until it is late."""
    daemon = start({"cache.ttl_unlinked": "400ms", "postgres.timeout": "20s"})
    postgres.pause()
    try:
        time.sleep(1)
        assert info(daemon)["postgres_connections_up"] == 2
    finally:
        postgres.resume()
