"""last_used: every ALLOW, in bulk, forward only."""

import threading
import time
import uuid
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import redis
from conftest import USAGE, check, flush, info, spilled, utc_now
from harness.operators import metrics
from harness.servers import wait_until
from wire import Wire, command


def allowed(daemon, key):
    with Wire(daemon.check) as wire:
        answer = wire.ask("CHECK", key)
        return isinstance(answer, list) and answer[0] == b"ALLOW"


def check_many(daemon, keys):
    """CHECK each key, pipelined; all must be allowed."""
    with Wire(daemon.check) as wire:
        sender = threading.Thread(target=wire.send,
                                  args=[b"".join(command("CHECK", key) for key in keys)])
        sender.start()
        assert all(wire.reply()[0] == b"ALLOW" for _ in keys)
        sender.join()


@pytest.mark.builds("release")
def test_no_statement_reads_the_whole_table(db, start, postgres):
    """A thousand rows are found by the index, also where the planner takes a thousand look-ups for dearer than the table."""
    db.add_keys(20000)
    db.run("ANALYZE api.user_api_key")
    for setting in ("session_preload_libraries = auto_explain", "auto_explain.log_min_duration = 0"):
        db.run(f"LOAD 'auto_explain'; ALTER ROLE apikeyd IN DATABASE {db.name} SET {setting}")
    daemon = start({"usage.batch": "1000"})
    check_many(daemon, [f"key-{i}" for i in range(0, 20000, 20)])
    assert flush(daemon) == 1000
    plans = [plan for plan in postgres.process.log().split("Query Text: ") if plan.startswith(USAGE)]
    assert any("Update on user_api_key" in plan for plan in plans)
    assert not [plan for plan in plans if "Seq Scan on user_api_key" in plan]


def test_null_becomes_the_exact_instant(db, daemon):
    db.add_key("good")
    client = daemon.client()
    check(client, "warm-up")
    assert db.last_used("good") is None
    before = utc_now()
    check(client, "good")
    after = utc_now()
    assert flush(daemon) == 1
    assert before - timedelta(milliseconds=1) <= db.last_used("good") <= after


def test_a_hundred_thousand_checks_are_one_row(db, start):
    """One UPDATE, one row, and the time of the last check."""
    db.add_key("hot")
    daemon = start()
    check(daemon.client(), "hot")
    flush(daemon)
    db.reset_statements()
    statements = info(daemon)["usage_statements"]
    check_many(daemon, ["hot"] * 99999)
    before = utc_now()
    check(daemon.client(), "hot")
    after = utc_now()
    assert flush(daemon) == 1
    assert info(daemon)["usage_statements"] == statements + 1
    assert db.statements(USAGE) == 1
    assert before - timedelta(milliseconds=1) <= db.last_used("hot") <= after + timedelta(
        milliseconds=1)


def test_flushes_by_itself(db, start):
    db.add_key("good")
    daemon = start({"usage.flush_interval": "200ms"})
    check(daemon.client(), "good")
    wait_until(lambda: db.last_used("good"), "the flush")
    first = db.last_used("good")
    check(daemon.client(), "good")
    wait_until(lambda: db.last_used("good") > first, "the next flush")


def test_flush_rows_starts_a_flush(db, start):
    db.add_keys(100)
    daemon = start({"usage.flush_rows": "50"})
    check_many(daemon, [f"key-{i}" for i in range(100)])
    used = "SELECT count(*) FROM api.user_api_key WHERE last_used IS NOT NULL"
    wait_until(lambda: db.one(used) >= 50, "the flush")


def test_never_goes_back(db, daemon):
    """A later time that another writer has set stays, if it can be true."""
    db.add_key("good")
    check(daemon.client(), "good")
    future = utc_now() + timedelta(hours=1)
    db.run("UPDATE api.user_api_key SET last_used = %s", future)
    before = db.row("good")
    assert flush(daemon) == 0
    assert db.row("good") == before


def test_refused_keys_rows_are_untouched(db, daemon):
    db.add_key("bad", active=False)
    db.add_key("sibling")
    before = db.row("bad"), db.row("sibling")
    for _ in range(10):
        assert check(daemon.client(), "bad") == ["DENY", "inactive"]
        assert check(daemon.client(), "none") == ["DENY", "unknown"]
    assert flush(daemon) == 0
    assert (db.row("bad"), db.row("sibling")) == before


@pytest.mark.parametrize("touch", [True, False])
def test_updated_at_follows_the_option(db, start, touch):
    db.add_key("good", updated_at="2020-01-01", created_at="2020-01-01")
    daemon = start({"usage.touch_updated_at": "yes" if touch else "no"})
    check(daemon.client(), "good")
    assert flush(daemon) == 1
    updated, created, name = db.run(
        "SELECT updated_at, created_at, key_name FROM api.user_api_key")[0]
    assert (updated > datetime(2025, 1, 1)) == touch
    assert created == datetime(2020, 1, 1)
    assert name == "test"


def test_resolution_skips_rows_that_are_new_enough(db, start):
    db.add_key("recent", last_used=utc_now() - timedelta(minutes=1))
    db.add_key("old", last_used=utc_now() - timedelta(hours=2))
    db.add_key("never")
    daemon = start({"usage.resolution": "1h"})
    check_many(daemon, ["recent", "old", "never"])
    assert flush(daemon) == 2
    assert db.last_used("recent") < utc_now() - timedelta(seconds=50)
    assert info(daemon)["usage_pending"] == 0


def test_two_keys_of_one_user_and_a_rename(db, daemon):
    db.add_key("one")
    db.add_key("two")
    check_many(daemon, ["one", "two"])
    db.run("UPDATE api.user_api_key SET key_name = 'renamed' WHERE key_id = 'one'")
    assert flush(daemon) == 2
    assert db.last_used("one") and db.last_used("two")
    assert db.one("SELECT key_name FROM api.user_api_key WHERE key_id = 'one'") == "renamed"


def test_deleted_keys_are_dropped(db, daemon):
    db.add_key("gone")
    db.add_key("here")
    check_many(daemon, ["gone", "here"])
    db.run("DELETE FROM api.user_api_key WHERE key_id = 'gone'")
    assert flush(daemon) == 1
    assert info(daemon)["usage_pending"] == 0


REFUSALS = {
    "a check": "ALTER TABLE api.user_api_key ADD CHECK (key_name <> 'cursed') NOT VALID",
    "a trigger with a code of its own": """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE 'cursed' USING ERRCODE = '45000'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON api.user_api_key FOR EACH ROW
        WHEN (NEW.key_name = 'cursed') EXECUTE FUNCTION refuse()""",
}


@pytest.mark.parametrize("how", REFUSALS)
def test_one_row_that_refuses_does_not_keep_the_others_back(db, daemon, how):
    db.add_keys(100)
    db.run("UPDATE api.user_api_key SET key_name = 'cursed' WHERE key_id = 'key-42'")
    db.run(REFUSALS[how])
    check_many(daemon, [f"key-{i}" for i in range(100)])
    with pytest.raises(redis.ResponseError, match="refuses the update"):
        flush(daemon)
    assert db.run("SELECT key_id FROM api.user_api_key WHERE last_used IS NULL") == [("key-42",)]
    assert info(daemon)["usage_pending"] == 1
    db.run("UPDATE api.user_api_key SET key_name = 'fine' WHERE key_id = 'key-42'")
    flush(daemon)  # or the daemon has tried again by itself before
    assert db.last_used("key-42") and info(daemon)["usage_rows_updated"] == 100


def test_a_row_whose_trigger_waits_does_not_keep_the_others_back(db, daemon):
    """It notes its user's last use too, and that user's row is locked."""
    db.add_keys(10)
    other = db.add_user(uuid.uuid4())
    db.add_key("other", user_id=other)
    db.run("""CREATE FUNCTION note_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN PERFORM FROM api."user" WHERE user_id = NEW.user_id FOR UPDATE; RETURN NEW; END $$;
        CREATE TRIGGER note_user BEFORE UPDATE ON api.user_api_key FOR EACH ROW EXECUTE FUNCTION note_user()""")
    check_many(daemon, ["other", *(f"key-{i}" for i in range(10))])
    with db.connect(autocommit=False) as holder:
        holder.execute('SELECT FROM api."user" WHERE user_id = %s FOR UPDATE', [other])
        with pytest.raises(redis.ResponseError, match="refuses the update"):
            flush(daemon)
        assert db.run("SELECT key_id FROM api.user_api_key WHERE last_used IS NULL") == [("other",)]
    flush(daemon)
    assert db.last_used("other") is not None


def test_when_every_row_refuses_a_round_still_ends(db, start):
    """A table frozen by a trigger: a bounded number of statements, and the usage on disk."""
    db.add_keys(2000)
    db.run("CREATE FUNCTION frozen() RETURNS trigger LANGUAGE plpgsql AS "
           "$$ BEGIN RAISE 'frozen'; END $$")
    db.run("CREATE TRIGGER frozen BEFORE UPDATE ON api.user_api_key FOR EACH ROW "
           "EXECUTE FUNCTION frozen()")
    daemon = start({"usage.batch": "100"})
    check_many(daemon, [f"key-{i}" for i in range(2000)])
    rounds = "apikeyd_usage_flush_duration_seconds_count"
    before = metrics(daemon)[rounds]
    with pytest.raises(redis.ResponseError, match="refuses the update"):
        flush(daemon)
    found = metrics(daemon)  # it may have begun another round by itself
    assert 0 < found["apikeyd_usage_flush_failures_total"] < 150 * (found[rounds] - before + 1)
    wait_until(lambda: spilled(daemon) == 2000, "all keys in the spill file")
    db.run("DROP TRIGGER frozen ON api.user_api_key")
    flush(daemon)
    assert db.one("SELECT count(last_used) FROM api.user_api_key") == 2000


def test_locked_rows_wait_for_the_next_round(db, daemon):
    db.add_keys(20)
    check_many(daemon, [f"key-{i}" for i in range(20)])
    with db.connect(autocommit=False) as holder:
        holder.execute("SELECT FROM api.user_api_key WHERE key_id IN ('key-3', 'key-4') "
                       "FOR UPDATE")
        assert flush(daemon) == 18
        assert info(daemon)["usage_rows_locked"] == 2
        assert info(daemon)["usage_pending"] == 2
        assert flush(daemon) == 0
        holder.rollback()
    assert flush(daemon) == 2
    assert db.one("SELECT count(*) FROM api.user_api_key WHERE last_used IS NULL") == 0


@pytest.mark.slow
def test_two_daemons_locks_and_another_writer(db, start):
    """Ten thousand keys, flushed by two daemons while a session locks some and updates others."""
    db.add_keys(10000)
    keys = [f"key-{i}" for i in range(10000)]
    options = {"usage.flush_interval": "100ms", "usage.batch": "700", "postgres.timeout": "20s"}
    daemons = [start(options), start(options)]
    began = utc_now()
    stop = threading.Event()
    errors = []

    def disturb():
        try:
            with db.connect(autocommit=False) as session:
                while not stop.is_set():
                    session.execute("SELECT FROM api.user_api_key TABLESAMPLE BERNOULLI (2) "
                                    "FOR UPDATE SKIP LOCKED")
                    session.execute(
                        "UPDATE api.user_api_key SET key_name = 'touched' WHERE api_key_id IN "
                        "(SELECT api_key_id FROM api.user_api_key TABLESAMPLE BERNOULLI (2) "
                        "FOR UPDATE SKIP LOCKED)")
                    time.sleep(0.05)
                    session.commit()
        except psycopg.Error as error:
            errors.append(error)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    asked = None
    for _ in range(5):
        asked = utc_now()
        checkers = [threading.Thread(target=check_many, args=[d, keys]) for d in daemons]
        for thread in checkers:
            thread.start()
        for thread in checkers:
            thread.join()
    time.sleep(0.5)
    stop.set()
    disturber.join()
    assert not errors
    for daemon in daemons:
        wait_until(lambda d=daemon: flush(d) >= 0 and info(d)["usage_pending"] == 0, "the rest")
        assert info(daemon)["usage_flush_failures"] == 0
    assert db.one("SELECT count(*) FROM api.user_api_key WHERE last_used IS NULL") == 0
    assert db.one("SELECT min(last_used) FROM api.user_api_key") >= asked > began
    assert db.one("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


def test_big_and_small_batches(db, start):
    db.add_keys(2500)
    daemon = start({"usage.batch": "1000"})
    check_many(daemon, [f"key-{i}" for i in range(2500)])
    assert flush(daemon) == 2500
    assert info(daemon)["usage_statements"] == 3


def test_an_outage_spills_and_ends_with_everything_written(db, postgres, start):
    """Pending usage is on disk during the outage: even without the ledger nothing is lost."""
    db.add_keys(50)
    daemon = start({"usage.flush_interval": "100ms", "cache.stale_max": "1h"})
    keys = [f"key-{i}" for i in range(50)]
    check_many(daemon, keys)
    flush(daemon)
    postgres.stop()
    asked = utc_now()
    check_many(daemon, keys)
    wait_until(lambda: spilled(daemon) == 50, "all keys in the spill file")
    daemon.kill()
    daemon.ledger.unlink()  # the power was cut: tmpfs is gone, the disk is not
    postgres.start()
    daemon.start()
    wait_until(lambda: db.one("SELECT min(last_used) FROM api.user_api_key") >= asked, "replay")
    wait_until(lambda: not daemon.spill.exists(), "the spill file to go")


def test_read_only_postgres_keeps_answering_and_loses_nothing(db, postgres, start):
    db.add_keys(10)
    daemon = start({"usage.flush_interval": "100ms"})
    db.run("ALTER ROLE apikeyd SET default_transaction_read_only = on")
    try:
        db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'apikeyd'")
        for i in range(10):
            wait_until(lambda key=f"key-{i}": allowed(daemon, key), "reconnect")
        wait_until(lambda: info(daemon)["usage_flush_failures"] >= 1, "the refusal")
        assert "read-only" in daemon.log()
    finally:
        db.run("ALTER ROLE apikeyd RESET default_transaction_read_only")
    db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'apikeyd'")
    wait_until(lambda: db.one("SELECT count(*) FROM api.user_api_key WHERE last_used IS NULL") == 0,
               "everything to be written")


def bar_spill(daemon):
    """Its temporary file cannot be made: a directory is in its place."""
    Path(f"{daemon.spill}.new").mkdir()


def test_spill_that_cannot_be_written(db, postgres, start):
    """The ledger keeps what the disk does not take."""
    db.add_keys(10)
    daemon = start({"usage.flush_interval": "100ms", "cache.stale_max": "1h"})
    bar_spill(daemon)
    keys = [f"key-{i}" for i in range(10)]
    check_many(daemon, keys)
    flush(daemon)
    postgres.stop()
    asked = utc_now()
    for _ in range(3):
        check_many(daemon, keys)
        time.sleep(0.2)
    wait_until(lambda: info(daemon)["usage_spill_failures"] >= 1, "the failure")
    daemon.kill()
    postgres.start()
    daemon.start()
    wait_until(lambda: db.one("SELECT min(last_used) FROM api.user_api_key") >= asked, "replay")


@pytest.mark.parametrize("spill", ["works", "fails"])
def test_pending_survives_a_restart_without_postgres(db, postgres, start, spill):
    """SIGTERM during an outage: in time, with 0, and what is pending is written later."""
    db.add_keys(10)
    daemon = start({"cache.stale_max": "1h", "listen.drain_timeout": "1s"})
    if spill == "fails":
        bar_spill(daemon)
    asked = utc_now()
    check_many(daemon, [f"key-{i}" for i in range(10)])
    postgres.stop()
    assert daemon.stop() == 0
    postgres.start()
    daemon.start()
    wait_until(lambda: db.one("SELECT count(last_used) FROM api.user_api_key") == 10, "replay")
    assert db.one("SELECT min(last_used) FROM api.user_api_key") >= asked
