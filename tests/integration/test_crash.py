"""kill -9 and damaged files: no usage is lost, and the daemon starts."""

import os
import random
import threading
import time

import pytest
from conftest import check, info, spilled, utc_now
from harness.servers import wait_until
from wire import Wire, command


class Load:
    """A client that checks random keys and remembers when each last got its ALLOW."""

    def __init__(self, daemon, keys, seed):
        self.daemon = daemon
        self.keys = keys
        self.random = random.Random(seed)
        self.asked = {}
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            with Wire(self.daemon.check) as wire:
                while True:
                    keys = self.random.choices(self.keys, k=20)
                    asked = utc_now()
                    wire.send(b"".join(command("CHECK", key) for key in keys))
                    for key in keys:
                        reply = wire.reply()
                        if isinstance(reply, list) and reply[0] == b"ALLOW":
                            self.asked[key] = asked
        except (OSError, EOFError):
            pass  # the daemon was killed


@pytest.mark.slow
def test_kill_9_under_load_loses_nothing(db, start):
    """20 times at random moments, in and out of flushes. Every other time what was written is looked at
    before more is asked for, which would hide what was lost; the other times the replay is cut short too."""
    db.add_keys(500)
    keys = [f"key-{i}" for i in range(500)]
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    daemon = start({"usage.flush_interval": "50ms", "usage.batch": "10"})
    asked = {}

    def lost():
        """Of what was allowed before the daemon was started, when all that it has is written."""
        wait_until(lambda: info(daemon)["usage_pending"] == 0 and info(daemon)["usage_swaps"] >= 2, "the replay")
        daemon.admin_client().execute_command("FLUSH")
        used = dict(db.run("SELECT key_id, last_used FROM api.user_api_key"))
        return [key for key, when in asked.items() if not used[key] or used[key] < when]

    for round_ in range(20):
        if round_ % 2:
            assert not lost()
        loads = [Load(daemon, keys, moments.random()) for _ in range(2)]
        wait_until(lambda: all(len(load.asked) > 10 for load in loads), "answers")
        time.sleep(moments.uniform(0.02, 0.3))
        daemon.kill()
        for load in loads:
            load.thread.join()
            for key, when in load.asked.items():
                asked[key] = max(when, asked.get(key, when))
        daemon.start()
    assert len(asked) > 100
    assert not lost()


def test_killed_between_the_swap_and_the_commit(db, start):
    """The UPDATE is under way and never commits: the ledger still has it all."""
    db.add_keys(20)
    daemon = start()
    asked = utc_now()
    for i in range(20):
        assert check(daemon.client(), f"key-{i}")[0] == "ALLOW"
    update = "query LIKE 'WITH pending%' AND state = 'active'"
    with db.connect(autocommit=False) as lock:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        with Wire(daemon.admin) as wire:
            wire.send(b"FLUSH\r\n")
            wait_until(lambda: db.one(f"SELECT count(*) FROM pg_stat_activity WHERE {update}"),
                       "the UPDATE to be under way")
            daemon.kill()
        db.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {update}")
        wait_until(lambda: not db.one(f"SELECT count(*) FROM pg_stat_activity WHERE {update}"),
                   "the UPDATE to be gone")
    assert db.one("SELECT count(last_used) FROM api.user_api_key") == 0
    assert not daemon.spill.exists()
    daemon.start()
    wait_until(lambda: db.one("SELECT count(last_used) FROM api.user_api_key") == 20, "the replay")
    assert db.one("SELECT min(last_used) FROM api.user_api_key") >= asked


def damage_truncate(path):
    os.truncate(path, 5000)


def damage_noise(path):
    path.write_bytes(random.Random(1).randbytes(100000))


def damage_zero_length(path):
    os.truncate(path, 100)


@pytest.mark.parametrize("damage", [damage_truncate, damage_noise, damage_zero_length])
def test_damaged_files_are_set_aside(db, start, damage):
    db.add_key("good")
    daemon = start()
    check(daemon.client(), "good")
    daemon.kill()
    daemon.spill.write_bytes(b"\0" * 8192)
    damage(daemon.ledger)
    damage(daemon.spill)
    damaged = daemon.ledger.read_bytes()[:100000]
    daemon.start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    assert daemon.admin_client().execute_command("FLUSH") in (0, 1)
    aside = daemon.ledger.with_name(daemon.ledger.name + ".damaged-1")
    assert aside.read_bytes()[:100000] == damaged
    assert daemon.spill.with_name(daemon.spill.name + ".damaged-1").exists()
    assert "was set aside" in daemon.log()
    assert info(daemon)["usage_pending"] == 0


def test_what_a_damaged_spill_held_is_on_disk_again(db, postgres, start):
    """Saved entries must not live in memory only: a second crash would lose them."""
    db.add_keys(20)
    daemon = start({"usage.flush_interval": "100ms", "cache.stale_max": "1h"})
    for i in range(20):
        check(daemon.client(), f"key-{i}")
    daemon.admin_client().execute_command("FLUSH")
    asked = utc_now()
    postgres.stop()
    for i in range(20):
        assert check(daemon.client(), f"key-{i}")[0] == "ALLOW"
    wait_until(lambda: spilled(daemon) == 20, "all keys in the spill file")
    daemon.kill()
    with daemon.spill.open("r+b") as file:
        file.seek(36)
        file.write(b"\xff")  # in the checksum
    for _ in range(2):
        daemon.ledger.unlink()
        daemon.start()
        wait_until(lambda: spilled(daemon) == 20, "the spill file")
        daemon.kill()
    daemon.ledger.unlink()
    postgres.start()
    daemon.start()
    wait_until(lambda: db.one("SELECT min(last_used) FROM api.user_api_key") >= asked, "the replay")


def test_a_spill_that_cannot_be_read_is_kept(db, start):
    daemon = start(wait=False)
    daemon.spill.symlink_to(daemon.spill)  # ELOOP, for root too
    daemon.start()
    db.add_key("good")
    check(daemon.client(), "good")
    assert daemon.admin_client().execute_command("FLUSH") == 1
    assert daemon.spill.with_name(daemon.spill.name + ".damaged-1").is_symlink()


def test_kill_while_postgres_is_stopped(db, postgres, start):
    """Ledger and spill are merged at start, whatever each of them holds."""
    db.add_keys(30)
    daemon = start({"usage.flush_interval": "100ms", "cache.stale_max": "1h"})
    keys = [f"key-{i}" for i in range(30)]
    for key in keys:
        check(daemon.client(), key)
    daemon.admin_client().execute_command("FLUSH")
    postgres.stop()
    asked = {}
    for part in range(3):
        for key in keys[part * 10:part * 10 + 10]:
            asked[key] = utc_now()
            assert check(daemon.client(), key)[0] == "ALLOW"
        time.sleep(0.15)
    daemon.kill()
    postgres.start()
    daemon.start()

    def written():
        used = dict(db.run("SELECT key_id, last_used FROM api.user_api_key"))
        return all(used[key] >= when for key, when in asked.items())
    wait_until(written, "the replay")
