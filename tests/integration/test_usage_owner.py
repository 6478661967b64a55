"""Usage is written to the store that it belongs to; what merely cannot be seen is not deleted."""

import contextlib
import uuid

import psycopg
import pytest
import redis
from conftest import answer, check, drop_database, flush, info
from harness.proxy import Proxy
from harness.replication import Bouncer
from harness.servers import migrate, wait_until
from harness.standstill import Standstill
from slow_disk import disk_stands_still, locked

pytestmark = [pytest.mark.slow, pytest.mark.needs("pgbouncer"), pytest.mark.builds("release", "debug", "asan")]

TABLE = "api.user_api_key"


@pytest.fixture
def other(db, postgres):
    """Another migrated database of the same server."""
    name = f"{db.name}_other"
    postgres.create_database(name)
    done = migrate(postgres.uri(name))
    assert done.returncode == 0, done.stdout + done.stderr
    yield name
    drop_database(postgres, name)


def restart(daemon, **options):
    """Killed, so that what is pending stays in its files, and started again."""
    daemon.kill()
    daemon.options.update(options)
    daemon.start()
    wait_until(lambda: info(daemon)["feed_up"] and info(daemon)["postgres_connections_up"] == 2,
               "the daemon to be connected")


def add_key(there, db, api_key_id, key):
    there.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [db.user_id])
    there.execute(f"INSERT INTO {TABLE} (api_key_id, key_name, key_id, user_id) VALUES (%s, 'n', %s, %s)",
                  [api_key_id, key, db.user_id])


def key_of_both(db, postgres, other):
    """A key with one api_key_id in both databases, as in a copy. What is returned tells the other's last_used."""
    with psycopg.connect(postgres.dsn(other), autocommit=True) as there:
        add_key(there, db, db.add_key("good"), "good")

    def last_used():
        with psycopg.connect(postgres.dsn(other)) as there:
            return there.execute(f"SELECT last_used FROM {TABLE}").fetchone()[0]
    return last_used


@pytest.mark.parametrize("where", ["ledger", "spill"])
def test_a_wrong_dsn_for_one_start_loses_no_usage(db, postgres, other, start, where):
    """Nor does it write any to a copy of the database."""
    there = key_of_both(db, postgres, other)
    daemon = start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    if where == "spill":
        with db.connect(autocommit=False) as lock:
            lock.execute(f"SELECT FROM {TABLE} FOR UPDATE")
            flush(daemon)
            assert daemon.spill.exists() and info(daemon)["usage_spill_bytes"] > 0
            restart(daemon, **{"postgres.dsn": postgres.dsn(other, "apikeyd")})
    else:
        restart(daemon, **{"postgres.dsn": postgres.dsn(other, "apikeyd")})
    wait_until(lambda: info(daemon)["usage_keys_set_aside"] == 1, "the usage to be set aside")
    assert "belongs to store" in daemon.log() and "set aside" in daemon.log()
    flush(daemon)
    assert info(daemon)["usage_pending"] == 0
    assert db.last_used("good") is None
    restart(daemon, **{"postgres.dsn": db.dsn})
    wait_until(lambda: db.last_used("good") is not None, "the usage")
    assert there() is None
    flush(daemon)
    assert [path.name for path in daemon.folder.glob("usage.spill.*")
            if not path.name.endswith(".lock")] == []


def test_usage_of_both_stores_is_kept_apart(db, postgres, other, start):
    """While it runs, behind a name that leads elsewhere from then on."""
    db.add_key("good")
    with psycopg.connect(postgres.dsn(other), autocommit=True) as there:
        add_key(there, db, uuid.uuid4(), "there")
        daemon = start()
        assert check(daemon.client(), "good")[0] == "ALLOW"
        restart(daemon, **{"postgres.dsn": postgres.dsn(other, "apikeyd")})
        assert check(daemon.client(), "there")[0] == "ALLOW"
        daemon.kill()
        daemon.options["postgres.dsn"] = db.dsn
        daemon.start()
        wait_until(lambda: db.last_used("good") is not None, "its usage")
        assert there.execute(f"SELECT last_used FROM {TABLE}").fetchone() == (None,)
        restart(daemon, **{"postgres.dsn": postgres.dsn(other, "apikeyd")})
        wait_until(lambda: there.execute(f"SELECT last_used FROM {TABLE}").fetchone()[0],
                   "the other's usage")


HIDDEN = {
    "row security": (f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY",
                     f"ALTER TABLE {TABLE} DISABLE ROW LEVEL SECURITY"),
    "grants lost": (f"REVOKE ALL ON {TABLE} FROM apikeyd",
                    f"GRANT SELECT ON {TABLE} TO apikeyd; "
                    f"GRANT UPDATE (last_used, updated_at) ON {TABLE} TO apikeyd"),
    "a column renamed": (f"ALTER TABLE {TABLE} RENAME last_used TO used",
                         f"ALTER TABLE {TABLE} RENAME used TO last_used"),
    "a view in its place": (
        f"ALTER TABLE {TABLE} RENAME TO hidden; CREATE VIEW {TABLE} AS SELECT * FROM api.hidden "
        f"WHERE false; GRANT SELECT, UPDATE ON {TABLE} TO apikeyd",
        f"DROP VIEW {TABLE}; ALTER TABLE api.hidden RENAME TO user_api_key"),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_usage_of_rows_that_are_hidden_is_kept(db, start, way):
    hide, show = HIDDEN[way]
    db.add_key("good")
    daemon = start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    db.run(hide)
    try:
        flush(daemon)
    except Exception as error:  # pylint: disable=broad-except
        assert "stays pending" in str(error)
    assert info(daemon)["usage_pending"] == 1
    db.run(show)
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 2, "lookups")

    def written():
        with contextlib.suppress(redis.ResponseError):  # the session for usage comes back on its own
            flush(daemon)
        return db.last_used("good") is not None
    wait_until(written, "the usage")


def test_a_round_that_has_asked_in_vain_waits(db, start):
    """Its session comes back, and leads to what is no table."""
    hide, show = HIDDEN["a view in its place"]
    db.add_key("good")
    daemon = start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    db.run(hide)
    db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
           "WHERE usename = 'apikeyd' AND datname = current_database()")
    wait_until(lambda: "(usage): postgres.table is not a table" in daemon.log(), "usage to be refused")
    before = info(daemon)
    wait_until(lambda: info(daemon)["feed_heartbeats"] >= before["feed_heartbeats"] + 2, "two seconds")
    assert info(daemon)["usage_swaps"] < before["usage_swaps"] + 20
    db.run(show)
    wait_until(lambda: db.last_used("good") is not None, "the usage")


class Unanswering(Proxy):
    """Lookups get no answer, while the sessions for usage and for the change feed do."""

    def __init__(self, *args):
        self.held = []
        super().__init__(*args)

    def answer(self):
        """What was kept back goes on, late."""
        held, self.held = self.held, None
        for end, data in held:
            self.ends[end].sendall(data)

    def pass_on(self, end):
        data = b""
        with contextlib.suppress(OSError):
            data = end.recv(65536)
            if self.held is not None and b"row_security_active" in data and b"WITH pending" not in data:
                self.held.append((end, data))
                return
            self.ends[end].sendall(data)
        if not data:
            self.close(end)


def pending_and_unmoved(daemon):
    now = info(daemon)
    assert now["usage_pending"] == 1 and now["usage_keys_set_aside"] == 0 and not now["usage_up"]
    return True


def test_a_session_for_usage_alone_decides_nothing(db, postgres, other, scratch, start):
    """It leads to another database than the one before, and lookups are not answered yet."""
    db.add_key("good")
    daemon = start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    daemon.kill()
    with Unanswering(scratch / f"{db.name}.line", postgres.folder) as line:
        daemon.options["postgres.dsn"] = f"host={line.folder} user=apikeyd dbname={other}"
        daemon.start()
        wait_until(lambda: info(daemon)["feed_up"], "the feed")
        with pytest.raises(redis.ResponseError, match="lookups have not told yet"):
            flush(daemon)
        assert pending_and_unmoved(daemon) and db.last_used("good") is None
        daemon.kill()
    daemon.options["postgres.dsn"] = db.dsn
    daemon.start()
    wait_until(lambda: db.last_used("good") is not None, "the usage")


def test_a_ledger_that_is_found_tells_whose_it_is(db, postgres, other, scratch, start):
    """It comes back while nobody knows yet where lookups are answered."""
    db.add_key("good")
    daemon = start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    daemon.kill()
    found = daemon.ledger.rename(daemon.ledger.with_name("found"))
    daemon.ledger.symlink_to("elsewhere")
    with Unanswering(scratch / f"{db.name}.line", postgres.folder) as line:
        daemon.options["postgres.dsn"] = f"host={line.folder} user=apikeyd dbname={other}"
        daemon.start()
        wait_until(lambda: info(daemon)["feed_up"], "the feed")
        assert not info(daemon)["usage_ledger_safe"]
        found.replace(daemon.ledger)
        wait_until(lambda: info(daemon)["usage_ledger_safe"], "the ledger to be in use")
        line.answer()
        wait_until(lambda: info(daemon)["postgres_answers"], "lookups to be answered")
        with contextlib.suppress(redis.ResponseError):
            check(daemon.client(), "nobody")
        wait_until(lambda: info(daemon)["usage_keys_set_aside"] == 1, "its usage to be set aside")
        daemon.kill()
    daemon.options["postgres.dsn"] = db.dsn
    daemon.start()
    wait_until(lambda: db.last_used("good") is not None, "the usage")


@pytest.fixture
def bouncer(scratch, db):
    pooler = Bouncer(scratch / f"{db.name}.bouncer")
    yield pooler
    pooler.stop()


def test_a_session_that_is_led_elsewhere_writes_nothing(db, postgres, other, bouncer, start):
    """A pooler is pointed to a copy of the database between two statements of the session for usage; lookups
    are answered by the feed's session. Its own lookup sessions are refused."""
    there = key_of_both(db, postgres, other)
    bouncer.start(postgres, db.name)
    daemon = start({"postgres.dsn": bouncer.dsn(), "postgres.listen_dsn": db.dsn, "redis.url": ""})
    assert check(daemon.client(), "good")[0] == "ALLOW"
    assert flush(daemon) == 1
    before = db.last_used("good")
    assert check(daemon.client(), "good")[0] == "ALLOW"
    bouncer.point_to(postgres, other)
    with contextlib.suppress(redis.ResponseError):
        flush(daemon)
    assert there() is None
    bouncer.point_to(postgres, db.name)
    wait_until(lambda: db.last_used("good") > before, "the usage to be written where it belongs")
    assert there() is None


def test_a_killed_daemon_leaves_no_usage_behind(db, postgres, other, scratch, start):
    """kill -9 while usage of either database is on its way between files, at each step on the disk."""
    db.add_key("good")
    still = Standstill(scratch / f"{db.name}.still")
    daemon = start(env=still.env)
    here, elsewhere = {"postgres.dsn": db.dsn}, {"postgres.dsn": postgres.dsn(other, "apikeyd")}

    def killed_at(call, what, options):
        with still.stand("*", call, what):
            daemon.options.update(options)
            daemon.start()
            wait_until(still.stands, f"{call} of {what}")
            daemon.kill()

    with psycopg.connect(postgres.dsn(other), autocommit=True) as there:
        add_key(there, db, uuid.uuid4(), "there")
        # Usage of this database, and the dsn leads to the other one.
        assert check(daemon.client(), "good")[0] == "ALLOW"
        daemon.kill()
        killed_at("fsync", "usage.spill.", elsewhere)
        killed_at("rename", "usage.spill.", elsewhere)
        daemon.start()
        wait_until(daemon.settled, "the usage to be set aside")
        assert info(daemon)["usage_keys_set_aside"] == 1
        # Usage of the other one, and the dsn is right again.
        assert check(daemon.client(), "there")[0] == "ALLOW"
        daemon.kill()
        killed_at("rename", "usage.spill.", here)
        with psycopg.connect(postgres.dsn(other)) as lock, psycopg.connect(db.admin_dsn) as lock_here:
            lock.execute(f"SELECT FROM {TABLE} FOR UPDATE")
            lock_here.execute(f"SELECT FROM {TABLE} FOR UPDATE")
            # It is set aside, and what was aside is on its way to the spill file; in the other one then.
            killed_at("fsync", "usage.spill.new", here)
            killed_at("fsync", "usage.spill.new", elsewhere)
        daemon.start()
        wait_until(lambda: there.execute(f"SELECT last_used FROM {TABLE}").fetchone()[0], "the other's usage")
        restart(daemon, **here)
        wait_until(lambda: db.last_used("good") is not None, "the usage of this one")


@pytest.mark.parametrize("end", ["kill -9", "back again"])
def test_a_store_that_changes_while_the_disk_stands_still(db, postgres, other, bouncer, scratch, start, end):
    """The half in use holds usage of both then, whatever comes next."""
    db.add_keys(2)
    bouncer.start(postgres, db.name)
    still = Standstill(scratch / f"{db.name}.still")
    with psycopg.connect(postgres.dsn(other), autocommit=True) as there:
        add_key(there, db, uuid.uuid4(), "there")
        daemon = start({"postgres.dsn": bouncer.dsn(), "postgres.listen_dsn": db.dsn, "redis.url": ""},
                       env=still.env)
        with locked(db, "key-0"):
            assert check(daemon.client(), "key-0")[0] == "ALLOW"
            with disk_stands_still(daemon, still):
                bouncer.point_to(postgres, other)
                wait_until(lambda: answer(daemon.client(), "there")[0] == "ALLOW", "the other database")
                if end == "kill -9":
                    daemon.kill()
                bouncer.point_to(postgres, db.name)
                if end != "kill -9":
                    wait_until(lambda: answer(daemon.client(), "key-1")[0] == "ALLOW", "this database")
        if end != "kill -9":
            wait_until(lambda: db.last_used("key-1"), "the usage of this database")
            daemon.kill()
        daemon.options.update({"postgres.dsn": postgres.dsn(other, "apikeyd"), "postgres.listen_dsn": ""})
        daemon.start()
        wait_until(lambda: there.execute(f"SELECT last_used FROM {TABLE}").fetchone()[0],
                   "the usage of the other database")


def test_usage_of_the_next_store_is_not_set_aside_for_the_one_before(db, postgres, other, bouncer, start):
    """What is pending cannot be set aside for a while, and rounds go on meanwhile."""
    db.add_key("good")
    bouncer.start(postgres, db.name)
    with psycopg.connect(postgres.dsn(other), autocommit=True) as there:
        add_key(there, db, uuid.uuid4(), "there")
        daemon = start({"postgres.dsn": bouncer.dsn(), "postgres.listen_dsn": db.dsn, "redis.url": ""}, wait=False)
        folder = daemon.folder / "later"
        daemon.options["usage.spill"] = folder / "usage.spill"
        daemon.start()
        wait_until(daemon.settled, "the daemon to be connected")
        assert check(daemon.client(), "good")[0] == "ALLOW"
        bouncer.point_to(postgres, other)
        wait_until(lambda: answer(daemon.client(), "there")[0] == "ALLOW", "the other database")
        for _ in range(2):
            with pytest.raises(redis.ResponseError, match="cannot be set aside"):
                flush(daemon)
        folder.mkdir()
        wait_until(lambda: there.execute(f"SELECT last_used FROM {TABLE}").fetchone()[0],
                   "the usage of the other database")
        daemon.kill()
        daemon.options.update({"postgres.dsn": db.dsn, "postgres.listen_dsn": ""})
        daemon.start()
        wait_until(lambda: db.last_used("good") is not None, "the usage of the first one")
