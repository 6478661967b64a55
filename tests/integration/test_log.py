"""The log's reader may stand still: a container runtime that hangs, a terminal after ^S, a full disk."""

import contextlib
import fcntl
import json
import os
import re
import threading
from collections import Counter

import pytest
import redis
from conftest import check, has_heard_of, info
from harness.operators import fetch
from harness.servers import wait_until
from http_wire import HttpWire
from wire import Wire, command

PIPE = 4096  # bytes that a pipe holds at least


class SlowLog:
    """A pipe in the place of a daemon's log, which nobody reads until go_on()."""

    def __init__(self, daemon):
        self.path = daemon.folder / "apikeyd.log"
        os.mkfifo(self.path)
        self.fd = os.open(self.path, os.O_RDWR)
        fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, PIPE)
        self.text = ""
        self.ended = threading.Event()
        self.reader = threading.Thread(target=self.read)

    def read(self):
        os.set_blocking(self.fd, False)
        while not self.ended.wait(0.01):
            try:
                self.text += os.read(self.fd, 65536).decode()
            except BlockingIOError:
                continue

    def go_on(self):
        self.reader.start()

    def close(self):
        self.ended.set()
        if self.reader.ident:
            self.reader.join()
        os.close(self.fd)
        self.path.unlink()
        self.path.write_text(self.text)


def shrink_queue(daemon):
    """The queue is the pipe of which the daemon has both ends. It is made small, so that few lines fill it."""
    folder = f"/proc/{daemon.process.pid}/fd"
    pipes = []
    for fd in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):  # the daemon goes on opening and closing
            pipes.append((os.readlink(f"{folder}/{fd}"), fd))
    ends = Counter(pipe for pipe, _ in pipes if pipe.startswith("pipe:"))
    fd, = [fd for pipe, fd in pipes if ends[pipe] == 2][:1]
    end = os.open(f"{folder}/{fd}", os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE)
    os.close(end)


@pytest.fixture
def full(start):
    """A daemon whose log takes no line more, and the log."""
    daemon = start({"listen.drain_timeout": "10m"}, wait=False)
    log = SlowLog(daemon)
    try:
        daemon.start()
        wait_until(daemon.settled, "the daemon to be connected")
        shrink_queue(daemon)

        def lost_one():
            with Wire(daemon.admin) as wire:
                wire.send(command("RELOAD") * 100)
                assert all(wire.reply() == b"OK" for _ in range(100))
            return info(daemon)["log_lines_dropped"]
        wait_until(lost_one, "the log to be full")
        yield daemon, log
        if daemon.process:
            daemon.stop()
    finally:
        log.close()


def test_lines_as_json(start, scratch):
    """Each is an object by itself, whatever stands in the message, with the fields that the journal gets. All go to
    stdout, and stay out of stderr."""
    daemon = start({"log.format": "json", "redis.url": "redis://redis.invalid"}, settled=False,
                   inside=["sh", "-c", 'exec "$@" 2>"${0}"', scratch / "stderr"])
    daemon.config.write_bytes(b"[cache]\nttl = \"a\\\xff\xe2\x82\"\n[log]\nformat = json\n")
    with pytest.raises(redis.ResponseError):
        daemon.admin_client().execute_command("RELOAD")
    daemon.log()
    text = (daemon.folder / "apikeyd.log").read_bytes().decode()
    lines = [json.loads(line) for line in text.splitlines()]
    answers, = [line for line in lines if line["message"].endswith(" answers")]
    refused, = [line for line in lines if line["message"].startswith("reload: ") and "cache.ttl" in line["message"]]
    assert answers["level"] == "info" and (answers["subsystem"], answers["module"]) == ("daemon", "daemon")
    assert refused["level"] == "error" and (refused["subsystem"], refused["module"]) == ("back", "reload")
    assert '"a\\\ufffd' in refused["message"] and refused["file"].endswith("daemon/back/reload.c") and refused["line"] > 0
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    assert (scratch / "stderr").read_text() == ""


def test_no_client_waits_for_the_log(db, full):
    daemon, log = full
    db.add_keys(50)
    has_heard_of(daemon, 50)
    client = daemon.client(socket_timeout=60)
    for _ in range(2):  # misses, then hits
        assert all(check(client, f"key-{i}")[0] == "ALLOW" for i in range(50))
    counts = info(daemon)
    assert counts["checks_from_postgres"] >= 50 and counts["checks_from_memory"] > 0
    assert counts["log_lines_queued"] > 0 and counts["feed_up"] == 1
    log.go_on()
    wait_until(lambda: info(daemon)["log_lines_queued"] == 0, "the lines to be written")

    def told():
        return sum(map(int, re.findall(r"warning: log: (\d+) lines were dropped", log.text)))
    wait_until(lambda: told() == info(daemon)["log_lines_dropped"], "the number of lost lines")


def test_a_stop_does_not_wait_for_the_log(full):
    daemon, _ = full
    assert daemon.stop() == 0


def test_a_second_signal_does_not_wait_for_the_log(db, postgres, full):
    daemon, _ = full
    db.add_key("good")
    check(daemon.client(), "good")
    postgres.pause()
    try:
        daemon.terminate()
        wait_until(lambda: "the daemon is stopping" in fetch(daemon, "/readyz")[2], "the drain to begin")
        daemon.terminate()
        assert daemon.wait_end() == 1
    finally:
        postgres.resume()


def test_closed_standard_files_are_not_taken_for_the_log(start):
    """Its own pipe would be stderr then, and lines would be read as what is queued there."""
    daemon = start(inside=["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"])
    assert daemon.admin_client().execute_command("RELOAD") == "OK"
    assert [os.readlink(f"/proc/{daemon.process.pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3


def refusals(daemon):
    """(fingerprint, reason and tier, who asked) of each line about one."""
    return re.findall(r"apikeyd: denial: (fp:[0-9a-f]{8}): (DENY \w+ from \w+); asked by (.*)", daemon.log())


def test_refusals_are_told_one_by_one(db, serve):
    """With who asked, and for whom as the gateway says; the key stays out of the log."""
    db.add_key("good")
    db.add_key("off-key", active=False)
    daemon, http = serve({"log.denials": "all"})
    client = daemon.client()
    me = f"process {os.getpid()} of user {os.getuid()}"
    for key in ("good", "made-up-key", "made-up-key", "off-key"):
        check(client, key)
    with HttpWire(http) as page:
        for line in ("X-Forwarded-For: 203.0.113.9, 10.0.0.1", "X-Forwarded-For: made-up-key"):
            page.send(f"GET /authorize HTTP/1.1\r\nHost: a\r\nX-API-Key: another-key\r\n{line}\r\n\r\n".encode())
            assert page.reply().status == 401
    wait_until(lambda: len(refusals(daemon)) == 5, "the lines")
    lines = refusals(daemon)
    assert lines[0][0] == lines[1][0] != lines[2][0] and lines[3][0] == lines[4][0]
    assert [line[1:] for line in lines] == [
        ("DENY unknown from postgres", me), ("DENY unknown from memory", me), ("DENY inactive from postgres", me),
        ("DENY unknown from postgres", f"{me}, for 203.0.113.9, 10.0.0.1"), ("DENY unknown from memory", me)]
    assert "-key" not in daemon.log() and info(daemon)["denials_unlogged"] == 0


def test_refusals_beyond_the_rate_are_counted(db, start):
    """Each has a line or is in the counter; so it goes on when a reload changes which."""
    daemon = start({"log.denials": "sampled"})
    with Wire(daemon.check) as wire:
        def ask(count):
            wire.send(command("CHECK", "made-up") * count)
            assert all(wire.reply() == [b"DENY", b"unknown"] for _ in range(count))
        ask(1)  # the others are hits
        ask(5000)
        wait_until(lambda: len(refusals(daemon)) + info(daemon)["denials_unlogged"] == 5001, "the lines")
        assert 10 <= len(refusals(daemon)) < 1000
        told = len(refusals(daemon)), info(daemon)["denials_unlogged"]
        daemon.options["log.denials"] = "summary"
        daemon.write_config()
        daemon.admin_client().execute_command("RELOAD")
        ask(100)
        assert (len(refusals(daemon)), info(daemon)["denials_unlogged"]) == told
