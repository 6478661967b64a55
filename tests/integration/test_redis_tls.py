"""Redis by TLS: versions, names, certificates that are wrong, that change, that clients must have. Never without TLS."""

import itertools
import shutil
import socket
import threading

import pytest
from conftest import check, info
from harness.gateways import free_port
from harness.logins import Authority
from harness.names import Names, available, loopback
from harness.servers import threads_named, wait_until
from harness.standstill import Standstill
from harness.tls_redis import NAME, TlsRedis

pytestmark = [pytest.mark.slow, pytest.mark.builds("release", "debug", "asan")]

folders = itertools.count(1)
keys = itertools.count(1)


@pytest.fixture(scope="module")
def tls_server(scratch):
    server = TlsRedis(scratch / "tls-redis")
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def tls(tls_server):
    """With a certificate that is right, whatever the test before has done."""
    tls_server.certify()
    tls_server.client().flushall()
    yield tls_server
    tls_server.set("tls-protocols", "", "tls-ciphers", "", "tls-auth-clients", "no", "tls-ca-cert-file",
                   tls_server.authority.certificate)


@pytest.fixture
def connect(tls, start):
    """A daemon that uses it. Its log has each reason, at level debug."""
    def run(options=None, **rest):
        return start({**tls.options(), "log.level": "debug", **(options or {})}, **rest)
    return run


def used(db, daemon, redis):
    """What the daemon reads, or hears of, is written to Redis."""
    key, before = f"used-{next(keys)}", redis.client().dbsize()
    db.add_key(key)
    assert check(daemon.client(), key)[0] == "ALLOW"
    wait_until(lambda: redis.client().dbsize() > before, "a fill, or a tombstone")


def told(daemon, redis, text):
    """The log says so after the connection is lost, lookups go on, and Redis stays out of use."""
    seen = len(daemon.log())
    redis.cut()
    wait_until(lambda: text in daemon.log()[seen:], text)
    assert info(daemon)["redis_up"] == 0


def test_versions_and_a_login(db, tls, connect):
    """TLS 1.2 and 1.3, by a user of Redis's. No earlier version."""
    tls.client().execute_command("ACL", "SETUSER", "me", "on", ">hunter2", "~apikeyd:*", "+mget", "+set")
    tls.set("tls-protocols", "TLSv1.2")
    daemon = connect({"redis.url": tls.tls_url("me:hunter2@")})
    used(db, daemon, tls)
    tls.set("tls-protocols", "TLSv1.3")
    tls.cut()
    wait_until(lambda: info(daemon)["redis_breaker_opened"] == 1 and info(daemon)["redis_writable"], "TLS 1.3")
    used(db, daemon, tls)
    tls.set("tls-protocols", "TLSv1.1", "tls-ciphers", "ALL:@SECLEVEL=0")
    told(daemon, tls, "it speaks no TLS of version 1.2 or later")
    assert "hunter2" not in daemon.log()


def test_certificates_that_are_wrong_are_told(db, tls, connect, scratch):
    """Each ends the use of Redis for as long as it is there; a right one brings it back without a restart."""
    daemon = connect()
    another = Authority(scratch / f"another{next(folders)}")
    faults = {
        "its certificate, or that of its authority, has expired": lambda: tls.certify(days=-1),
        f"its certificate is not for the address {tls.address}": lambda: tls.certify(alternative=f"DNS:{NAME}"),
        "its certificate is of no authority in redis.ca_file": lambda: tls.certify(another),
        "it asks for a certificate, and redis.cert_file names none":
            lambda: tls.set("tls-auth-clients", "yes", "tls-protocols", "TLSv1.3"),
        "it refuses the handshake: it may ask for a certificate":
            lambda: tls.set("tls-auth-clients", "yes", "tls-protocols", "TLSv1.2"),
    }
    for text, spoil in faults.items():
        used(db, daemon, tls)
        spoil()
        told(daemon, tls, text)
        db.add_key(text[:60])
        assert check(daemon.client(), text[:60])[0] == "ALLOW"
        tls.certify()
        tls.set("tls-auth-clients", "no", "tls-protocols", "")
        wait_until(lambda: info(daemon)["redis_writable"], "Redis to be in use")
    # The first sign of each was a lost connection; at level debug and above.
    assert f"redis: still of no use: {tls.address}:{tls.port}: {next(iter(faults))}" in daemon.log()


@pytest.mark.builds("release")
def test_files_that_change_are_read_again(db, tls, connect, scratch):
    """The daemon's own certificate, its key, and whom it trusts; while a file is wrong, nothing else is used."""
    folder = scratch / f"client{next(folders)}"
    folder.mkdir()
    first, second = Authority(folder / "first"), Authority(folder / "second")
    certificate, key, trusted = folder / "client.crt", folder / "client.key", folder / "trusted.crt"
    first.issue(certificate, key, "apikeyd")
    shutil.copy(tls.authority.certificate, trusted)
    tls.set("tls-ca-cert-file", first.certificate, "tls-auth-clients", "yes")
    daemon = connect({"redis.ca_file": trusted, "redis.cert_file": certificate, "redis.key_file": key})
    used(db, daemon, tls)

    tls.set("tls-ca-cert-file", second.certificate)
    told(daemon, tls, "it refuses the certificate of redis.cert_file: ")
    second.issue(certificate, key, "apikeyd")
    wait_until(lambda: info(daemon)["redis_writable"], "the new certificate")
    used(db, daemon, tls)

    right = key.read_bytes()
    key.write_bytes((folder / "first" / "ca.key").read_bytes())
    told(daemon, tls, f"redis.key_file {key}: it is not the key of the certificate in redis.cert_file")
    key.unlink()
    wait_until(lambda: f"redis.key_file {key}: No such file or directory" in daemon.log(), "the log")
    key.write_bytes(right)
    wait_until(lambda: info(daemon)["redis_writable"], "the key")

    tls.certify(second)
    told(daemon, tls, "its certificate is of no authority in redis.ca_file")
    trusted.write_text("none\n")
    wait_until(lambda: f"redis.ca_file {trusted}: no certificate in PEM form is in it" in daemon.log(), "the log")
    shutil.copy(second.certificate, trusted)
    wait_until(lambda: info(daemon)["redis_writable"], "the new authority")
    used(db, daemon, tls)


def test_names_and_addresses(db, tls, start, scratch):
    """The certificate is for the URL's host, or for redis.server_name."""
    options = tls.options(**{"log.level": "debug"})
    used(db, start({**options, "redis.url": tls.tls_url(host="[::1]")}), tls)
    tls.certify(alternative=f"DNS:{NAME}")
    used(db, start({**options, "redis.server_name": NAME}), tls)
    other = start({**options, "redis.server_name": "other.test"}, settled=False)
    wait_until(lambda: "its certificate is not for other.test (redis.server_name names another)" in other.log(), "the log")
    if available():
        names = Names(scratch / f"tls-names{next(folders)}")
        names.say({NAME: [tls.address]})
        used(db, start({**options, "redis.url": tls.tls_url(host=NAME)}, inside=names.runner), tls)


class Recorder:
    """Listens at an address, keeps what it is sent first on each connection, and answers `says`."""

    def __init__(self, says):
        self.says, self.heard, self.ends = says, [], False
        self.listener = socket.create_server((loopback(), free_port()))
        self.listener.settimeout(0.1)
        self.thread = threading.Thread(target=self.serve)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends = True
        self.thread.join()
        self.listener.close()

    def serve(self):
        while not self.ends:
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                continue
            with connection:
                self.heard.append(connection.recv(65536))
                connection.sendall(self.says)


def test_never_without_tls(db, tls, start):
    """A server without TLS gets to see nothing but the start of a handshake, however often it is tried; and the other way
    round the log says what the URL lacks."""
    with Recorder(b"-ERR Protocol error\r\n") as recorder:
        address, port = recorder.listener.getsockname()
        daemon = start(tls.options(**{"redis.url": f"rediss://:hunter2@{address}:{port}"}), settled=False)
        wait_until(lambda: len(recorder.heard) >= 3, "three tries")
        assert all(heard.startswith(b"\x16\x03") and b"hunter2" not in heard for heard in recorder.heard)
    wait_until(lambda: "it does not speak TLS at this port" in daemon.log(), "the log")
    silent = start(tls.options(**{"redis.url": f"rediss://{tls.address}:{tls.plain_port}"}), settled=False)
    plain = start({"redis.url": f"redis://{tls.address}:{tls.port}"}, settled=False)
    wait_until(lambda: "rediss:// is needed" in plain.log() or "needs rediss://" in plain.log(), "the log")
    wait_until(lambda: "TLS" in silent.log(), "the log")
    db.add_key("good")
    for one in (daemon, silent, plain):
        assert info(one)["redis_up"] == 0
        assert check(one.client(), "good")[0] == "ALLOW"


def test_a_disk_that_stands_still(db, tls, connect, scratch):
    """Under the files: what was read before is used, and lookups wait for nothing."""
    still = Standstill(scratch / f"{db.name}.still")
    daemon = connect(env=still.env)
    with still.stand("apikeyd-worker", "fopen", "ca.crt"):
        tls.cut()
        wait_until(still.stands, "the disk to stand still")
        wait_until(lambda: info(daemon)["redis_writable"], "Redis to be in use")
        used(db, daemon, tls)
        assert threads_named("apikeyd-worker", info(daemon)["process_id"]) == 1
    wait_until(lambda: threads_named("apikeyd-worker", info(daemon)["process_id"]) == 0, "the late reading")
    assert info(daemon)["redis_up"] == 1
