"""Redis by Sentinel: the daemon follows the master, whatever single sentinels say, and relies on no write."""

import contextlib
import itertools
import socket

import pytest
import redis
from conftest import answer, check, info, let_redis_be_fresh
from harness.gateways import free_port
from harness.sentinels import HOST, MASTER, FakeSentinel, Family, Sentinel, TcpRedis
from harness.servers import wait_until
from harness.tls_redis import TlsRedis

pytestmark = [pytest.mark.slow, pytest.mark.builds("release")]
sanitized = pytest.mark.builds("release", "debug", "asan")

folders = itertools.count(1)
keys = itertools.count(1)


@pytest.fixture(scope="module")
def family_of_all(scratch):
    family = Family(scratch / "family")
    try:
        family.start()
        yield family
    finally:
        family.stop()


@pytest.fixture
def family(family_of_all):
    """All of it up and agreed after the test."""
    for one in family_of_all.servers:
        with contextlib.suppress(redis.RedisError):
            one.client().flushall()
    yield family_of_all
    for one in (*family_of_all.servers, *family_of_all.sentinels):
        if one.process is None:
            one.start()
        one.process.resume()
    family_of_all.settle()


@pytest.fixture
def servers(scratch):
    """servers(n) are n servers that know nothing of each other; whatever else is started by it is stopped too."""
    started = []

    def run(count=1, make=TcpRedis, *args, **rest):
        new = [make(scratch / f"alone{next(folders)}", *args, **rest) for _ in range(count)]
        for one in new:
            one.start()
            started.append(one)
        return new
    yield run
    for one in reversed(started):
        one.stop()


@pytest.fixture
def connect(start):
    def run(url, options=None, **rest):
        return start({"redis.url": url, "log.level": "debug", **(options or {})}, **rest)
    return run


def used(db, daemon, server):
    """What the daemon reads, or hears of, is written to this server."""
    def written():
        key, before = f"used-{next(keys)}", server.client().dbsize()
        db.add_key(key)
        assert check(daemon.client(), key)[0] == "ALLOW"
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: server.client().dbsize() > before, "a fill, or a tombstone", timeout=1)
            return True
        return False
    wait_until(written, "the server to be used")


def test_the_daemon_follows_the_master(db, family, connect):
    """A master that is killed, and one that is replaced by order and lives on as a replica. Lookups go on."""
    daemon = connect(family.url())
    master, replica = family.settle()
    used(db, daemon, master)
    master.process.child.kill()
    master.process = None
    used(db, daemon, replica)
    master.start()
    assert family.fail_over() is master
    used(db, daemon, master)
    assert info(daemon)["redis_breaker_opened"] >= 2


def test_sentinels_that_are_wrong(db, family, connect, servers):
    """One is dead, one is silent, one is a plain Redis, one knows no such master, and one is cut off from the others with a
    master of before, which takes writes. Alone that one is not believed."""
    family.fail_over()
    master, _ = family.settle()
    before, = servers()
    lonely, ignorant = (Sentinel(before.folder / name, before.port, quorum=1, name=known)
                        for name, known in (("lonely", MASTER), ("ignorant", "another")))
    silent = socket.create_server((HOST, free_port()))
    try:
        lonely.start()
        ignorant.start()
        wrong = (free_port(), silent.getsockname()[1], before.port, ignorant.port, lonely.port)
        daemon = connect(family.url(*wrong))
        used(db, daemon, master)
        assert before.client().dbsize() == 0
        for one in family.sentinels:
            one.process.pause()
        master.client().execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait_until(lambda: f"only 1 of 8 sentinels answer, and they know of an earlier master only, {HOST}:{before.port}"
                   in daemon.log(), "the log")
        assert info(daemon)["redis_up"] == 0
        db.add_key("good")
        assert check(daemon.client(), "good")[0] == "ALLOW"
        for one in family.sentinels:
            one.process.resume()
        used(db, daemon, master)
        assert before.client().dbsize() == 0
    finally:
        silent.close()
        ignorant.stop()
        lonely.stop()


def test_a_master_that_no_sentinel_knows(db, family, connect, servers):
    """Each is told, and answers come from PostgreSQL."""
    url = family.url().removesuffix(MASTER)
    plain, = servers()
    daemons = {"it knows no master of that name": connect(f"{url}other", settled=False),
               "unknown command": connect(f"redis+sentinel://{HOST}:{plain.port}/{MASTER}", settled=False),
               "Connection refused": connect(f"redis+sentinel://{HOST}:{free_port()}/{MASTER}", settled=False)}
    db.add_key("good")
    for told, daemon in daemons.items():
        wait_until(lambda told=told, daemon=daemon: told in daemon.log(), told)
        assert f"redis: sentinel {HOST}:" in daemon.log()
        assert info(daemon)["redis_up"] == 0
        assert check(daemon.client(), "good")[0] == "ALLOW"


@sanitized
def test_what_a_sentinel_says_is_checked(db, connect, servers):
    """A replica that takes writes is not used. A master that goes on answering, while the sentinels know of a newer one, is
    left; an older one is not gone back to."""
    first, second = servers(2)
    replica, = servers(1, TcpRedis, "--replica-read-only", "no", primary=first)
    with FakeSentinel(replica.port, 3) as sentinel:
        daemon = connect(sentinel.url(), settled=False)
        wait_until(lambda: f"{HOST}:{replica.port}: the sentinels name it, and it is no master" in daemon.log(), "the log")
        assert info(daemon)["redis_up"] == 0
        sentinel.master = first.port
        used(db, daemon, first)
        sentinel.master, sentinel.epoch, asked = second.port, 2, sentinel.asked
        wait_until(lambda: sentinel.asked > asked, "a look at the sentinel")
        used(db, daemon, first)
        sentinel.epoch = 4
        used(db, daemon, second)
        assert f"the sentinels name another master, {HOST}:{second.port}" in daemon.log()
        sentinel.master, sentinel.epoch = first.port, None
        second.stop()
        used(db, daemon, first)


@sanitized
def test_tls_and_logins(db, connect, scratch, servers):
    """Sentinels by TLS that ask for a user of their own; and without it, the log says what they say."""
    server, = servers(1, TlsRedis)
    server.client().execute_command("ACL", "SETUSER", "me", "on", ">hunter2", "~apikeyd:*", "+mget", "+set", "+role")
    tls = (f"tls-port {{port}}\ntls-cert-file {server.certificate}\ntls-key-file {server.key}\n"
           f"tls-ca-cert-file {server.authority.certificate}\ntls-auth-clients no\n"
           "user asks on >hunter3 -@all +auth +sentinel|master +sentinel|get-master-addr-by-name")
    sentinel = Sentinel(scratch / f"tls-sentinel{next(folders)}", server.plain_port, tls, quorum=1, plain=False)
    sentinel.file.write_text(sentinel.file.read_text().replace(f"{MASTER} {HOST} {server.plain_port}",
                                                               f"{MASTER} {server.address} {server.port}")
                             + "tls-replication yes\nuser default off\n")
    password = scratch / f"sentinel-password{next(folders)}"
    password.write_text("hunter3\n")
    url = f"rediss+sentinel://me:hunter2@{HOST}:{sentinel.port}/{MASTER}?db=0"
    options = {"redis.ca_file": server.authority.certificate, "redis.server_name": "redis.test"}
    sentinel.start()
    try:
        daemon = connect(url, {**options, "redis.sentinel_user": "asks", "redis.sentinel_password_file": password})
        used(db, daemon, server)
        stranger = connect(url, options, settled=False)
        wait_until(lambda: "NOAUTH Authentication required" in stranger.log(), "the log")
        assert "hunter" not in daemon.log() + stranger.log()
    finally:
        sentinel.stop()


def test_no_write_is_relied_on(db, family, connect):
    """A replica becomes the master that has an ALLOW, and lacks the tombstone that Redis has acknowledged. Who has heard of
    the change never uses that ALLOW, and who cannot hear of it does so for cache.ttl_unlinked."""
    master, replica = family.settle()
    db.add_key("revoked")
    options = {"cache.ttl": "1h", "cache.ttl_unlinked": "8s"}
    hears = connect(family.url(), options)
    deaf = connect(family.url(), {**options, "postgres.listen_dsn": "host=/nonexistent dbname=none"}, settled=False)
    wait_until(lambda: info(deaf)["redis_up"] and info(deaf)["postgres_answers"], "the stores")
    let_redis_be_fresh()
    assert check(hears.client(), "revoked")[0] == "ALLOW"
    allow_key, = wait_until(replica.client().keys, "the fill on the replica")

    replica.client().execute_command("CONFIG", "SET", "masteruser", "nobody", "masterauth", "none")
    master.client().execute_command("CLIENT", "KILL", "TYPE", "replica")
    db.set_active("revoked", False)
    wait_until(lambda: info(hears)["redis_tombstones"], "the tombstone to be acknowledged")
    allow = replica.client().get(allow_key)
    assert " ALLOW " in allow and master.client().get(allow_key) != allow
    master.process.child.kill()
    master.process = None
    wait_until(lambda: replica.role() == "master", "the switch")
    replica.client().execute_command("CONFIG", "SET", "masteruser", "", "masterauth", "")
    used(db, hears, replica)
    assert replica.client().get(allow_key) == allow
    assert check(hears.client(), "revoked") == ["DENY", "inactive"]
    used(db, deaf, replica)
    wait_until(lambda: answer(deaf.client(), "revoked") == ["DENY", "inactive"], "the bound")
