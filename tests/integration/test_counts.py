"""usage.counts: what the table of counts says is what clients were answered, whatever fails."""

import os
import random
import threading
import time
from collections import Counter

import pytest
import redis
from conftest import check, flush, info
from harness.proxy import PASS, RESET, Proxy
from harness.servers import wait_until
from wire import Wire, command

pytestmark = pytest.mark.builds("release", "debug", "asan")


def make_tables(db, more=""):
    db.run(f"""CREATE TABLE IF NOT EXISTS api.user_api_key_usage (
                   api_key_id uuid {more}, bucket timestamptz, verdict text, uses bigint NOT NULL,
                   PRIMARY KEY (api_key_id, bucket, verdict)) WITH (fillfactor = 70)""")
    db.run("CREATE TABLE IF NOT EXISTS api.apikeyd_ledger (ledger_id uuid PRIMARY KEY, number bigint NOT NULL, "
           "updated_at timestamptz)")
    db.run("GRANT SELECT, INSERT, UPDATE ON api.user_api_key_usage, api.apikeyd_ledger TO apikeyd")


def counted(db):
    return dict(db.run("SELECT verdict, sum(uses)::int FROM api.user_api_key_usage GROUP BY 1"))


def test_each_answer_counts(db, start):
    make_tables(db)
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


class Load:
    """Clients that check random keys, in pipelines, and count what they asked and what they were answered."""

    def __init__(self, daemon, keys, seed):
        self.daemon, self.keys, self.random = daemon, keys, random.Random(seed)
        self.asked, self.answered = Counter(), Counter()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        try:
            with Wire(self.daemon.check) as wire:
                while True:
                    keys = self.random.choices(self.keys, k=16)
                    self.asked.update(keys)
                    wire.send(b"".join(command("CHECK", key) for key in keys))
                    for key in keys:
                        reply = wire.reply()
                        if isinstance(reply, list):
                            self.answered[key] += 1
                        else:
                            self.asked[key] -= 1  # UNAVAILABLE is no use of the key
        except (OSError, EOFError):
            pass  # the daemon was killed


class Oracle:
    """received <= counted <= asked, of each key: an answer that was rendered and not received may count, or not."""

    def __init__(self, db, keys):
        self.db, self.keys = db, keys
        self.asked, self.answered = Counter(), Counter()

    def add(self, loads):
        for load in loads:
            load.thread.join()
            self.asked.update(load.asked)
            self.answered.update(load.answered)

    def wrong(self):
        found = Counter(dict(self.db.run(
            "SELECT k.key_id, sum(u.uses)::int FROM api.user_api_key_usage AS u JOIN api.user_api_key AS k "
            "USING (api_key_id) GROUP BY 1")))
        return {key: (self.answered[key], found[key], self.asked[key]) for key in self.keys
                if not self.answered[key] <= found[key] <= self.asked[key]}


def settle(daemons):
    """All that the daemons have is added."""
    for daemon in daemons:
        wait_until(lambda: flushed(daemon) and info(daemon)["usage_counts_pending"] == 0, "all counts to be added")


def flushed(daemon):
    try:
        flush(daemon)
    except redis.ResponseError:
        return False
    return True


KILLS = int(os.environ.get("APIKEYD_KILLS", "10"))


@pytest.mark.slow
def test_killed_at_any_moment_each_use_counts_once(db, start, scratch, postgres):
    """Two daemons and the same keys. Sessions are cut too, before and after their COMMIT."""
    make_tables(db)
    db.add_keys(40)
    keys = [f"key-{i}" for i in range(40)]
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    with Proxy(scratch / f"{db.name}-line", postgres.folder) as line:
        dsn = db.dsn.replace(str(postgres.folder), str(line.folder))
        daemons = [start({"usage.counts": "hour", "usage.flush_interval": "50ms", "postgres.dsn": dsn,
                          "cache.stale_max": "1h"}) for _ in range(2)]
        oracle = Oracle(db, keys)
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
