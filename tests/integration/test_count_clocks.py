"""usage.counts: buckets are by PostgreSQL's clock, in UTC, whatever other clocks and time zones say, and when it is set."""

import os
import time
from collections import Counter
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
import redis
from conftest import check, flush, info
from harness.clocks import Clocks
from harness.schema import deploy
from harness.servers import Apikeyd, Postgres, migrate, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.builds("release")]

HOUR = timedelta(hours=1)
NEAR = timedelta(seconds=0.1)  # how well the daemon knows PostgreSQL's clock is another test's subject
TABLE = "api.user_api_key_usage"


def utc(*fields):
    return datetime(*fields, tzinfo=timezone.utc)


class World:
    """A PostgreSQL whose clock is ours, whose sessions have a zone with daylight saving time; and a daemon on a host with
    another zone, whose clock is ours too."""

    def __init__(self, scratch, now):
        self.clocks, self.host = Clocks(scratch / "clocks-counts"), Clocks(scratch / "clocks-host")
        self.postgres = Postgres(scratch / "pg-clocks", ["timezone=Europe/Berlin"])
        self.postgres.env = {**os.environ, **self.clocks.env}
        self.certain, self.uncertain, self.asked = Counter(), 0, 0
        self.set(now)
        self.postgres.start()
        self.postgres.create_database("clocks")
        assert migrate(self.postgres.uri("clocks")).returncode == 0
        with psycopg.connect(self.dsn, autocommit=True) as db:
            db.execute('INSERT INTO api."user" (user_id) VALUES (gen_random_uuid())')
            db.execute("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id) SELECT gen_random_uuid(), "
                       "'clocks', 'k', user_id FROM api.\"user\"")
        deploy(self.dsn)
        self.daemon = Apikeyd(scratch / "d-clocks", {
            "postgres.dsn": self.postgres.dsn("clocks", "apikeyd"), "usage.counts": "hour", "usage.retention": "400d",
            "usage.flush_interval": "1h", "postgres.timeout": "30s"}, env={**self.host.env, "TZ": "America/St_Johns"})

    @property
    def dsn(self):
        return self.postgres.dsn("clocks")

    def set(self, now):
        """PostgreSQL's clock."""
        self.clocks.set_wall((now - datetime.now(timezone.utc)).total_seconds())

    def now(self):
        return datetime.now(timezone.utc) + timedelta(seconds=self.clocks.wall)

    def learn(self):
        """An answer of PostgreSQL's, from which the daemon knows the time."""
        self.asked += 1
        wait_until(self.answers, "an answer of PostgreSQL's")

    def answers(self):
        try:
            return check(self.client, f"unknown {self.asked}") == ["DENY", "unknown"]
        except redis.ResponseError:
            return False

    def use(self, known=True):
        """One use, and the hour in which it was: not certain near the end of one, or before PostgreSQL has told its time."""
        asked = self.now()
        assert check(self.client, "k")[0] == "ALLOW"
        hours = {(at - timedelta(minutes=at.minute, seconds=at.second, microseconds=at.microsecond))
                 for at in (asked - NEAR, self.now() + NEAR)}
        if known and len(hours) == 1:
            self.certain[hours.pop()] += 1
        else:
            self.uncertain += 1

    def cross(self, end):
        """Uses without a pause from before this moment until after it."""
        self.set(end - timedelta(seconds=0.5))
        self.learn()
        before = self.certain.copy()
        while self.certain[end] - before[end] < 10:
            self.use()
            time.sleep(0.002)

    def counted(self):
        flush(self.daemon)
        assert info(self.daemon)["usage_counts_pending"] == 0
        with psycopg.connect(self.dsn, options="-c timezone=UTC") as db:
            return {bucket: (int(uses), part) for bucket, uses, part in db.execute(
                f"SELECT bucket, sum(uses), min(tableoid::regclass::text) FROM {TABLE} GROUP BY 1")}

    def __enter__(self):
        self.daemon.start()
        wait_until(self.daemon.settled, "the daemon to be connected")
        self.client = self.daemon.client()
        return self

    def __exit__(self, *_):
        if self.daemon.process:
            assert self.daemon.stop() == 0
        self.postgres.stop()


def test_buckets_are_by_postgresqls_clock_in_utc(scratch, monkeypatch):
    """Midnight, the end of a month and of a year, daylight saving time, clocks that are set, a leap second."""
    monkeypatch.setenv("APIKEYD_USAGE_COUNTS", "hour")
    monkeypatch.setenv("APIKEYD_USAGE_RETENTION", "400d")
    new_year, spring, autumn, noon = utc(2027, 1, 1), utc(2027, 3, 28, 1), utc(2027, 10, 31, 1), utc(2028, 2, 29, 12)
    with World(scratch, new_year - timedelta(hours=1)) as world:
        world.host.set_wall(world.clocks.wall - 5 * 3600)  # off by hours
        for end in new_year, spring, autumn:
            world.cross(end)
        # PostgreSQL's clock is set, forward and back. Until it has told so, it is not known in which hour a use is.
        for then in noon, noon + HOUR, noon:
            world.set(then + timedelta(minutes=30))
            world.use(known=False)
            world.learn()
            for _ in range(10):
                world.use()
        # The host's clock, which does not matter.
        for ahead in 3600, -3600:
            world.host.set_wall(world.host.wall + ahead)
            for _ in range(10):
                world.use()
        # The kernel inserts a leap second: the last one of a day comes twice.
        leap = utc(2028, 7, 1)
        world.cross(leap)
        world.set(leap - timedelta(seconds=0.5))
        world.use(known=False)
        world.learn()
        while world.certain[leap] < 20:
            world.use()
            time.sleep(0.002)
        counted = world.counted()
    assert sum(uses for uses, _ in counted.values()) == world.certain.total() + world.uncertain
    assert set(counted) == {utc(2026, 12, 31, 23), new_year, spring - HOUR, spring, autumn - HOUR, autumn, noon, noon + HOUR,
                            leap - HOUR, leap}
    for hour, (uses, _) in counted.items():
        assert world.certain[hour] <= uses <= world.certain[hour] + world.uncertain, hour
    assert counted[new_year][1] == f"{TABLE}_2027_01"
    assert counted[spring][1] == f"{TABLE}_2027_03"
    assert counted[autumn][1] == f"{TABLE}_default"
