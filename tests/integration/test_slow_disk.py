"""The disk stands still under the spill file. Whoever asks is answered, and no usage is lost."""

import errno
import shutil
from pathlib import Path

import pytest
import redis
from conftest import check, flush, info, spilled, utc_now
from harness.operators import fetch
from harness.servers import wait_until
from harness.standstill import Standstill
from slow_disk import TABLE, disk_stands_still, locked

pytestmark = pytest.mark.slow

SLOW = "the disk does not answer since"


@pytest.fixture
def still(scratch, db):
    return Standstill(scratch / f"{db.name}.still")


def test_answers_go_on(db, start, still):
    """Misses, changes, heartbeats, INFO, the health check, and the log says once what is the matter."""
    db.add_keys(30)
    daemon = start(env=still.env)
    client = daemon.client()
    asked = utc_now()
    with locked(db, "key-0"):
        assert check(client, "key-0")[0] == "ALLOW"
        with disk_stands_still(daemon, still) as flushed:
            before = info(daemon)
            for i in range(1, 30):
                assert check(client, f"key-{i}")[0] == "ALLOW"
            db.set_active("key-1", False)
            wait_until(lambda: check(client, "key-1") == ["DENY", "inactive"], "the change")
            wait_until(lambda: SLOW in daemon.log(), "the log to tell")
            wait_until(lambda: flushed, "the FLUSH to be answered")
            assert "the disk does not answer" in flushed[0]
            with pytest.raises(redis.ResponseError, match="the disk does not answer"):
                flush(daemon)
            now = info(daemon)
            assert now["feed_heartbeats"] > before["feed_heartbeats"] and now["feed_up"]
            assert now["usage_disk_busy_us"] > 2000000 and now["usage_pending"] == 30
            assert fetch(daemon, "/healthz")[0] == 200
        wait_until(lambda: "the disk answers again" in daemon.log(), "the log to tell")
        assert flush(daemon) == 29 and info(daemon)["usage_pending"] == 1
        wait_until(lambda: info(daemon)["usage_disk_busy_us"] == 0, "the disk to be idle")
    assert flush(daemon) == 1
    assert daemon.log().count(SLOW) == 1
    assert db.one(f"SELECT min(last_used) FROM {TABLE}") >= asked


@pytest.mark.parametrize("end", ["kill -9", "stop"])
def test_an_end_while_the_disk_stands_still(db, start, still, end):
    """A stop is over in time, and tells where the usage waits: the ledger has all of it."""
    db.add_keys(10)
    daemon = start({"listen.drain_timeout": "2s"}, env=still.env)
    asked = utc_now()
    with locked(db, "key-0"):
        assert check(daemon.client(), "key-0")[0] == "ALLOW"
        with disk_stands_still(daemon, still) as flushed:
            for i in range(1, 10):
                assert check(daemon.client(), f"key-{i}")[0] == "ALLOW"
            if end == "stop":
                assert daemon.stop() == 0
                log = daemon.log()
                assert ("1 keys' last_used could not be written, as the disk does not answer; it waits in "
                        f"{daemon.ledger}") in log
                assert "PostgreSQL does not take" not in log
            else:
                daemon.kill()
        assert isinstance(flushed[0], str)
        assert not daemon.spill.exists() and db.one(f"SELECT count(last_used) FROM {TABLE}") == 0
    daemon.start()
    wait_until(lambda: db.one(f"SELECT count(last_used) FROM {TABLE}") == 10, "the replay")
    assert db.one(f"SELECT min(last_used) FROM {TABLE}") >= asked


def test_a_stop_while_postgres_stands_still(db, start):
    """What PostgreSQL does not take in time is on disk in time: the machine may be about to stop."""
    db.add_keys(10)
    daemon = start({"listen.drain_timeout": "2s"})
    asked = utc_now()
    for i in range(10):
        assert check(daemon.client(), f"key-{i}")[0] == "ALLOW"
    with db.connect(autocommit=False) as lock:
        lock.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        assert daemon.stop() == 0
        assert "PostgreSQL does not take usage in time" in daemon.log()
        assert f"10 keys' last_used could not be written; it waits in {daemon.spill}" in daemon.log()
        assert spilled(daemon) == 10
        lock.rollback()
    daemon.ledger.unlink()
    daemon.start()
    wait_until(lambda: db.one(f"SELECT min(last_used) FROM {TABLE}") is not None, "the replay")
    wait_until(lambda: db.one(f"SELECT count(last_used) FROM {TABLE}") == 10, "all of it")
    assert db.one(f"SELECT min(last_used) FROM {TABLE}") >= asked


def test_a_full_disk_is_no_slow_one(db, start, still):
    """The spill file cannot be written: usage stays in the ledger, and is written when it can be."""
    db.add_keys(3)
    daemon = start(env=still.env)
    with locked(db, "key-0"), still.fail("*", "fsync", errno.ENOSPC, "usage.spill"):
        assert check(daemon.client(), "key-0")[0] == "ALLOW"
        assert flush(daemon) == 0
        assert info(daemon)["usage_spill_failures"] == 1
        assert "stays in the ledger only" in daemon.log()
        assert check(daemon.client(), "key-1")[0] == "ALLOW"
        assert info(daemon)["usage_spill_bytes"] == 0 and not daemon.spill.exists()
    assert flush(daemon) == 2, "what was left, and what came since"


@pytest.mark.parametrize("end", ["the lock", "kill -9"])
def test_a_row_that_waits_holds_no_others_up(db, start, end):
    """The disk does not take its usage. That of others is written, and memory does not grow by it."""
    db.add_keys(5)
    daemon = start({"usage.flush_rows": "2", "usage.flush_interval": "1h"})
    Path(f"{daemon.spill}.new").mkdir()
    with locked(db, "key-0"):
        asked = utc_now()
        for i in range(5):
            assert check(daemon.client(), "key-0")[0] == check(daemon.client(), f"key-{i}")[0] == "ALLOW"
            flush(daemon)
            assert info(daemon)["usage_pending"] == 1
        assert db.one(f"SELECT count(last_used) FROM {TABLE} WHERE last_used >= %s", asked) == 4
        swaps = info(daemon)["usage_swaps"]
        assert check(daemon.client(), "key-0")[0] == "ALLOW"
        assert info(daemon)["usage_spill_failures"] >= 5 and info(daemon)["usage_swaps"] == swaps
        if end == "kill -9":
            daemon.kill()
    if end == "kill -9":
        daemon.start()
    else:
        flush(daemon)
    wait_until(lambda: db.last_used("key-0"), "its usage")


@pytest.mark.parametrize("ledger, told", [
    ("link", "it is lost, as usage.ledger is in memory"),
    ("disk/ledger", "it may be lost, as usage.ledger is not safe"),
])
def test_a_stop_that_loses_usage_says_so(db, start, ledger, told):
    """PostgreSQL does not take it, the disk does not, and the ledger is in memory, or removed."""
    db.add_key("good")
    daemon = start({"listen.drain_timeout": "1s"}, wait=False)
    folder = daemon.folder / "disk"
    folder.mkdir()
    (daemon.folder / "link").symlink_to("elsewhere")
    daemon.options.update({"usage.spill": folder / "usage.spill", "usage.ledger": daemon.folder / ledger})
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    shutil.rmtree(folder)
    assert check(daemon.client(), "good")[0] == "ALLOW"
    with db.connect(autocommit=False) as lock:
        lock.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        assert daemon.stop() == 0
    assert f"1 keys' last_used could not be written; {told}" in daemon.log()
