"""What systemd sees: notifications, the watchdog, sockets it hands over, restarts."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import sys
import uuid

import pytest
from conftest import BUILD, check, info
from harness.activation import Activated, hand_over
from harness.restarts import restart
from harness.servers import ROOT, Process, wait_until
from wire import Wire


def test_ready_reloading_stopping(db, notified):
    daemon, said = notified()
    wait_until(lambda: said.lines("READY=1"), "the start")
    assert said.lines("READY=1") == ["READY=1"]
    status = wait_until(lambda: said.lines("STATUS="), "the status")
    assert re.search(r"^STATUS=(not )?ready: \d+ checks/s", status[0])
    daemon.process.send(signal.SIGHUP)
    wait_until(lambda: len(said.lines("READY=1")) == 2, "the reload")
    assert said.lines("RELOADING=1") and said.lines("MONOTONIC_USEC=")
    daemon.stop()
    wait_until(lambda: said.lines("STOPPING=1") and said.lines("EXTEND_TIMEOUT_USEC="), "the stop")
    assert int(said.lines("EXTEND_TIMEOUT_USEC=")[0].split("=")[1]) == 15000000


@pytest.mark.slow
def test_status_tells_what_is_down(redis_server, notified):
    _, said = notified()
    wait_until(lambda: any("Redis is up" in line for line in said.lines("STATUS=")), "the status")
    redis_server.stop()
    wait_until(lambda: "Redis is down" in said.lines("STATUS=")[-1], "the change")


@pytest.mark.slow
def test_the_watchdog_is_fed(notified):
    _, said = notified(watchdog=2)
    wait_until(lambda: len(said.times("WATCHDOG=1")) >= 10, "pings")
    times = said.times("WATCHDOG=1")
    assert times[-1] - times[0] > 2.5, "a ping each half second, not more"


@contextlib.contextmanager
def deaf(path):
    """A supervisor that reads nothing, and has no room for another message; hear() empties its queue."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
        ear.bind(str(path))
        ear.setblocking(False)
        mouth.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                mouth.sendto(b"full", str(path))
        yield ear


def hear(ear):
    said = []
    with contextlib.suppress(BlockingIOError):
        while True:
            said += ear.recv(4096).decode().splitlines()
    return said


def test_a_supervisor_that_stands_still_holds_up_nobody(db, scratch, start):
    db.add_key("good")
    path = scratch / f"deaf-{uuid.uuid4().hex[:8]}"
    with deaf(path) as ear:
        daemon = start(env={"NOTIFY_SOCKET": str(path)})
        assert check(daemon.client(), "good")[0] == "ALLOW"
        assert set(hear(ear)) == {"full"}
        # What matters is said again.
        wait_until(lambda: "READY=1" in hear(ear), "the news that it is ready")
        assert daemon.stop() == 0
        assert "STOPPING=1" in hear(ear)


def test_sockets_handed_over_are_used_and_left_alone(db, scratch, redis_server, start):
    """By systemd-socket-activate, which starts the daemon when somebody connects."""
    db.add_key("good")
    daemon = start(wait=False)
    daemon.options["listen.check"] = daemon.folder / "other.sock"  # what is handed over counts
    daemon.write_config()
    http = daemon.folder / "http.sock"
    daemon.process = Process(
        ["systemd-socket-activate", "-l", daemon.check, "-l", daemon.admin, "-l", http,
         "--fdname=check:admin:http", BUILD / "apikeyd", "-c", daemon.config],
        daemon.folder / "apikeyd.log", env={**os.environ, "TSAN_OPTIONS": "halt_on_error=1"})
    wait_until(daemon.check.exists, "the sockets")
    with Wire(daemon.check) as wire:
        assert wire.ask("PING") == b"PONG"
    wait_until(lambda: check(daemon.client(), "good")[0] == "ALLOW", "the stores")
    assert info(daemon)["connected_clients"] >= 1
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(http))
        client.sendall(b"GET /authorize HTTP/1.1\r\nHost: x\r\nX-API-Key: good\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
    assert daemon.stop() == 0
    assert daemon.check.exists() and daemon.admin.exists() and http.exists()


def connects(path):
    """A socket's file is there before the socket listens."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def activate_wrongly(daemon, names, *listen):
    daemon.write_config()
    process = Process(
        ["systemd-socket-activate", *[word for path in listen for word in ("-l", path)],
         f"--fdname={names}", BUILD / "apikeyd", "-c", daemon.config],
        daemon.folder / "wrong.log")
    wait_until(lambda: connects(listen[0]), "the sockets")
    assert process.child.wait(30) == 78
    return process.log()


def test_sockets_that_are_not_understood(start):
    daemon = start(wait=False)
    log = activate_wrongly(daemon, "nonsense", daemon.folder / "x.sock")
    assert '"nonsense"' in log and "FileDescriptorName=" in log
    log = activate_wrongly(daemon, "check:check", daemon.folder / "y.sock", daemon.folder / "z.sock")
    assert "there is a second socket" in log


def unix_socket(path, mode=0o600, kind=socket.SOCK_STREAM, owner=None):
    """Bound and, if it can, listening."""
    made = socket.socket(socket.AF_UNIX, kind)
    made.bind(str(path))
    if kind != socket.SOCK_DGRAM:
        made.listen()
    if not str(path).startswith("\0"):
        os.chmod(path, mode)
        if owner:
            shutil.chown(path, owner)
    return made


def tcp_socket():
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made


def idle(made):
    """The same one, but not listening."""
    path = made.getsockname()
    made.close()
    os.unlink(path)
    made = socket.socket(socket.AF_UNIX)
    made.bind(path)
    return made


@pytest.mark.parametrize("name, make, why", [
    ("admin", lambda path: tcp_socket(), '"admin" is no Unix socket'),
    ("admin", lambda path: unix_socket(path, mode=0o666), "has mode 0666, which lets everybody"),
    ("admin", lambda path: unix_socket(path, mode=0o602), "has mode 0602, which lets everybody"),
    ("admin", lambda path: unix_socket(f"\0{path}"), '"admin" has no file'),
    ("admin", lambda path: unix_socket(path, kind=socket.SOCK_DGRAM), "is no listening stream socket"),
    ("admin", lambda path: idle(unix_socket(path)), "is no listening stream socket"),
    ("admin", lambda path: unix_socket(path, owner="nobody"), "which is neither root nor the daemon's user"),
    ("check", lambda path: tcp_socket(), '"check" is no Unix socket'),
    ("http", lambda path: unix_socket(path, kind=socket.SOCK_SEQPACKET), "is no listening stream socket"),
    ("metrics", lambda path: idle(unix_socket(path)), "is no listening stream socket"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_handed_over_is_looked_at(start, name, make, why):
    """An admin socket that others can reach would give them the admin commands."""
    if "neither root" in why and os.geteuid() != 0:
        pytest.skip("gives a file away, as root only may")
    daemon = start(wait=False)
    daemon.write_config()
    with make(daemon.folder / "handed.sock") as handed:
        process = hand_over(daemon, {name: handed})
        try:
            assert process.child.wait(30) == 78
        finally:
            process.child.kill()
    assert "socket activation:" in process.log() and why in process.log()


@pytest.mark.parametrize("option", ["listen.check", "listen.admin"])
def test_commands_are_not_for_tcp(start, option):
    daemon = start({option: "127.0.0.1:1"}, wait=False)
    daemon.write_config()
    daemon.launch()
    assert daemon.wait_end() == 78
    assert f'{option} "127.0.0.1:1": an absolute path is needed' in daemon.log()


def test_an_admin_socket_for_a_group(start):
    daemon = start(wait=False)
    daemon.write_config()
    with unix_socket(daemon.admin, mode=0o660) as handed:
        daemon.process = hand_over(daemon, {"admin": handed})
        with Wire(daemon.admin) as wire:
            assert b"apikeyd_version" in wire.ask("INFO")
        assert daemon.stop() == 0
        assert daemon.admin.exists()


def test_an_admin_socket_whose_file_is_gone_is_opened_again(start):
    """Such a restart must not be the end: its mode cannot be seen, but nobody can reach it either."""
    daemon = start(wait=False)
    daemon.write_config()
    with unix_socket(daemon.admin, mode=0o660) as handed:
        daemon.admin.unlink()
        daemon.process = hand_over(daemon, {"admin": handed})
        wait_until(daemon.admin.exists, "the daemon's own socket")
        with Wire(daemon.admin) as wire:
            assert b"apikeyd_version" in wire.ask("INFO")
        assert daemon.admin.stat().st_mode & 0o777 == 0o600
        assert '"admin" is not used: its file is gone' in daemon.log()
        assert daemon.stop() == 0


@pytest.mark.slow
def test_restarts_under_load_refuse_nobody_and_lose_nothing(db, scratch, redis_server):
    """A short round; ./dev restarts has a long one."""
    db.add_keys(500)
    seed = random.randrange(2**32)
    print("seed", seed)
    daemon = Activated(scratch / f"activated-{db.name}", {
        "postgres.dsn": db.dsn, "redis.url": redis_server.url(), "cache.memory": "4MiB",
        "postgres.timeout": "30s", "redis.timeout": "10s"})
    try:
        daemon.start()
        found = restart(daemon, 10, seed, db.dsn)
        print(found)
        assert found["refused"] == 0 and found["wrong"] == [] and found["usage lost"] == 0
        assert found["connections"] > 10 and found["keys allowed"] == 500
    finally:
        if daemon.process:
            daemon.stop()
        daemon.close()


def test_log_lines_have_fields_in_the_journal(redis_server, start):
    daemon = start({"log.target": "journal"}, wait=False)
    daemon.write_config()
    entries = daemon.folder / "entries"
    daemon.process = Process(
        ["unshare", "-m", sys.executable, ROOT / "tests" / "harness" / "journal.py", daemon.folder,
         BUILD / "apikeyd", "-c", daemon.config], daemon.folder / "apikeyd.log")

    def entry(text):
        found = [json.loads(line) for line in entries.read_text().splitlines()] if entries.exists() else []
        return [one for one in found if text in one["MESSAGE"]]
    connected = wait_until(lambda: entry("redis: connected"), "the journal")[0]
    assert connected["PRIORITY"] == "6" and connected["SYSLOG_IDENTIFIER"] == "apikeyd"
    assert connected["APIKEYD_MODULE"] == "redis_link"
    assert connected["CODE_FILE"] == "daemon/redis/redis_link.c" and int(connected["CODE_LINE"]) > 0
    assert connected["CODE_FUNC"] == "come_up"
    redis_server.stop()
    assert wait_until(lambda: entry("lookups go on without it"), "a warning")[0]["PRIORITY"] == "4"
    assert daemon.stop() == 0
    assert (daemon.folder / "apikeyd.log").read_text() == ""


def test_without_a_journal_the_log_goes_to_stderr(start):
    """As in a container whose configuration came from a host."""
    daemon = start({"log.target": "journal"},
                   inside=["unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"])
    assert "apikeyd: the change feed is up" in daemon.log()


def test_secrets_are_credentials(start, scratch):
    folder = scratch / f"credentials-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    (folder / "redis-secret").write_text("s" * 32)
    env = {"CREDENTIALS_DIRECTORY": str(folder)}
    assert check(start({"redis.secret_file": "redis-secret"}, env=env).client(), "x")[0] == "DENY"
    daemon = start({"redis.secret_file": "other"}, env=env, wait=False)
    daemon.write_config()
    process = Process([BUILD / "apikeyd", "-c", daemon.config], daemon.folder / "bad.log",
                      env={**os.environ, **env})
    assert process.child.wait(30) == 78
    assert "redis.secret_file: No such file" in process.log()
