"""Logins that change while the daemon runs: passwords, certificates, the age of sessions; how often it connects."""

import time

import pytest
from conftest import check, info
from harness import logins
from harness.judged_load import Keys, judged_load
from harness.logins import DATABASE, LoginServer, most_in_a_second
from harness.servers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.first, pytest.mark.builds("release"), pytest.mark.xdist_group("logins")]
KEY = "a key"


@pytest.fixture(scope="module")
def secure(scratch):
    """It takes the daemon by TLS and a password only."""
    server = LoginServer(scratch / "secure")
    try:
        server.start()
        Keys(server.dsn(DATABASE), [KEY])
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(secure):
    """With a password and a certificate that are right, whatever the test before has done."""
    secure.run("ALTER ROLE apikeyd LOGIN CONNECTION LIMIT -1")
    secure.certify()
    secure.change_password()
    return secure


@pytest.fixture
def connect(start, server):
    """connect({…}) starts a daemon that logs in there."""
    def run(options=None, **rest):
        return start({"postgres.dsn": server.login_dsn(), "redis.url": "", **(options or {})}, **rest)
    return run


def allows(daemon, key=KEY):
    """Whether a lookup of it is answered: memory is emptied first."""
    admin = daemon.admin_client()
    admin.execute_command("INVALIDATE", "ALL")
    try:
        return check(daemon.client(), key)[0] == "ALLOW"
    except Exception as error:
        assert "UNAVAILABLE" in str(error), error
        return False


def failed(daemon, reason):
    return info(daemon)[f"postgres_connects_failed_{reason}"]


def test_a_password_changes_every_second_under_load(server, start):
    """./dev logins plays it for longer."""
    daemon = start(logins.options(server))
    wrong, figures = logins.play(server, daemon, 6)
    print(figures)
    assert not wrong
    assert figures["passwords"] >= 3 and figures["logins"] > 4 and figures["certificates"] > 0


@pytest.mark.builds("release", "debug", "asan")
def test_a_session_is_renewed_and_nobody_notices(db, start):
    """The one lookup session, the feed's and usage's: the bound is a notification all the time, and no change is missed."""
    keys = Keys(db.admin_dsn, [f"key-{i}" for i in range(5)])
    # A busy machine must make another session before the old one's end: at 1s it does not always.
    daemon = start({"redis.url": "", "postgres.connections": 1, "cache.ttl": "1h", "cache.stale_max": "0s",
                    "postgres.max_age": "4s"})
    before = info(daemon)
    with judged_load(daemon, keys) as load:
        judge = load.judge
        for n in range(10000):
            name = f"key-{n % 5}"
            load.revoke(name)
            keys.set_active(name, True)
            load.becomes(name, keys.answer(name))
            if info(daemon)["postgres_renewals"] >= before["postgres_renewals"] + 6:
                break
    after = info(daemon)
    assert judge.texts(daemon) == ["notification"]
    assert load.count["UNAVAILABLE"] == 0
    assert after["feed_losses"] == before["feed_losses"] == 0
    assert after["postgres_connects"] - after["postgres_renewals"] in (3, 4)  # one may just have been made
    assert after["postgres_oldest_session_us"] < 6_000_000
    assert "too old" not in daemon.log() and "as old as" not in daemon.log()


def test_a_password_that_was_taken_away_ends_with_max_age(server, connect):
    """PostgreSQL lets sessions live on; the daemon does not."""
    daemon = connect({"postgres.max_age": "2s", "cache.stale_max": "1h"})
    assert allows(daemon)
    server.set_password("another one")
    assert allows(daemon)
    wait_until(lambda: server.run("SELECT count(*) FROM pg_stat_activity WHERE usename = 'apikeyd'")[0][0] == 0,
               "all sessions to end")
    assert failed(daemon, "login") > 0
    assert check(daemon.client(), KEY)[0] == "ALLOW"  # stale
    with pytest.raises(Exception, match="UNAVAILABLE"):
        check(daemon.client(), "never asked for before")
    assert "is to be renewed (postgres.max_age), and no other one can be made" in daemon.log()
    assert "as old as postgres.max_age allows" in daemon.log()
    server.change_password()
    wait_until(daemon.settled, "the daemon to be back")
    assert allows(daemon)


def test_why_no_other_session_can_be_made_is_told(server, connect):
    """The password file goes while sessions are up: libpq says no more than that it has no password."""
    daemon = connect({"postgres.max_age": "4s"})
    server.passfile.unlink()
    wait_until(lambda: "no other one can be made" in daemon.log(), "a session that cannot be renewed")
    line = next(line for line in daemon.log().splitlines() if "no other one can be made" in line)
    assert "no password supplied" in line and "No such file or directory" in line


FAULTS = {
    "No such file or directory": lambda path: path.unlink(),
    "its mode has to be 0600": lambda path: path.chmod(0o644),
    "it is empty": lambda path: path.write_text(""),
    "none of its lines has the form host:port:database:user:password": lambda path: path.write_text("hunter2\n"),
    "no password supplied": lambda path: path.write_text("elsewhere:*:*:*:hunter2\n"),
    "28P01: password authentication failed": lambda path: path.write_text("*:*:*:*:hunter2\n"),
}


def test_a_password_file_that_is_wrong_is_told_and_read_again(server, connect):
    daemon = connect({"cache.stale_max": "1h"})
    right = server.passfile.read_text()
    for told, spoil in FAULTS.items():
        assert allows(daemon)
        seen = len(daemon.log())
        spoil(server.passfile)
        server.end_sessions()
        wait_until(lambda told=told, seen=seen: told in daemon.log()[seen:], told)
        assert check(daemon.client(), KEY)[0] == "ALLOW"  # stale
        server.write_passfile(right.split(":")[-1].strip())
        wait_until(daemon.settled, "the daemon to be back")
    log = daemon.log()
    assert "hunter2" not in log
    assert "WARNING" not in log  # libpq's own line
    assert failed(daemon, "login") >= len(FAULTS)


def test_certificates_that_change(server, connect):
    """verify-full: one that has expired, one of another name, one of an authority that nobody knows, then a right one."""
    daemon = connect()

    def anew(**certificate):
        seen = len(daemon.log())
        server.certify(**certificate)
        server.end_sessions()
        return lambda text: text in daemon.log()[seen:]

    for told, certificate in (("certificate verify failed", {"days": -1}),
                              ("does not match host name", {"alternative": "DNS:elsewhere.test"})):
        failures = failed(daemon, "tls")
        said = anew(**certificate)
        wait_until(lambda told=told, said=said: said(told), told)
        wait_until(lambda n=failures: failed(daemon, "tls") > n + 4, "attempts to be repeated")
        server.certify()
        wait_until(daemon.settled, "the daemon to be back")
        assert allows(daemon)


def test_a_client_certificate_is_read_for_each_session(server, connect, scratch):
    """The server knows another authority from now on; so does the file."""
    first, second = logins.Authority(scratch / "first"), logins.Authority(scratch / "second")
    certificate, key = scratch / "client.crt", scratch / "client.key"
    hba = server.data / "pg_hba.conf"
    before = hba.read_text()
    trusted = server.folder / "clients.crt"

    def trust(authority):
        trusted.write_bytes(authority.certificate.read_bytes())
        trusted.chmod(0o644)
        server.run("SELECT pg_reload_conf()")

    try:
        server.run(f"ALTER SYSTEM SET ssl_ca_file = '{trusted}'")
        hba.write_text(before.replace("scram-sha-256", "cert"))
        trust(first)
        first.issue(certificate, key, "apikeyd")
        daemon = connect({"postgres.dsn": f"{server.login_dsn()} sslcert={certificate} sslkey={key}"})
        trust(second)
        server.end_sessions()
        wait_until(lambda: failed(daemon, "tls") + failed(daemon, "login") > 0, "the first one to be refused")
        second.issue(certificate, key, "apikeyd")
        wait_until(daemon.settled, "the second one to be taken")
        assert allows(daemon)
    finally:
        hba.write_text(before)
        server.run("ALTER SYSTEM RESET ssl_ca_file")
        server.run("SELECT pg_reload_conf()")


def test_no_storm(server, connect):
    """Whatever fails, as the server counts attempts. Without the limit a second has 18."""
    limit = 5
    daemon = connect({"postgres.connects_per_second": limit, "postgres.connections": 4})
    began = time.time()

    def end_sessions(more):
        attempts = len(server.attempts())
        server.end_sessions()
        wait_until(lambda: len(server.attempts()) >= attempts + more, "attempts to connect")

    end_sessions(6)  # all of them together
    wait_until(daemon.settled, "the daemon to be back")
    server.run("ALTER ROLE apikeyd CONNECTION LIMIT 0")
    end_sessions(10)
    assert failed(daemon, "room") > 0
    server.run("ALTER ROLE apikeyd CONNECTION LIMIT -1")
    server.set_password("another one")
    end_sessions(10)
    assert failed(daemon, "login") > 0
    server.change_password()
    wait_until(daemon.settled, "the daemon to be back")
    times = [at for at in server.attempts() if at >= began]
    print(f"{len(times)} attempts in {time.time() - began:.1f} s, {most_in_a_second(times)} at most in a second")
    assert most_in_a_second(times) <= 2 * limit  # a busy server takes notice of some late
