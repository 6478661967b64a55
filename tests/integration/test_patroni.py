"""Patroni switches the primary and replaces one that was killed, while every answer is judged.

test_failover.py has what failover by hand can do."""

import pytest
from conftest import Database
from harness.judged_load import Keys, judged_load
from harness.patroni import Cluster
from harness.replication import DATABASE, template
from harness.servers import wait_until
from primaries import NAMES, OPTIONS, follows, timelines

pytestmark = [pytest.mark.slow, pytest.mark.needs("patroni", "etcd-server", "python3-etcd"),
              pytest.mark.builds("release"), pytest.mark.first]


@pytest.fixture
def patroni(scratch):
    cluster = Cluster(scratch / "patroni", template(scratch / "patroni-template"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.print_logs()  # pytest shows them if the test fails
        cluster.stop()


@pytest.fixture
def db(patroni):
    return Database(patroni, DATABASE)


def test_patroni_switches_over_and_replaces_a_dead_leader(patroni, start):
    a, b = patroni.a, patroni.b
    keys = Keys(a.dsn(DATABASE), NAMES)
    daemon = start({**OPTIONS, "postgres.listen_dsn": patroni.dsn(user="feed")})
    with judged_load(daemon, keys) as load:
        follows(load, a)
        load.revoke("key-1")
        with keys.moving(lambda: patroni.leader().dsn(DATABASE)) as lost:
            patroni.switch_over(b)
        assert not lost
        load.revoke("key-2")
        follows(load, b)
        wait_until(lambda: a.can_replace(b), "the old leader to be a replica")
        with keys.moving(lambda: patroni.leader().dsn(DATABASE)):
            keys.set_active("key-3", False)  # the replica may get it in time, or not
            b.kill()
            wait_until(a.is_leader, "the other one to be the leader")
        load.revoke("key-4")
        follows(load, a)
        b.start()
        wait_until(b.is_replica, "the dead leader to be back as a replica")
        keys.set_active("key-1", True)
        load.revoke("key-5")
        load.all_known()
        first = timelines(load)[0]  # Patroni has promoted the first leader, too
        assert timelines(load) == [first, first + 1, first + 2]
