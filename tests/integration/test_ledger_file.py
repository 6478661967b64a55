"""Files that usage is kept in, and what may be wrong with them: nobody waits for an answer, and what is
not in a file is told, counted, and in one again when that can be had."""

import contextlib
import fcntl
import os
import shutil
import struct
import threading
import time
from datetime import datetime, timedelta

import pytest
from conftest import flush, info, utc_now
from harness.operators import status
from harness.servers import wait_until
from wire import Wire, command

HEADER, SLOT = 4096, 32
ROOT = os.geteuid() == 0
NOBODY = 65534
INTERVAL = timedelta(milliseconds=1)


def allow(daemon, *keys):
    """Every key is allowed; when that was asked for."""
    asked = utc_now() - INTERVAL
    with Wire(daemon.check) as wire:
        for start in range(0, len(keys), 500):
            part = keys[start:start + 500]
            wire.send(b"".join(command("CHECK", key) for key in part))
            assert all(wire.reply()[0] == b"ALLOW" for _ in part)
    return asked


def safe(daemon):
    return info(daemon)["usage_ledger_safe"] == 1


def kill_and_start_again(daemon):
    daemon.kill()
    daemon.start()


def symlink(path):
    path.symlink_to(path.with_name("elsewhere"))


def hard_link(path):
    other = path.with_name("other")
    other.write_bytes(b"")
    os.link(other, path)


def foreign(path):
    path.write_bytes(b"")
    os.chown(path, NOBODY, NOBODY)


IN_THE_WAY = [
    (symlink, "a symbolic link"),
    (os.mkdir, "a directory"),
    (os.mkfifo, "not a regular file"),
    (hard_link, "another name"),
    pytest.param(foreign, "another user", marks=pytest.mark.skipif(not ROOT, reason="needs root")),
]


@pytest.mark.slow
@pytest.mark.parametrize("make, told", IN_THE_WAY)
def test_something_else_in_the_ledgers_place(db, start, make, told):
    """It answers, writes usage, leaves the thing alone, and has a file as soon as it is gone."""
    db.add_keys(2)
    daemon = start(wait=False)
    make(daemon.ledger)
    daemon.start()
    wait_until(daemon.settled, "the daemon to be connected")
    assert f"usage.ledger {daemon.ledger}: it" in daemon.log() and told in daemon.log()
    assert not safe(daemon) and not status(daemon)["usage"]["ledger_safe"]
    asked = allow(daemon, "key-0", "key-1")
    assert flush(daemon) == 2 and db.last_used("key-0") >= asked
    asked = allow(daemon, "key-0")
    assert not daemon.ledger.with_name("elsewhere").exists()
    (os.rmdir if make is os.mkdir else os.unlink)(daemon.ledger)
    wait_until(lambda: safe(daemon), "a ledger file")
    assert info(daemon)["usage_ledger_repairs"] == 1
    flush(daemon)
    assert db.last_used("key-0") >= asked
    asked = allow(daemon, "key-1")
    kill_and_start_again(daemon)
    wait_until(lambda: db.last_used("key-1") >= asked, "what was in the new file")


@pytest.mark.skipif(not ROOT, reason="needs root")
def test_files_that_may_not_be_opened(db, start):
    """As after a start by another user, by mistake: both are of that one."""
    db.add_key("good")
    daemon = start({"redis.url": ""}, wait=False)
    for path in (daemon.ledger, daemon.spill):
        path.write_bytes(b"")
        path.chmod(0o600)
    os.chown(daemon.folder, NOBODY, NOBODY)
    daemon.runner = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", *daemon.runner]
    daemon.start()
    for path in (daemon.ledger, daemon.spill):
        assert f"{path}: " in daemon.log() and "cannot be used" not in daemon.log()
    assert not safe(daemon)
    asked = allow(daemon, "good")
    assert flush(daemon) == 1 and db.last_used("good") >= asked
    os.chown(daemon.ledger, NOBODY, NOBODY)
    wait_until(lambda: safe(daemon), "the file")


@contextlib.contextmanager
def small_tmpfs(daemon, size="1m"):
    """For the ledger. It is mounted where only the daemon sees it, so that it goes with the daemon."""
    folder = daemon.folder / "small"
    folder.mkdir()
    daemon.ledger = daemon.options["usage.ledger"] = folder / "usage.ledger"
    daemon.runner = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o size={size} none "$0" && '
                     'if [ -n "$FILL" ]; then cat /dev/zero >"$0/filler" 2>/dev/null; fi; exec "$@"', folder,
                     *daemon.runner]
    yield lambda: f"/proc/{daemon.process.child.pid}/root{folder}"


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="needs root")
def test_a_full_tmpfs_at_the_start(db, start):
    """No file that is damaged as it has no room for its header, and a file when there is room."""
    db.add_key("good")
    daemon = start(env={"FILL": "1"}, wait=False)
    with small_tmpfs(daemon) as folder:
        daemon.start()
        assert not safe(daemon)
        assert f"usage.ledger {daemon.ledger}: No space left" in daemon.log()
        asked = allow(daemon, "good")
        assert flush(daemon) == 1 and db.last_used("good") >= asked
        asked = allow(daemon, "good")
        time.sleep(1.5)  # it has tried again
        os.unlink(f"{folder()}/filler")
        wait_until(lambda: safe(daemon), "a ledger file")
        assert os.listdir(folder()) == ["usage.ledger"]
        flush(daemon)
        assert db.last_used("good") >= asked
        assert "set aside" not in daemon.log()


@pytest.mark.slow
@pytest.mark.skipif(not ROOT, reason="needs root")
def test_a_tmpfs_that_is_full_when_the_ledger_grows(db, start):
    """What finds no room is kept in memory, and written like the rest."""
    db.add_keys(20000)
    keys = [f"key-{i}" for i in range(20000)]
    daemon = start({"cache.memory": "16MiB", "usage.flush_rows": "1000000"}, wait=False)
    with small_tmpfs(daemon, "2m") as folder:
        daemon.start()
        wait_until(daemon.settled, "the daemon")
        allow(daemon, *keys[:100])
        with open(f"{folder()}/filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        asked = allow(daemon, *keys)
        wait_until(lambda: not safe(daemon), "the lack to be noticed")
        counts = info(daemon)
        assert counts["usage_unrecorded"] == 0
        assert "its file system has no room" in daemon.log()
        os.unlink(f"{folder()}/filler")
        flush(daemon)
        assert db.one("SELECT min(last_used) FROM api.user_api_key") >= asked
        wait_until(lambda: safe(daemon), "it to be safe again")
        assert info(daemon)["usage_lost"] == 0


class Load:
    """Asks for each key in turn, and remembers when each was last asked for and allowed."""

    def __init__(self, daemon, keys):
        self.daemon, self.keys, self.asked = daemon, keys, {}
        self.stop, self.failed = threading.Event(), None
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            while not self.stop.is_set():
                asked = allow(self.daemon, *self.keys)
                self.asked = dict.fromkeys(self.keys, asked)
        except Exception as error:  # pylint: disable=broad-except
            self.failed = error

    def end(self):
        self.stop.set()
        self.thread.join()
        assert self.failed is None, self.failed
        return self.asked


def remove(path):
    path.unlink()


def rename(path):
    path.rename(path.with_name("elsewhere"))


def replace(path):
    """As an editor or a restore does."""
    path.with_name("new").write_bytes(b"something else")
    path.with_name("new").rename(path)


def cut_to_nothing(path):
    os.truncate(path, 0)


def cut_in_two(path):
    os.truncate(path, HEADER + 50 * SLOT)


def overwrite(path):
    with path.open("r+b") as file:
        file.write(bytes(64))


@pytest.mark.slow
def test_lost_while_in_use(db, start):
    """Under load, in each way, one after the other. Only what a file that is cut short held is lost."""
    db.add_keys(2000)
    keys = [f"key-{i}" for i in range(2000)]
    daemon = start({"usage.flush_interval": "10s"})
    for times, harm in enumerate([remove, rename, replace, overwrite, cut_to_nothing, cut_in_two], 1):
        load = Load(daemon, keys)
        wait_until(lambda: load.asked or load.failed, "answers")
        harm(daemon.ledger)
        wait_until(lambda: info(daemon)["usage_ledger_repairs"] == times or load.failed, f"a new file ({harm})")
        assert safe(daemon)
        before = load.asked
        wait_until(lambda: load.asked != before or load.failed, "more answers")
        asked = load.end()
        flush(daemon)
        used = dict(db.run("SELECT key_id, last_used FROM api.user_api_key"))
        assert not [key for key in keys if used[key] < asked[key]], harm
        if harm is overwrite:
            assert info(daemon)["usage_lost"] == 0
    assert "was set aside as" in daemon.log()  # what was put in its place
    asked = allow(daemon, *keys)
    kill_and_start_again(daemon)
    wait_until(lambda: db.one("SELECT min(last_used) FROM api.user_api_key") >= asked, "the replay")


@pytest.mark.slow
def test_cut_short_is_counted(db, start):
    """What cannot be known any more is counted, and new uses of the same keys are noted."""
    db.add_keys(200)
    keys = [f"key-{i}" for i in range(200)]
    daemon = start()
    allow(daemon, *keys)
    os.truncate(daemon.ledger, 0)
    asked = allow(daemon, *keys[:50])
    wait_until(lambda: info(daemon)["usage_ledger_repairs"] == 1, "a new file")
    assert info(daemon)["usage_lost"] == 200
    flush(daemon)
    assert db.one("SELECT count(*) FROM api.user_api_key WHERE last_used >= %s", asked) == 50
    assert "cut short" in daemon.log()


def test_the_directories_come_later(db, start, scratch):
    """As of a disk that is mounted late: usage keeps nobody from being answered."""
    db.add_keys(2)
    folder = scratch / f"{db.name}.later"
    daemon = start({"usage.ledger": folder / "ledger", "usage.spill": folder / "spill"})
    daemon.ledger = folder / "ledger"
    first = allow(daemon, "key-0")
    assert not safe(daemon)
    folder.mkdir()
    wait_until(lambda: safe(daemon), "the ledger")
    second = allow(daemon, "key-1")
    kill_and_start_again(daemon)
    wait_until(lambda: (db.last_used("key-1") or datetime.min) >= second, "what a file held")
    assert db.last_used("key-0") >= first


@pytest.mark.slow
def test_two_daemons_and_a_file_that_moves(db, start):
    """While another daemon has the file of its name, a daemon keeps its usage in memory; and takes the
    file, with what it holds, when that daemon has ended."""
    db.add_keys(2)
    daemon = start()
    daemon.ledger.rename(daemon.ledger.with_name("elsewhere"))
    with daemon.ledger.with_name("new").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        daemon.ledger.with_name("new").rename(daemon.ledger)
        wait_until(lambda: "another daemon uses it" in daemon.log(), "it to be told")
        assert not safe(daemon)
        asked = allow(daemon, "key-0")
    wait_until(lambda: safe(daemon), "the file")
    flush(daemon)
    assert db.last_used("key-0") >= asked


def test_a_drain_takes_both_halves(db, start, scratch):
    """The first half could not be emptied: a row of it was locked and there was no spill file. The other
    one must not be left behind."""
    db.add_keys(2)
    folder = scratch / f"{db.name}.removed"
    folder.mkdir()
    daemon = start({"usage.spill": folder / "spill"})
    shutil.rmtree(folder)
    with db.connect(autocommit=False) as holder:
        holder.execute("SELECT FROM api.user_api_key WHERE key_id = 'key-0' FOR UPDATE")
        first = allow(daemon, "key-0")
        assert flush(daemon) == 0
        second = allow(daemon, "key-1")
        holder.rollback()
    assert daemon.stop() == 0
    assert db.last_used("key-0") >= first and db.last_used("key-1") >= second


def fnv(slots):
    result = 14695981039346656037
    for (word,) in struct.iter_unpack("<Q", slots):
        result = (result ^ word) * 1099511628211 % (1 << 64)
    return result


def test_times_later_than_now(db, start):
    """The host's clock was ahead when they were noted. They count as used now, in ledger and spill file;
    one that is before 2000 is damaged, and left out."""
    ids = {key: db.add_key(key) for key in ("ledger", "spill", "old")}
    daemon = start()
    allow(daemon, "ledger")
    daemon.kill()
    ahead = int((time.time() + 3 * 86400) * 1e6)
    with daemon.ledger.open("r+b") as file:
        for half in range(2):
            file.seek(HEADER + half * (SLOT << 24))
            if file.read(16) == ids["ledger"].bytes:
                file.write(struct.pack("<q", ahead))
                break
        else:
            raise AssertionError("it is in no half")
    slots = b"".join(sorted(ids[key].bytes + struct.pack("<qQ", when, 1)
                            for key, when in (("spill", ahead + 10**15), ("old", 5))))
    daemon.spill.write_bytes(struct.pack("<16sIIQQ", b"apikeyd spill\n", 1, SLOT, 2, fnv(slots)) + slots)
    before = utc_now() - INTERVAL
    daemon.start()
    wait_until(lambda: db.one("SELECT count(last_used) FROM api.user_api_key") == 2, "the replay")
    assert before <= db.last_used("ledger") <= utc_now()
    assert before <= db.last_used("spill") <= utc_now()
    assert db.last_used("old") is None
    counts = info(daemon)
    assert (counts["usage_clamped"], counts["usage_lost"]) == (2, 1)
    assert daemon.log().count("later than now") == 2
    assert "set aside" not in daemon.log()


@pytest.mark.parametrize("make, told", [(symlink, "a symbolic link"), (os.mkfifo, "not a regular file")])
def test_something_else_in_the_spill_files_place(db, start, make, told):
    db.add_key("good")
    daemon = start(wait=False)
    make(daemon.spill)
    make(daemon.spill.with_name("usage.spill.lock"))
    daemon.start()
    assert told in daemon.log()
    allow(daemon, "good")
    assert flush(daemon) == 1
