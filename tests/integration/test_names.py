"""Host names of PostgreSQL: every form in which a connection string has one, and what happens to names.

The daemon under test has an /etc/hosts, a resolv.conf and a name server of its own (harness/names.py)."""

import itertools
import shutil
import signal
import subprocess

import pytest
import redis
from conftest import check, info
from harness.names import Names, NameServer, available, loopback
from harness.proxy import TcpProxy
from harness.servers import Postgres, threads_named, wait_until

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not available(), reason="needs a mount namespace and port 53: root")]

folders = itertools.count(1)
NAME = "db.test"
# Sessions of the daemon: two for lookups, one for usage, one for the change feed.
SESSIONS = 4
# A query that is not answered is asked again after 30 s only.
PATIENT = "timeout:30 attempts:2"
UNRESOLVED = f'the name "{NAME}" is not resolved'


@pytest.fixture
def names(scratch):
    return Names(scratch / f"names{next(folders)}")


@pytest.fixture
def name_server(names):
    with NameServer() as server:
        names.ask(server.address, options=PATIENT)
        yield server


@pytest.fixture
def door(db):
    """A TCP port of PostgreSQL's."""
    with TcpProxy(loopback(), db.server.folder) as proxy:
        yield proxy


@pytest.fixture
def run(start, names, db):
    """run(dsn) starts a daemon that has these names, without Redis."""
    db.add_key("good")

    def run(dsn, **options):
        return start({"postgres.dsn": f"{dsn} dbname={db.name} user=apikeyd", "redis.url": "",
                      "postgres.timeout": "300ms", **options.pop("options", {})},
                     settled=False, inside=names.runner, **options)
    return run


def answer(daemon, key="good"):
    """The first word of the answer to a CHECK."""
    try:
        return check(daemon.client(), key)[0]
    except redis.ResponseError as error:
        return str(error).split()[0]


def allows(daemon):
    """A postgres.timeout of 300 ms is over soon on a busy machine."""
    wait_until(lambda: answer(daemon) == "ALLOW", "the key to be allowed")


def workers(daemon):
    return threads_named("apikeyd-worker", daemon.process.pid)


FORMS = {
    "host": ("host={name} port={port}", {}),
    "list": ("host={name},{name} port=1,{port}", {}),
    "environment": ("", {"PGHOST": "{name}", "PGPORT": "{port}"}),
    "service": ("service=far", {"PGSERVICEFILE": "{services}"}),
    "default service": ("", {"PGSERVICE": "far", "PGSERVICEFILE": "{services}"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_whatever_form_a_name_has_it_is_resolved_beside_the_loop(run, names, name_server, door, form):
    """The daemon answers while a name server is silent, and connects when that server has answered."""
    services = names.folder / "services"
    services.write_text(f"[far]\nhost={NAME}\nport={door.port}\n")
    words = {"name": NAME, "port": door.port, "services": services}
    dsn, env = FORMS[form]
    name_server.names[NAME] = [door.address]
    name_server.hold()
    daemon = run(dsn.format(**words), env={key: value.format(**words) for key, value in env.items()})
    wait_until(lambda: name_server.asked >= SESSIONS, "the names to be asked for")
    assert answer(daemon) == "UNAVAILABLE"
    assert info(daemon)["postgres_connections_up"] == 0
    name_server.speak()
    wait_until(daemon.settled, "the daemon to be connected")
    allows(daemon)


def test_a_uri(start, names, name_server, door, db):
    db.add_key("good")
    name_server.names[NAME] = [door.address]
    daemon = start({"postgres.dsn": f"postgresql://apikeyd@{NAME}:{door.port}/{db.name}"}, inside=names.runner)
    allows(daemon)


@pytest.mark.parametrize("address", ["::1", None])
def test_an_address_beside_a_name_is_not_asked_for(run, name_server, db, door, address):
    with TcpProxy(address or loopback(), db.server.folder) as proxy:
        daemon = run(f"host={NAME} hostaddr={proxy.address} port={proxy.port}")
        wait_until(daemon.settled, "the daemon to be connected")
        allows(daemon)
    assert name_server.asked == 0


def test_a_name_with_an_ipv6_address_whose_first_one_refuses(run, names, db, door):
    """As localhost often has it: ::1 first, and the server listens on 127.0.0.1 only; or the other way."""
    with TcpProxy("::1", db.server.folder) as six:
        names.say({NAME: [loopback(), "::1"], "other.test": ["::1", door.address]})
        for dsn in (f"host={NAME} port={six.port}", f"host=other.test port={door.port}"):
            daemon = run(dsn)
            wait_until(daemon.settled, "the daemon to be connected")
            allows(daemon)
            assert daemon.stop() == 0


def test_a_name_that_moves_is_found_again(run, names, db, door):
    """/etc/hosts is the failover: nobody tells the daemon."""
    names.say({NAME: [loopback()]})
    daemon = run(f"host={NAME} port={door.port}")
    wait_until(lambda: "refused" in daemon.log(), "an attempt at the old address")
    assert answer(daemon) == "UNAVAILABLE"
    names.say({NAME: [door.address]})
    wait_until(lambda: answer(daemon) == "ALLOW", "the new address to be found")
    with TcpProxy(loopback(), db.server.folder, port=door.port) as next_door:
        names.say({NAME: [next_door.address]})
        door.become("reset")  # all sessions end, and new ones too
        wait_until(lambda: answer(daemon, "other") == "DENY", "the third address to be found")


def test_a_resolv_conf_that_is_right_only_later(run, names, door):
    """As in a container. The log says once that the name is not resolved, however many sessions want it."""
    with NameServer({NAME: [door.address]}) as server:
        daemon = run(f"host={NAME} port={door.port}")
        wait_until(lambda: info(daemon)["postgres_unresolved"] == SESSIONS, "all sessions to miss the name")
        names.ask(server.address)
        wait_until(daemon.settled, "the daemon to be connected")
        allows(daemon)
    assert info(daemon)["postgres_unresolved"] == 0
    assert daemon.log().count(UNRESOLVED) == 1
    assert daemon.log().count("resolved again") == 1


def test_a_silent_name_server_costs_a_thread_a_session(run, names, name_server, db, door):
    """Attempts that last too long are told once, and are not begun again beside each other: not when the
    change feed, which knows its server, is back and hurries them either."""
    name_server.names[NAME] = [door.address]
    name_server.hold()
    feed = {"postgres.listen_dsn": f"{db.dsn} application_name=feed"}
    daemon = run(f"host={NAME} port={door.port}", options=feed)
    wait_until(lambda: info(daemon)["feed_up"], "the change feed")
    for losses in range(1, 4):
        db.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'feed' "
               "AND datname = current_database()")
        wait_until(lambda losses=losses: info(daemon)["feed_losses"] >= losses, "the feed to be lost")
        wait_until(lambda: info(daemon)["feed_up"], "the feed to be back")
    wait_until(lambda: workers(daemon) == SESSIONS - 1, "no more threads than sessions that wait")
    wait_until(lambda: info(daemon)["postgres_unresolved"] == SESSIONS - 1, "the attempts to count as failed")
    assert workers(daemon) == SESSIONS - 1
    assert daemon.log().count(UNRESOLVED) == 1
    allows(daemon)  # by the feed's session
    name_server.speak()
    wait_until(daemon.settled, "the daemon to be connected")


LIBRARY = """
#include <unistd.h>
__attribute__((destructor)) static void end(void) { (void)!write(2, "the library ends\\n", 17); }
"""


@pytest.fixture
def library(scratch):
    """What a process is started with to tell of a library's end, in exit(3)."""
    path = scratch / f"ends{next(folders)}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-o", path, "-"], input=LIBRARY, text=True, check=True)
    return {"LD_PRELOAD": str(path), "ASAN_OPTIONS": "verify_asan_link_order=0"}


def test_the_end_does_not_wait_for_a_name_server(run, names, name_server, door, library):
    """Else it would be killed: the name is asked for 30 s, twice, of each of three servers. Nor does a library end
    while a thread is in it."""
    name_server.hold()
    names.ask(*[name_server.address] * 3, options=PATIENT)
    daemon = run(f"host={NAME} port={door.port}", env=library)
    wait_until(lambda: name_server.asked >= SESSIONS, "the names to be asked for")
    before = daemon.log().count("the library ends")  # in what has started the daemon
    daemon.process.send(signal.SIGTERM)
    assert daemon.wait_end() == 0
    assert daemon.log().count("the library ends") == before
    name_server.speak()
    daemon.start()
    wait_until(lambda: workers(daemon) == 0, "the names")
    before = daemon.log().count("the library ends")
    assert daemon.stop() == 0
    assert daemon.log().count("the library ends") == before + 1


@pytest.fixture
def tls_server(scratch):
    """A PostgreSQL of its own that has a certificate for NAME; its address and the certificate."""
    folder = scratch / f"tls{next(folders)}"
    certificate, key = folder / "server.crt", folder / "server.key"
    server = Postgres(folder, [f"listen_addresses={loopback()}", "ssl=on", f"ssl_cert_file={certificate}",
                               f"ssl_key_file={key}"])
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
                    "-keyout", key, "-out", certificate], check=True, stderr=subprocess.DEVNULL)
    shutil.chown(key, server.user)
    key.chmod(0o600)
    certificate.chmod(0o644)
    try:
        server.start()
        yield server.settings[0].partition("=")[2], certificate
    finally:
        server.stop()


def test_a_certificate_is_held_against_the_name(start, names, tls_server):
    """The name that the connection string has, though libpq is told the address."""
    address, certificate = tls_server
    names.say({NAME: [address], "alias.test": [address]})
    tls = f"user=postgres dbname=postgres sslmode=verify-full sslrootcert={certificate}"
    daemon = start({"postgres.dsn": f"host=alias.test {tls}", "postgres.listen_dsn": f"host={NAME} {tls}",
                    "redis.url": ""}, settled=False, inside=names.runner)
    wait_until(lambda: "postgres (feed): connected" in daemon.log(), "the certificate to be accepted")
    wait_until(lambda: 'does not match host name "alias.test"' in daemon.log(), "it to be refused for another name")
    assert "postgres (lookups): connected" not in daemon.log()


def test_a_session_that_another_host_gave_waits_for_no_name(run, names, db, door):
    """A standby whose name has gone is told, but is no lasting fault: nothing waits for it."""
    names.say({NAME: [door.address]})
    daemon = run(f"host=gone.test,{NAME} port={door.port}")
    wait_until(daemon.settled, "the daemon to be connected")
    assert 'the name "gone.test" is not resolved' in daemon.log()
    assert info(daemon)["postgres_unresolved"] == 0
