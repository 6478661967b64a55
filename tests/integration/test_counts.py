"""usage.counts: what the table of counts says is what clients were answered, whatever fails."""

import contextlib
import errno
import os
import random
import signal
import struct
import subprocess
import time

import psycopg
import pytest
import redis
from conftest import Database, check, drop_database, flush, info, utc_now
from harness.count_kills import Load, Oracle, flushed, settle
from harness.operators import status
from harness.proxy import PASS, RESET, Proxy
from harness.servers import wait_until
from harness.standstill import Standstill
from wire import Wire

pytestmark = pytest.mark.builds("release", "debug", "asan")


def counted(db):
    return dict(db.run("SELECT verdict, sum(uses)::int FROM api.user_api_key_usage GROUP BY 1"))


def test_each_answer_counts(db, start):
    db.add_keys(3)
    db.add_key("gone", active=False)
    daemon = start({"usage.counts": "hour"})
    for i in range(30):
        assert check(daemon.client(), f"key-{i % 3}")[0] == "ALLOW"
    for _ in range(5):
        assert check(daemon.client(), "gone") == ["DENY", "inactive"]
        assert check(daemon.client(), "no such key") == ["DENY", "unknown"]
    flush(daemon)
    assert counted(db) == {"allow": 30, "inactive": 5}
    assert db.last_used("gone") is None
    assert db.one("SELECT count(*) FROM api.user_api_key_usage WHERE bucket = date_trunc('hour', now())") == 4
    for _ in range(7):
        check(daemon.client(), "key-0")
    flush(daemon)
    assert counted(db) == {"allow": 37, "inactive": 5}
    assert info(daemon)["usage_counts_pending"] == 0
    assert not list(daemon.folder.glob("*.counts"))
    for _ in range(4):
        check(daemon.client(), "key-1")
    assert daemon.stop() == 0
    assert counted(db) == {"allow": 41, "inactive": 5}
    daemon.start()


def test_status_tells_the_busiest_keys(db, start):
    """Of the last hour, all verdicts together, the busiest first; not those of a run before; nothing while it is off."""
    ids = {key: str(db.add_key(key, active=key != "key-11")) for key in (f"key-{i}" for i in range(12))}
    daemon = start({"usage.counts": "hour"})
    assert status(daemon)["busiest_keys"]["keys"] == []
    for round_ in range(2):  # a round adds to the one before
        for i, key in enumerate(ids):
            for _ in range(i + 1):
                check(daemon.client(), key)
        check(daemon.client(), "no such key")
        flush(daemon)
    db.set_active("key-11", True)  # counts for another verdict now
    wait_until(lambda: check(daemon.client(), "key-11")[0] == "ALLOW", "the change")
    flush(daemon)
    found = status(daemon)["busiest_keys"]
    *others, last = [(key["api_key_id"], key["uses"]) for key in reversed(found["keys"])]
    assert others == [(ids[f"key-{i}"], 2 * (i + 1)) for i in range(2, 11)]
    assert last[0] == ids["key-11"] and last[1] == db.one(
        "SELECT sum(uses)::int FROM api.user_api_key_usage WHERE api_key_id = %s", last[0])
    assert found["unseen_uses"] == 0
    assert found["since"] <= status(daemon)["at"]
    check(daemon.client(), "key-0")
    daemon.kill()
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    settle([daemon])
    assert status(daemon)["busiest_keys"]["keys"] == []
    assert daemon.stop() == 0
    daemon.options["usage.counts"] = "off"
    daemon.start()
    assert status(daemon)["busiest_keys"] is None


KILLS = 4


@pytest.mark.slow
def test_killed_at_any_moment_each_use_counts_once(db, start, scratch, postgres):
    """Two daemons and the same keys. Sessions are cut too, before and after their COMMIT, and PostgreSQL crashes."""
    db.add_keys(40)
    keys = [f"key-{i}" for i in range(40)]
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    with Proxy(scratch / f"{db.name}-line", postgres.folder) as line:
        dsn = db.dsn.replace(str(postgres.folder), str(line.folder))
        daemons = [start({"usage.counts": "hour", "usage.flush_interval": "50ms", "postgres.dsn": dsn,
                          "cache.stale_max": "1h"}) for _ in range(2)]
        oracle = Oracle(db.admin_dsn, keys)
        for round_ in range(KILLS):
            loads = {daemon: [Load(daemon, keys, moments.random()) for _ in range(2)] for daemon in daemons}
            wait_until(lambda: all(sum(load.answered.values()) > 100 for group in loads.values() for load in group),
                       "answers")
            for _ in range(round_ % 3):
                line.hold()  # statements are executed, and nobody hears of it
                time.sleep(moments.uniform(0, 0.1))
                line.become(RESET)
                time.sleep(moments.uniform(0, 0.05))
                line.become(PASS)
            if round_ % 4 == 1:
                postgres.process.stop(signal.SIGQUIT)  # as a crash: commits under way are there, or not
                postgres.start()
            time.sleep(moments.uniform(0, 0.2))
            for daemon in daemons:
                daemon.kill()
                oracle.add(loads[daemon])
            for daemon in daemons:
                daemon.start()
        settle(daemons)
        assert sum(oracle.answered.values()) > 100 * KILLS
        assert not oracle.wrong()
    print(sum(oracle.answered.values()), "answers", sum(oracle.asked.values()), "asked")


def use(daemon, times, keys=3):
    for i in range(times):
        assert check(daemon.client(), f"key-{i % keys}")[0] == "ALLOW"
    return times


def total(db):
    return db.one("SELECT coalesce(sum(uses), 0)::int FROM api.user_api_key_usage")


def files_of_counts(daemon):
    return [path.name for path in daemon.folder.glob("*.counts")]


@pytest.mark.slow
def test_killed_while_no_disk_takes_counts_or_no_answer_is_heard(db, start, scratch, postgres):
    db.add_keys(3)
    still = Standstill(scratch / f"{db.name}-still")
    with Proxy(scratch / f"{db.name}-line", postgres.folder) as line:
        dsn = db.dsn.replace(str(postgres.folder), str(line.folder))
        daemon = start({"usage.counts": "hour", "cache.stale_max": "1h", "cache.ttl": "1h", "cache.ttl_unlinked": "1h",
                        "postgres.dsn": dsn}, env=still.env)
        uses = 0
        # No disk takes the counts, then tmpfs neither.
        for files, killed in ((["usage.spill"], True), (["usage.spill", "usage.ledger.counts"], True),
                              (["usage.spill.counts", "usage.ledger.counts"], True),
                              (["usage.spill.counts", "usage.ledger.counts"], False)):
            uses += use(daemon, 30)
            line.become(RESET)
            with contextlib.ExitStack() as full:
                for file in files:
                    full.enter_context(still.fail("apikeyd-disk", "write", errno.ENOSPC, file))
                for _ in range(2):  # a half that cannot be emptied is not used again
                    assert not flushed(daemon)
                    uses += use(daemon, 9)
                assert ("usage.ledger.counts" in files_of_counts(daemon)) == (len(files) == 1)
                if killed:
                    daemon.kill()
            line.become(PASS)
            if killed:
                daemon.start()
            wait_until(daemon.settled, "the daemon to be connected")
            settle([daemon])
            assert total(db) == uses
        # The statement is executed, and its answer is not heard; nor is that of the next one, after the restart.
        for _ in range(2):
            uses += use(daemon, 30)
            line.hold()
            with Wire(daemon.admin) as admin:
                admin.send(b"FLUSH\r\n")
                wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'WITH %' AND usename "
                                          "= 'apikeyd' AND wait_event = 'ClientRead' AND query_start > now() - "
                                          "interval '1 minute'"), "statements")
                time.sleep(0.2)
                daemon.kill()
            line.become(RESET)
            line.become(PASS)
            daemon.start()
            wait_until(daemon.settled, "the daemon to be connected")
        settle([daemon])
        assert total(db) == uses
    wait_until(lambda: not files_of_counts(daemon), "the files to go")


def test_copies_and_old_files_count_nothing_twice(db, start, postgres, scratch):
    """Two daemons start on copies of what a killed one left; later an old ledger and old files are put back."""
    db.add_keys(3)
    options = {"usage.counts": "day", "cache.stale_max": "1h", "cache.ttl": "1h", "cache.ttl_unlinked": "1h"}
    one = start(options)
    uses = use(one, 30)
    with db.connect(autocommit=False) as lock:
        lock.execute("LOCK TABLE api.user_api_key_usage IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(redis.ResponseError, match="counts"):
            flush(one)
        uses += use(one, 12)
        one.kill()
        assert "usage.spill.counts" in files_of_counts(one)
        db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
               "AND usename = 'apikeyd'")
    two = start(options, wait=False)
    two.folder.mkdir(exist_ok=True)
    kept = scratch / f"{db.name}-kept"
    kept.mkdir()
    for path in one.folder.glob("usage.*"):
        subprocess.run(["cp", "--sparse=always", path, two.folder / path.name], check=True)
        subprocess.run(["cp", "--sparse=always", path, kept / path.name], check=True)
    for daemon in (one, two):
        daemon.start()
        wait_until(daemon.settled, "the daemon to be connected")
        uses += use(daemon, 10)
    settle([one, two])
    assert total(db) == uses
    assert db.one("SELECT count(DISTINCT bucket) FROM api.user_api_key_usage "
                  "WHERE bucket = date_trunc('day', bucket, 'UTC')") == 1
    one.stop()
    for path in kept.iterdir():
        subprocess.run(["cp", "--sparse=always", path, one.folder / path.name], check=True)
    one.start()
    wait_until(one.settled, "the daemon to be connected")
    uses += use(one, 10)
    settle([one])
    assert total(db) == uses
    assert info(one)["usage_counts_lost"] == 0


def test_a_ledger_that_is_removed_or_replaced(db, start):
    """By that of a daemon that was killed, whose counts are found then."""
    db.add_keys(3)
    killed, daemon = start({"usage.counts": "hour"}), start({"usage.counts": "hour"})
    uses = use(killed, 30)
    killed.kill()
    uses += use(daemon, 30)
    daemon.ledger.unlink()
    wait_until(lambda: info(daemon)["usage_ledger_repairs"] == 1, "a new file")
    uses += use(daemon, 12)
    wait_until(lambda: flushed(daemon) and total(db) == uses - 30, "the counts")
    uses += use(daemon, 12)
    os.rename(killed.ledger, daemon.ledger)
    wait_until(lambda: info(daemon)["usage_ledger_repairs"] == 2, "a new file")
    uses += use(daemon, 12)
    wait_until(lambda: flushed(daemon) and total(db) == uses, "the counts")
    daemon.kill()
    daemon.start()
    killed.start()
    settle([daemon, killed])
    assert total(db) == uses


def test_a_table_that_is_away_or_locked_delays_no_last_used(db, start):
    db.add_keys(3)
    db.run("ALTER TABLE api.user_api_key_usage RENAME TO away")
    daemon = start({"usage.counts": "hour", "usage.flush_interval": "50ms"})
    began = utc_now()
    uses = use(daemon, 30)
    wait_until(lambda: db.last_used("key-0") and db.last_used("key-0") >= began, "last_used")
    wait_until(lambda: "postgres (counts)" in daemon.log() and files_of_counts(daemon), "the log and the file")
    uses += use(daemon, 30)
    db.run("ALTER TABLE api.away RENAME TO user_api_key_usage")
    wait_until(lambda: total(db) == uses, "the counts")
    with db.connect(autocommit=False) as lock:
        lock.execute("LOCK TABLE api.user_api_key_usage IN ACCESS EXCLUSIVE MODE")
        for _ in range(3):
            began = utc_now()
            uses += use(daemon, 3)
            wait_until(lambda: db.last_used("key-0") >= began, "last_used")  # noqa: B023
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'api.user_api_key_usage'::regclass"
        assert db.one(waiting) <= 1
    wait_until(lambda: total(db) == uses, "the counts")
    with db.connect(autocommit=False) as lock:  # its own rows, as another daemon has them
        lock.execute("SELECT FROM api.user_api_key_usage FOR UPDATE")
        began = utc_now()
        uses += use(daemon, 3)
        wait_until(lambda: db.last_used("key-0") >= began, "last_used")
        wait_until(lambda: "lock timeout" in daemon.log(), "the lock timeout")
    wait_until(lambda: total(db) == uses, "the counts")
    assert daemon.stop() == 0
    daemon.start()


def file_of_counts(key_id, batches):
    """The file of waiting batches of as many earlier runs, with one use of the key in each."""
    hour = int(time.time()) // 3600
    body = b"".join(
        struct.pack("<16sQQQIIQ", os.urandom(16), 1, 1, 0, 0, 0, 1)
        + struct.pack("<36sIQII", key_id.bytes, hour, 1, 1, 0) for _ in range(batches))
    checksum = 14695981039346656037
    for word, in struct.iter_unpack("<Q", body):
        checksum = (checksum ^ word) * 1099511628211 % (1 << 64)
    return struct.pack("<16sIIQQQ", b"apikeyd counts\n", 1, 56, batches, len(body), checksum) + body


def test_many_batches_that_are_added_slowly_delay_no_last_used(db, start):
    """An outage leaves many statements, each of which is quick enough for a round."""
    db.add_keys(1)
    db.run("CREATE FUNCTION api.dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END'")
    db.run("CREATE TRIGGER dawdle BEFORE INSERT ON api.user_api_key_usage EXECUTE FUNCTION api.dawdle()")
    daemon = start({"usage.counts": "hour", "usage.flush_interval": "50ms"}, wait=False)
    daemon.folder.mkdir(exist_ok=True)
    key_id = db.one("SELECT api_key_id FROM api.user_api_key WHERE key_id = 'key-0'")
    (daemon.folder / "usage.spill.counts").write_bytes(file_of_counts(key_id, 60))
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    began = utc_now()
    use(daemon, 1, keys=1)
    wait_until(lambda: db.last_used("key-0") and db.last_used("key-0") >= began, "last_used")
    assert total(db) < 60
    with pytest.raises(redis.ResponseError, match="counts"):
        flush(daemon)
    daemon.kill()


def test_a_file_that_cannot_be_read_stays(db, start):
    """This run removes, or replaces, the files of counts."""
    db.add_keys(1)
    daemon = start({"usage.counts": "hour"}, wait=False)
    daemon.folder.mkdir(exist_ok=True)
    for beside in "spill", "ledger":
        (daemon.folder / f"usage.{beside}.counts").symlink_to(daemon.folder / beside)
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    use(daemon, 1, keys=1)
    flush(daemon)
    assert total(db) == 1
    assert (daemon.folder / "usage.spill.counts.damaged-1").is_symlink()
    assert (daemon.folder / "usage.ledger.counts.damaged-1").is_symlink()


def test_counts_outlive_a_time_without_them_and_the_machine(db, start):
    db.add_keys(3)
    daemon = start({"usage.counts": "hour"})
    uses = use(daemon, 30)
    daemon.kill()
    daemon.options["usage.counts"] = "off"
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    use(daemon, 30)
    daemon.stop()
    assert total(db) == 0
    for path in daemon.folder.glob("usage.ledger*"):
        path.unlink()  # as tmpfs after a boot
    daemon.options["usage.counts"] = "hour"
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    settle([daemon])
    assert total(db) == uses


def test_rows_that_postgres_refuses_hold_up_no_others(db, start):
    """A constraint refuses some keys for good. Others are added, once; what is refused is told."""
    db.add_keys(40)
    bad = [f"key-{i}" for i in (3, 17, 18)]
    db.run("CREATE FUNCTION api.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS (SELECT FROM api.bad "
           "WHERE api_key_id = NEW.api_key_id) THEN RAISE 'no counts of this key'; END IF; RETURN NULL; END $$")
    db.run("CREATE TABLE api.bad AS SELECT api_key_id FROM api.user_api_key WHERE key_id = ANY (%s)", bad)
    db.run("GRANT SELECT ON api.bad TO apikeyd")
    db.run("CREATE TRIGGER refuse AFTER INSERT OR UPDATE ON api.user_api_key_usage FOR EACH ROW EXECUTE FUNCTION api.refuse()")
    daemon = start({"usage.counts": "hour"})
    use(daemon, 80, keys=40)
    flush(daemon)
    assert total(db) == 74
    assert info(daemon)["usage_counts_lost"] == 6
    assert info(daemon)["usage_counts_pending"] == 0
    for key in bad:
        key_id = db.one("SELECT api_key_id FROM api.user_api_key WHERE key_id = %s", key)
        assert f"refuses the counts of key {key_id}: ERROR:  no counts of this key; its 2 uses (allow)" in daemon.log()
    # While only such rows come, the table may be at fault.
    for _ in range(3):
        assert check(daemon.client(), bad[0])[0] == "ALLOW"
        assert not flushed(daemon)
    daemon.kill()
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    assert not flushed(daemon)
    assert info(daemon)["usage_counts_pending"] == 1
    # Others pass it, and it is added once it can be.
    check(daemon.client(), "key-0")
    wait_until(lambda: flushed(daemon) or total(db) == 75, "the other key's")
    db.run("TRUNCATE api.bad")
    wait_until(lambda: flushed(daemon) and total(db) == 78, "all of them")
    assert info(daemon)["usage_counts_lost"] == 0
    # Of this run: a later half shows that the table takes rows.
    db.run("INSERT INTO api.bad SELECT api_key_id FROM api.user_api_key WHERE key_id = %s", bad[0])
    check(daemon.client(), bad[0])
    assert not flushed(daemon)
    check(daemon.client(), "key-0")
    wait_until(lambda: flushed(daemon) and total(db) == 79, "the other key's")
    assert info(daemon)["usage_counts_lost"] == 1
    # A statement whose end is not known may still add its batch, so that no later half joins it.
    check(daemon.client(), bad[0])
    with db.connect() as holder, holder.transaction():
        holder.execute("LOCK TABLE api.user_api_key_usage IN ACCESS EXCLUSIVE MODE")
        assert not flushed(daemon)
        wait_until(lambda: db.one("SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'apikeyd' "
                                  "AND datname = current_database() AND wait_event_type = 'Lock'"), "the statement to wait")
    uses = 80

    def passed():
        nonlocal uses
        uses += check(daemon.client(), "key-0")[0] == "ALLOW"
        return not flushed(daemon) and total(db) > 79
    wait_until(passed, "halves that come later")
    db.run("TRUNCATE api.bad")
    wait_until(lambda: flushed(daemon) and total(db) == uses, "all of them")


@pytest.mark.needs("pgbouncer")
def test_keys_that_go_and_tables_with_a_foreign_key(db, start, pgbouncer):
    db.run("ALTER TABLE api.user_api_key_usage ADD FOREIGN KEY (api_key_id) REFERENCES api.user_api_key ON DELETE CASCADE")
    db.add_keys(3)
    daemon = start({"usage.counts": "hour", "postgres.dsn": pgbouncer, "postgres.listen_dsn": db.dsn})
    use(daemon, 30)
    db.run("DELETE FROM api.user_api_key WHERE key_id = 'key-1'")
    wait_until(lambda: flushed(daemon) and total(db) == 20, "the counts of the keys that are there")
    assert info(daemon)["usage_counts_pending"] == 0
    db.run("DELETE FROM api.user_api_key WHERE key_id = 'key-2'")
    assert total(db) == 10


def test_commits_that_postgres_loses_are_added_again(db, start, postgres):
    """A failover to a standby that had not the last commits, as the daemon sees it: another run of the server, which notes
    what it noted a while ago."""
    db.add_keys(3)
    daemon = start({"usage.counts": "hour", "cache.stale_max": "1h"})
    uses = use(daemon, 30)
    flush(daemon)
    db.run("CREATE TABLE api.usage_then AS TABLE api.user_api_key_usage")
    db.run("CREATE TABLE api.ledger_then AS TABLE api.apikeyd_ledger")
    for _ in range(2):
        uses += use(daemon, 12)
        flush(daemon)
    assert total(db) == uses
    db.run("UPDATE api.user_api_key_usage AS u SET uses = t.uses FROM api.usage_then AS t "
           "WHERE (u.api_key_id, u.bucket, u.verdict) = (t.api_key_id, t.bucket, t.verdict)")
    db.run("UPDATE api.apikeyd_ledger AS l SET number = t.number FROM api.ledger_then AS t "
           "WHERE l.ledger_id = t.ledger_id")
    assert total(db) == 30
    postgres.stop()
    postgres.start()
    wait_until(daemon.settled, "the daemon to be connected")
    wait_until(lambda: flushed(daemon) and total(db) == uses, "the lost counts")
    assert info(daemon)["usage_counts_pending"] == 0


def test_a_series_that_another_daemon_uses_is_given_up(db, start):
    """As after a clone of a running machine: PostgreSQL has numbers that this daemon has not sent."""
    db.add_keys(3)
    daemon = start({"usage.counts": "hour"})
    uses = use(daemon, 30)
    flush(daemon)
    db.run("UPDATE api.apikeyd_ledger SET number = number + (1 << 24)")
    use(daemon, 12)
    flush(daemon)
    assert "runs on a copy of it; 12 uses are not added" in daemon.log()
    assert info(daemon)["usage_counts_lost"] == 12
    for _ in range(2):
        uses += use(daemon, 9)
        flush(daemon)
    assert total(db) == uses
    assert db.one("SELECT count(*) FROM api.apikeyd_ledger") == 2
    uses += use(daemon, 9)
    daemon.kill()
    daemon.start()
    settle([daemon])
    assert total(db) == uses


def test_counts_wait_for_the_database_that_they_are_of(db, start, postgres):
    """A daemon is led to a copy of the database, and back. Neither has the other's counts."""
    db.add_keys(3)
    name = f"{db.name}_copy"
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{db.name}" STRATEGY file_copy')
    copy = Database(postgres, name)
    try:
        daemon = start({"usage.counts": "hour"})
        use(daemon, 30)
        daemon.kill()
        daemon.options["postgres.dsn"] = copy.dsn
        daemon.start()
        wait_until(lambda: "counts of another database" in daemon.log(), "the log")
        use(daemon, 12)
        wait_until(lambda: flushed(daemon) and total(copy) == 12, "the counts of the copy")
        assert total(db) == 0
        use(daemon, 6)
        daemon.kill()
        daemon.options["postgres.dsn"] = db.dsn
        daemon.start()
        wait_until(lambda: flushed(daemon) and total(db) == 30, "the counts")
        assert total(copy) == 12
    finally:
        if daemon.process:
            daemon.stop()
        drop_database(postgres, name)
