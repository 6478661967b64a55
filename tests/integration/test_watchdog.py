"""A thread that hangs stops the watchdog's pings. Only test builds can be made to hang."""

import time

import pytest
from conftest import info
from harness.operators import fetch
from harness.servers import wait_until
from wire import Wire

pytestmark = pytest.mark.builds("debug", "asan", "tsan")


def longest_silence(said):
    """Between two pings, in seconds: their own times are not so late as a test that looks at a clock."""
    times = said.times("WATCHDOG=1")
    return max(later - earlier for earlier, later in zip(times, times[1:]))


def pings_again(said):
    count = len(said.times("WATCHDOG=1"))
    wait_until(lambda: len(said.times("WATCHDOG=1")) >= count + 2, "pings again")


def test_a_hanging_front_thread_stops_the_pings(notified):  # noqa: F811
    daemon, said = notified(watchdog=1)
    wait_until(lambda: len(said.times("WATCHDOG=1")) >= 3, "pings")
    with Wire(daemon.admin) as wire:
        begin = time.monotonic()
        wire.send(b"DEBUG HANG 6\r\n")
        code, _, text = fetch(daemon, "/healthz")
        assert (code, text) == (503, "the front thread does not answer\n")
        assert wire.reply() == b"OK"
        assert time.monotonic() - begin > 5
    pings_again(said)
    assert longest_silence(said) > 2, "longer than the watchdog allows: systemd would act"
    assert fetch(daemon, "/healthz")[0] == 200


def test_a_stopped_back_thread_stops_them_too(notified, db):  # noqa: F811
    """It sends them itself: while it is kept busy there are none. A reload of a file that is a pipe
    nobody writes to keeps it waiting."""
    import os
    import threading

    daemon, said = notified(watchdog=1)
    wait_until(lambda: len(said.times("WATCHDOG=1")) >= 3, "pings")
    text = daemon.config.read_text()
    daemon.config.unlink()
    os.mkfifo(daemon.config)
    begin = time.monotonic()
    with Wire(daemon.admin) as wire:
        wire.send(b"RELOAD\r\n")
        writer = threading.Timer(3, lambda: daemon.config.write_text(text))
        writer.start()
        assert wire.reply() == b"OK"
    writer.join()
    assert time.monotonic() - begin > 2.5
    pings_again(said)
    assert longest_silence(said) > 2
    assert info(daemon)["feed_up"] in (0, 1)


def test_the_command_is_not_in_the_release_build():
    from harness.servers import ROOT

    program = (ROOT / "build" / "release" / "apikeyd").read_bytes()
    assert b"DEBUG HANG" not in program
    assert b"INVALIDATE" in program
