"""Redis that is there and of no use: it refuses, it trickles, it talks nonsense, its name leads elsewhere.

A real server fails wherever one can be made to fail so; a fake one does what none does."""

import itertools
import time
from pathlib import Path

import pytest
from conftest import check, info
from harness.fake_redis import FakeRedis
from harness.gateways import free_port
from harness.names import Names, NameServer, available, loopback
from harness.proxy import PASS, RESET, TcpProxy
from harness.servers import Redis, threads_named, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.builds("release", "debug", "asan")]

folders = itertools.count(1)
BEGINS = "lookups go on without it"
OVER = "redis: in use again"
NAME = "redis.test"
MIB = 1 << 20


@pytest.fixture
def fake(scratch):
    with FakeRedis(scratch / f"fake{next(folders)}.sock") as fake:
        yield fake


def peak(daemon):
    """Bytes of memory that it has had at most."""
    status = Path(f"/proc/{info(daemon)['process_id']}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def begun(daemon):
    return daemon.log().count(BEGINS)


def told_once(daemon):
    """Whether the log tells that Redis is of no use, and again only after it has told that it is back."""
    return 0 <= begun(daemon) - daemon.log().count(OVER) <= 1 and 0 < begun(daemon) < 3


def test_values_of_100_mib_are_not_read(db, redis_server, start):
    """Somebody else who may write to this Redis made them; the lookup goes on to PostgreSQL, the
    connection is cut, and the log says so once, however often it happens."""
    db.add_key("big")
    db.add_key("small")
    check(start().client(), "big")
    daemon, store = start(), redis_server.client()
    wait_until(store.keys, "the fill")
    key, = store.keys()
    store.setrange(key, 100 * MIB - 1, "x")
    client, before = daemon.client(), peak(daemon)
    for times in range(1, 4):
        wait_until(lambda: info(daemon)["redis_up"], "Redis to be in use")
        assert check(client, "big")[0] == "ALLOW"
        assert peak(daemon) - before < 16 * MIB
        assert info(daemon)["redis_replies_too_long"] == times
        daemon.admin_client().execute_command("INVALIDATE", "ALL")
    wait_until(lambda: "a reply is longer than" in daemon.log(), "the reason")
    assert told_once(daemon)
    store.delete(key)
    wait_until(lambda: info(daemon)["redis_up"], "Redis to be in use")
    assert check(client, "small")[0] == "ALLOW"
    wait_until(store.keys, "the fill")
    assert info(daemon)["redis_replies_too_long"] == 3


def test_one_that_is_slower_than_lookups_wait_stays_out_of_use(db, redis_server, start):
    """Else few lookups a second, too few to end it by five late ones soon, would each wait for redis.timeout."""
    db.add_keys(100)
    with TcpProxy(loopback(), redis_server.folder, "redis.sock") as proxy:
        daemon = start({"redis.url": f"redis://{proxy.address}:{proxy.port}", "redis.timeout": "100ms"})
        proxy.delay = lambda: 0.25
        client, keys = daemon.client(), iter(range(100))

        def ended():
            assert check(client, f"key-{next(keys)}")[0] == "ALLOW"
            return not info(daemon)["redis_up"]
        wait_until(ended, "the late replies to end it")
        before = info(daemon)
        wait_until(lambda: info(daemon)["redis_errors"] >= before["redis_errors"] + 2, "two tries to fail")
        assert info(daemon)["redis_breaker_opened"] == before["redis_breaker_opened"]
        proxy.delay = lambda: 0
        wait_until(lambda: info(daemon)["redis_up"], "Redis to be in use")


def test_a_reply_at_a_byte_a_second(db, fake, start):
    """Ends by redis.timeout for the lookup; the connection is replaced before a fifth one is late."""
    db.add_key("good")
    daemon = start({"redis.url": fake.url(), "redis.timeout": "50ms"})
    fake.says, opened = fake.trickle, fake.opened
    assert check(daemon.client(), "good")[0] == "ALLOW"
    assert info(daemon)["redis_timeouts"] == 1
    wait_until(lambda: fake.opened > opened, "another connection")
    assert info(daemon)["redis_timeouts"] == 1
    wait_until(lambda: "a reply is late" in daemon.log(), "the reason")
    assert told_once(daemon)


def test_nonsense_costs_a_connection(db, fake, start):
    """The daemon uses nothing of it, and waits for nothing."""
    daemon = start({"redis.url": fake.url()})
    client, before = daemon.client(), peak(daemon)
    for says in (fake.text(b"HTTP/1.1 400 Bad Request\r\n\r\n"), fake.text(b"*2147483647\r\n"), fake.flood,
                 fake.text(b"*1\r\n$-1\r\n:1\r\n"), fake.text(20 * b"*1\r\n" + b":1\r\n")):
        wait_until(lambda: info(daemon)["redis_up"], "Redis to be in use")
        fake.says, opened = says, fake.opened
        db.add_key(f"good{opened}")
        assert check(client, f"good{opened}")[0] == "ALLOW"
        wait_until(lambda opened=opened: fake.opened > opened, "another connection")
    assert peak(daemon) - before < 16 * MIB
    assert told_once(daemon), daemon.log()
    assert info(daemon)["redis_replies_too_long"] == 2


class Rig:
    """A Redis of its own and a daemon that uses it."""

    def __init__(self, scratch, start, code, *settings):
        self.code = code
        self.redis = Redis(scratch / f"redis{next(folders)}", *settings)
        self.redis.start()
        self.start = start

    def run(self, **options):
        self.daemon = self.start({"redis.url": self.redis.url()}, **options)
        self.store = self.redis.client()

    def lines(self):
        return [line for line in self.daemon.log().splitlines() if "redis:" in line]


@pytest.fixture
def rig(scratch, start):
    """rig(code) is a Rig whose Redis is to say so."""
    rigs = []

    def make(code, *settings):
        rigs.append(Rig(scratch, start, code, *settings))
        return rigs[-1]
    yield make
    for one in rigs:
        one.redis.stop()


def play(db, daemons, seconds):
    """Lookups of keys that are new to the daemons, all of which are answered right."""
    clients = [daemon.client() for daemon in daemons]
    end, prefix = time.monotonic() + seconds, f"play{next(folders)}-"
    db.add_keys(200, prefix)
    for i in range(200):
        for client in clients:
            assert check(client, f"{prefix}{i}")[0] == "ALLOW"
        if time.monotonic() > end:
            return
        time.sleep(0.02)


def test_only_what_answers_lookups_is_used(db, rig):
    """A Redis that answers PING but refuses MGET, or is a replica, is down until it is better. The log says
    so once, and once that it is over."""
    rigs = [rig("NOPERM"), rig("READONLY"), rig("NOAUTH")]
    for one in rigs:
        one.run()
    denied, replica, guarded = (one.store for one in rigs)
    denied.execute_command("ACL", "SETUSER", "default", "-mget")
    replica.replicaof("127.0.0.1", "1")
    guarded.config_set("requirepass", "other")
    guarded.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    play(db, [one.daemon for one in rigs], 2)
    for one in rigs:
        counts = info(one.daemon)
        assert counts["redis_up"] == 0 and counts["redis_breaker_opened"] == 1, one.code
        assert len(one.lines()) < 5 and told_once(one.daemon), one.lines()
        assert one.code in one.lines()[-1] or one is rigs[2]
    denied.execute_command("ACL", "SETUSER", "default", "+mget")
    replica.replicaof("NO", "ONE")
    guarded.config_set("requirepass", "")
    for one in rigs:
        wait_until(lambda one=one: info(one.daemon)["redis_writable"], "Redis to be in use")
    play(db, [one.daemon for one in rigs], 0)
    for one in rigs:
        wait_until(one.store.keys, "a fill")
        wait_until(lambda one=one: one.daemon.log().count(OVER) == begun(one.daemon), "the log")


def test_what_refuses_writes_is_read(db, rig):
    """It is told once, writes are tried once a second, and lookups go on asking."""
    rigs = [rig("OOM"), rig("NOREPLICAS"), rig("NOPERM")]
    for one in rigs:
        one.run()
    full, lonely, denied = (one.store for one in rigs)
    full.config_set("maxmemory", 1)
    lonely.config_set("min-replicas-to-write", 1)
    denied.execute_command("ACL", "SETUSER", "default", "-set")
    play(db, [one.daemon for one in rigs], 1)
    for one in rigs:
        before = info(one.daemon)
        assert before["redis_up"] == 1 and before["redis_breaker_opened"] == 0, one.code
        assert before["redis_writable"] == 0
        assert f"redis: writes are refused: {one.code}" in one.lines()[-1] and len(one.lines()) < 5
        play(db, [one.daemon], 0)
        after = info(one.daemon)
        assert after["redis_breaker_opened"] == 0 and after["redis_round_trips"] > before["redis_round_trips"]
        assert after["redis_errors"] - before["redis_errors"] < 10  # those of the writes that are tried
    full.config_set("maxmemory", 0)
    lonely.config_set("min-replicas-to-write", 0)
    denied.execute_command("ACL", "SETUSER", "default", "+set")
    for one in rigs:
        wait_until(lambda one=one: info(one.daemon)["redis_writable"], "writes to be taken")
        play(db, [one.daemon], 0)
        wait_until(one.store.keys, "a fill")


def test_a_cluster_is_not_used(db, rig):
    """redis.url names one server that has all keys."""
    cluster = rig("CLUSTERDOWN", "--port", free_port(), "--cluster-port", free_port(), "--bind", "127.0.0.1",
                  "--cluster-enabled", "yes")
    cluster.run(settled=False)
    wait_until(lambda: begun(cluster.daemon), "the log")
    assert cluster.code in cluster.lines()[0]
    play(db, [cluster.daemon], 0.5)
    counts = info(cluster.daemon)
    assert counts["redis_up"] == 0 and counts["redis_breaker_opened"] == 0
    assert len(cluster.lines()) == 1  # it never was up


@pytest.fixture
def names(scratch):
    if not available():
        pytest.skip("needs a mount namespace and port 53: root")
    return Names(scratch / f"redis-names{next(folders)}")


@pytest.fixture
def door(redis_server):
    """A TCP port of Redis's."""
    with TcpProxy(loopback(), redis_server.folder, "redis.sock") as proxy:
        yield proxy


def test_every_address_of_a_name_is_tried(names, door, start):
    """As localhost is ::1 first, where nobody listens."""
    names.say({NAME: ["::1", loopback(), loopback(), door.address]})
    daemon = start({"redis.url": f"redis://{NAME}:{door.port}"}, inside=names.runner)
    assert info(daemon)["redis_up"] == 1
    assert begun(daemon) == 0


def test_a_name_that_moves_is_found(names, door, redis_server, start):
    with TcpProxy(loopback(), redis_server.folder, "redis.sock", door.port) as elsewhere:
        names.say({NAME: [door.address]})
        daemon = start({"redis.url": f"redis://{NAME}:{door.port}"}, inside=names.runner)
        assert not elsewhere.ends
        names.say({NAME: [elsewhere.address]})
        door.become(RESET)
        wait_until(lambda: elsewhere.ends and info(daemon)["redis_up"], "Redis at its new address")


def workers(daemon):
    return threads_named("apikeyd-worker", info(daemon)["process_id"])


def test_a_silent_name_server(db, names, door, start):
    """Costs nothing but Redis, and not that either where its address is known; answers that are late harm
    nothing, and one that never comes does not hold up the end."""
    with NameServer({NAME: [door.address]}) as server:
        names.ask(server.address, options="timeout:30 attempts:2")
        server.hold()
        db.add_key("good")
        daemon = start({"redis.url": f"redis://{NAME}:{door.port}"}, inside=names.runner, settled=False)
        wait_until(lambda: f"its name {NAME} is not resolved" in daemon.log(), "the log")
        assert check(daemon.client(), "good")[0] == "ALLOW"
        server.speak()
        wait_until(daemon.settled, "Redis to be in use")
        wait_until(lambda: workers(daemon) == 0, "the name to have been resolved")
        opened = info(daemon)["redis_breaker_opened"]

        server.hold()
        lose(door, server)
        wait_until(lambda: info(daemon)["redis_up"], "Redis at the address that is known")
        assert workers(daemon) == 1
        connections = len(door.ends)
        server.speak()
        wait_until(lambda: workers(daemon) == 0, "the late answer")
        play(db, [daemon], 0)
        assert info(daemon)["redis_up"] == 1 and info(daemon)["redis_breaker_opened"] == opened + 1
        assert len(door.ends) == connections

        server.names[NAME] = [loopback()]  # where nobody is
        lose(door, server)
        asked = server.asked
        wait_until(lambda: server.asked > asked + 2, "another try")
        assert info(daemon)["redis_up"] == 0  # what has moved is not looked for where it was, …
        server.hold()
        wait_until(lambda: info(daemon)["redis_up"], "Redis where it was")  # … but while nobody knows where

        assert workers(daemon) == 1 and daemon.stop() == 0


def lose(door, server):
    """The connection through the door is lost, and the name is asked for again."""
    asked = server.asked
    door.become(RESET)
    wait_until(lambda: server.asked > asked, "the name to be asked for")
    door.become(PASS)


def test_entries_of_the_change_feed_without_a_place_to_go_on_from(start, fake):
    """Else they would be read again and again without a pause."""
    entry = b"*2\r\n$60\r\n" + 60 * b"1" + b"\r\n*2\r\n$1\r\ne\r\n$1\r\nx\r\n"
    fake.entries = b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n" + entry
    daemon = start({"redis.url": fake.url(), "feed.source": "redis"}, settled=False)
    wait_until(lambda: fake.reads >= 3, "them to be read")
    assert fake.reads < 100
    wait_until(lambda: "its replies to XREAD are no entries" in daemon.log(), "the log")
