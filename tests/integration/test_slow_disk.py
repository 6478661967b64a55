"""The disk stands still under the spill file. Whoever asks is answered, and no usage is lost."""

import contextlib
import errno
import shutil
import threading

import pytest
import redis
from conftest import check, flush, info, spilled, utc_now
from harness.operators import fetch
from harness.servers import wait_until
from harness.standstill import Standstill

pytestmark = pytest.mark.slow

TABLE = "api.user_api_key"
SLOW = "the disk does not answer since"


@pytest.fixture
def still(scratch, db):
    return Standstill(scratch / f"{db.name}.still")


@contextlib.contextmanager
def locked(db, key):
    """Its row: so that its usage stays pending, and has to go to the spill file."""
    with db.connect(autocommit=False) as holder:
        holder.execute(f"SELECT FROM {TABLE} WHERE key_id = %s FOR UPDATE", [key])
        yield
        holder.rollback()


@contextlib.contextmanager
def disk_stands_still(daemon, still):
    """From the first fsync on, whichever thread does it; a FLUSH waits for it."""
    answer = []

    def ask():
        try:
            answer.append(flush(daemon))
        except redis.RedisError as error:
            answer.append(str(error))

    asking = threading.Thread(target=ask)
    with still.stand("*", "fsync", "usage.spill"):
        asking.start()
        wait_until(still.stands, "the disk to stand still")
        yield answer
    asking.join()


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
            assert now["link_heartbeats"] > before["link_heartbeats"] and now["link_up"]
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


def test_a_stop_that_loses_usage_says_so(db, start):
    """PostgreSQL does not take it, the disk does not, and the ledger is in memory."""
    db.add_key("good")
    daemon = start({"listen.drain_timeout": "1s"}, wait=False)
    daemon.ledger.symlink_to("elsewhere")
    folder = daemon.folder / "disk"
    folder.mkdir()
    daemon.options["usage.spill"] = folder / "usage.spill"
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    shutil.rmtree(folder)
    assert check(daemon.client(), "good")[0] == "ALLOW"
    with db.connect(autocommit=False) as lock:
        lock.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        assert daemon.stop() == 0
    assert "1 keys' last_used could not be written; it is lost, as usage.ledger is in memory" in daemon.log()
