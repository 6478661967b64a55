"""Clients that mean harm, or whose programmers did not think; others must not notice.

Those that send nonsense, do not read, hang up or go on for ever are in test_protocol.py and test_http.py
too. How much others notice is measured by ./dev bench hostile and ./dev bench flood."""

import contextlib
import multiprocessing
import os
import resource
import socket
import subprocess
import threading
import time

import pytest
from conftest import check, info
from harness.servers import BUILD, wait_until
from http_wire import HttpWire
from wire import Wire, command

UNKNOWN = [b"DENY", b"unknown"]


def resident(daemon):
    with open(f"/proc/{daemon.process.pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * 4096


def grown(daemon, before):
    """By how much. Sanitizers and valgrind keep what was freed: there it says nothing."""
    keeps = BUILD.name in ("asan", "tsan") or "valgrind" in daemon.runner
    return 0 if keeps else resident(daemon) - before


@pytest.mark.parametrize("begin", [b"CHECK ", b"*2\r\n$5\r\nCHECK\r\n$99999999\r\n", b"", b"*" + b"1" * 100])
def test_a_hundred_megabytes_on_one_line(daemon, begin):
    """Refused after listen.max_request, and nothing of it kept."""
    before = resident(daemon)
    with Wire(daemon.check) as wire:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.send(begin)
            for _ in range(100):
                wire.send(b"x" * (1 << 20))
        with contextlib.suppress(ConnectionResetError):
            assert wire.reader.read().startswith(b"-ERR Protocol error")
    assert grown(daemon, before) < 4 << 20
    assert check(daemon.client(), "next") == ["DENY", "unknown"]


def test_long_events_do_not_add_up(serve):
    """Each takes milliseconds: a small request that comes behind 24 of them waits for a few."""
    daemon, path = serve()
    body = b"[" + b",".join([b"{}"] * 20000) + b"]"
    request = b"POST /aws/authorizer HTTP/1.1\r\nHost: g\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with contextlib.ExitStack() as crowd, Wire(daemon.admin) as operator:
        wires = [crowd.enter_context(HttpWire(path)) for _ in range(24)]

        def listed(field):
            lines = operator.reply().decode().splitlines()
            return [int(dict(word.split("=") for word in line.split())[field]) for line in lines
                    if "socket=http" in line]

        def read():
            operator.send(command("CLIENT", "LIST"))
            return listed("qbuf") == [len(request) - 1] * len(wires)

        for wire in wires:
            wire.send(request[:-1])
        wait_until(read, "all but the last bytes to be read")
        daemon.process.pause()
        for wire in wires:
            wire.send(request[-1:])
        operator.send(command("CLIENT", "LIST"))
        daemon.process.resume()
        assert sum(listed("requests")) < 6
        assert all(wire.reply().status == 400 for wire in wires)


def test_a_billion_arguments(daemon):
    with Wire(daemon.check) as wire:
        wire.send(b"*1000000000\r\n")
        assert "Protocol error" in str(wire.reply()) and wire.closed()


def test_hundreds_of_slow_ones(db, daemon):
    """A byte now and then from each: every request is answered, and meanwhile others are at once."""
    db.add_key("good")
    request = command("CHECK", "good")
    slow = [Wire(daemon.check) for _ in range(200)]
    with Wire(daemon.check) as polite:
        for i in range(len(request)):
            for wire in slow:
                wire.send(request[i:i + 1])
            assert polite.ask("CHECK", "good")[0] == b"ALLOW"
    for wire in slow:
        assert wire.reply()[0] == b"ALLOW"
        wire.close()


def test_ten_thousand_at_once(db, start):
    """All that one process may have are served; the ones beyond are told why; another process is served; all go,
    all is as before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 11000:
        pytest.fail(f"11,000 descriptors are needed, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 11000), hard))
    db.add_key("good")
    daemon = start({"listen.max_connections": "11428"})  # of which a process may have seven eighths
    check(daemon.client(), "good")
    wait_until(lambda: info(daemon)["connected_clients"] == 1, "the harness's own to be gone")
    crowd = []
    try:
        while len(crowd) < 10000:
            one = socket.socket(socket.AF_UNIX)
            one.connect(str(daemon.check))  # waits while the backlog is full, as no time-out is set
            one.settimeout(60)
            crowd.append(one)
        for one in crowd:
            one.sendall(b"CHECK good\r\n")
        assert all(one.recv(200).startswith(b"*3\r\n$5\r\nALLOW") for one in crowd)
        with Wire(daemon.check) as late:
            assert "max number of clients" in str(late.reply())
        counts = info(daemon)
        assert counts["connected_clients"] == 10001  # the operator's is one more
        assert counts["connections_refused_share"] == 1 and counts["connections_refused_full"] == 0
        assert f"process {os.getpid()} of user {os.getuid()} has 10000 connections" in daemon.log()
        others = [subprocess.run(["redis-cli", "-s", str(daemon.check), "CHECK", "good"], timeout=60,
                                 capture_output=True, text=True, check=True).stdout for _ in range(3)]
        assert all(reply.startswith("ALLOW") for reply in others)
    finally:
        for one in crowd:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_until(lambda: info(daemon)["connected_clients"] == 1, "all to be gone")
    assert check(daemon.client(), "good")[0] == "ALLOW"


def test_gone_with_lookups_in_flight(db, daemon):
    """Over and over, by several at once, while answers come."""
    db.add_key("good")

    def hang_up(name):
        for i in range(100):
            with Wire(daemon.check) as wire:
                wire.send(b"".join(command("CHECK", f"{name}-{i}-{k}") for k in range(20)))
                if i % 2:
                    assert wire.reply() == UNKNOWN
    threads = [threading.Thread(target=hang_up, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert check(daemon.client(), "good")[0] == "ALLOW"
    for thread in threads:
        thread.join()
    wait_until(lambda: info(daemon)["lookups_pending"] == 0, "lookups to end")
    wait_until(lambda: info(daemon)["connected_clients"] == 1, "connections to end")


def test_one_client_has_no_more_than_its_share(db, postgres, start):
    """Of the room for lookups; it waits, and is not refused; another one finds room."""
    daemon = start({"postgres.max_pending": "300", "postgres.timeout": "30s", "redis.url": ""})
    assert check(daemon.client(), "first") == ["DENY", "unknown"]
    postgres.pause()
    try:
        with Wire(daemon.check) as greedy, Wire(daemon.check) as other:
            greedy.send(b"".join(command("CHECK", f"flood{i}") for i in range(1000)))
            wait_until(lambda: info(daemon)["lookups_pending"] >= 100, "its share to be used")
            time.sleep(0.2)
            assert info(daemon)["lookups_pending"] <= 101  # a third
            other.send(b"".join(command("CHECK", f"other{i}") for i in range(50)))
            wait_until(lambda: info(daemon)["lookups_pending"] >= 150, "the other's")
            postgres.resume()
            assert [other.reply() for _ in range(50)] == [UNKNOWN] * 50
            assert [greedy.reply() for _ in range(1000)] == [UNKNOWN] * 1000
        assert info(daemon)["lookups_overloaded"] == 0
    finally:
        postgres.resume()


def test_one_process_cannot_take_all_the_room(db, postgres, start):
    """Not even by lookups that nobody waits for any more: WITHIN has passed, or it has hung up."""
    daemon = start({"postgres.max_pending": "300", "postgres.timeout": "30s", "redis.url": ""})
    assert check(daemon.client(), "first") == ["DENY", "unknown"]
    postgres.pause()

    def abuse():
        for round_ in range(20):
            with Wire(daemon.check) as wire:
                wire.send(b"".join(command("CHECK", f"{round_}-{i}", "WITHIN", "1") for i in range(100)))
                if round_ % 2:
                    for _ in range(100):
                        wire.reply()
    abuser = multiprocessing.get_context("fork").Process(target=abuse)
    abuser.start()
    abuser.join()
    try:
        assert abuser.exitcode == 0
        wait_until(lambda: info(daemon)["lookups_pending"] > 200, "all that was sent to be read")
        assert info(daemon)["lookups_pending"] <= 241  # four fifths
        with Wire(daemon.check) as other:
            other.send(b"".join(command("CHECK", f"other{i}") for i in range(20)))
            wait_until(lambda: info(daemon)["lookups_pending"] >= 250, "the other's")
            refused = info(daemon)["lookups_overloaded"]
            postgres.resume()
            assert [other.reply() for _ in range(20)] == [UNKNOWN] * 20
            assert info(daemon)["lookups_overloaded"] == refused
    finally:
        postgres.resume()


def test_a_stop_answers_what_is_beyond_a_share(db, start):
    """All that was read is answered, also what had to wait for its turn."""
    daemon = start({"postgres.max_pending": "150", "postgres.timeout": "30s", "redis.url": ""})
    with db.connect(autocommit=False) as lock, Wire(daemon.check) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        wire.send(b"".join(command("CHECK", f"key{i}") for i in range(100)))
        wait_until(lambda: info(daemon)["lookups_pending"] >= 50, "its share to be used")
        daemon.terminate()
        time.sleep(0.3)
        lock.rollback()
        assert [wire.reply() for _ in range(100)] == [UNKNOWN] * 100
    assert daemon.wait_end() == 0


def test_clients_take_turns(db, postgres, start):
    """Who asks for one key does not wait for the hundreds that another has asked for before: last_used
    tells when each was answered."""
    db.add_keys(900, "flood")
    db.add_key("single")
    daemon = start({"postgres.max_pending": "3000", "postgres.timeout": "30s", "postgres.batch": "1",
                    "postgres.connections": "1", "redis.url": ""})
    assert check(daemon.client(), "first") == ["DENY", "unknown"]
    with db.connect(autocommit=False) as lock, Wire(daemon.check) as greedy, Wire(daemon.check) as single:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        greedy.send(b"".join(command("CHECK", f"flood{i}") for i in range(900)))
        wait_until(lambda: info(daemon)["lookups_pending"] == 900, "the flood")
        single.send(command("CHECK", "single"))
        wait_until(lambda: info(daemon)["lookups_pending"] == 901, "the single one")
        lock.rollback()
        assert single.reply()[0] == b"ALLOW"
        assert [greedy.reply()[0] for _ in range(900)] == [b"ALLOW"] * 900
    assert daemon.admin_client().execute_command("FLUSH") == 901
    before = db.one("SELECT count(*) FROM api.user_api_key WHERE last_used < "
                    "(SELECT last_used FROM api.user_api_key WHERE key_id = 'single')")
    assert before < 20, f"{before} of the flood came before it"


def test_a_flood_of_made_up_keys(db, start):
    """Memory stays within its budget, hot keys stay in memory, and PostgreSQL sees batches."""
    db.add_keys(1000)
    daemon = start({"cache.memory": "4MiB", "cache.negative_memory": "1MiB", "cache.ttl": "1h", "redis.url": ""})
    hot = b"".join(command("CHECK", f"key-{i}") for i in range(1000))
    with Wire(daemon.check) as polite, Wire(daemon.check) as flood:
        polite.send(hot)
        assert all(polite.reply()[0] == b"ALLOW" for _ in range(1000))
        before, memory = info(daemon), resident(daemon)
        for start_at in range(0, 100000, 5000):
            flood.send(b"".join(command("CHECK", f"no-{i}") for i in range(start_at, start_at + 5000)))
            polite.send(hot)
            assert all(polite.reply()[0] == b"ALLOW" for _ in range(1000))
            assert all(flood.reply() == UNKNOWN for _ in range(5000))
        after = info(daemon)
    hits = after["checks_from_memory"] - before["checks_from_memory"]
    assert hits >= 0.999 * 20 * 1000
    assert grown(daemon, memory) < 24 << 20
    assert after["postgres_selects"] - before["postgres_selects"] < 100000 / 50
