"""RESP as clients send it, and as they should not."""

import contextlib
import itertools
import os
import resource
import subprocess
import threading
import time

import pytest
from conftest import check, info
from harness.servers import VERSION, wait_until
from wire import Wire, command


def test_split_at_every_byte(db, daemon):
    db.add_key("good")
    stream = (command("PING") + command("CHECK", "good") + b"CHECK none\r\n"
              + command("ECHO", "a\r\nb") + b"\r\n" + command("CHECK", "none"))
    expected = [b"PONG", b"ALLOW", b"DENY", b"a\r\nb", b"DENY"]
    for cut in range(1, len(stream)):
        with Wire(daemon.check) as wire:
            wire.send(stream[:cut])
            time.sleep(0.001)
            wire.send(stream[cut:])
            replies = [wire.reply() for _ in expected]
            assert [r[0] if isinstance(r, list) else r for r in replies] == expected


def test_one_byte_at_a_time(db, daemon):
    db.add_key("good")
    with Wire(daemon.check) as wire:
        for byte in command("CHECK", "good") + b"PING\r\n":
            wire.send(bytes([byte]))
        assert wire.reply()[0] == b"ALLOW"
        assert wire.reply() == b"PONG"


@pytest.mark.slow
def test_replies_keep_their_order(db, daemon):
    """Hits, misses, errors and texts that have to wait for the other thread, mixed."""
    for i in range(50):
        db.add_key(f"k{i}", active=i % 3 != 0)
    with Wire(daemon.check) as wire:
        wire.ask("CHECK", "k1")
        wire.send(b"".join(
            command("CHECK", f"k{i}") + command("ECHO", f"e{i}") + command("CHECK", "")
            + (command("INFO") if i % 10 == 0 else b"") + command("CHECK", "k1")
            for i in range(50)))
        for i in range(50):
            assert wire.reply()[0] == (b"DENY" if i % 3 == 0 else b"ALLOW")
            assert wire.reply() == f"e{i}".encode()
            assert isinstance(wire.reply(), RuntimeError)
            if i % 10 == 0:
                assert b"checks_allow" in wire.reply()
            assert wire.reply()[0] == b"ALLOW"


@pytest.mark.parametrize("depth", [5000, 100000])
def test_pipelines_of_thousands(db, daemon, depth):
    db.add_key("good")
    with Wire(daemon.check) as wire:
        wire.ask("CHECK", "good")
        sender = threading.Thread(target=wire.send, args=[command("CHECK", "good") * depth])
        sender.start()
        assert all(wire.reply()[0] == b"ALLOW" for _ in range(depth))
        sender.join()


def test_inline_through_netcat(db, daemon):
    db.add_key("abc")
    done = subprocess.run(["nc", "-N", "-U", daemon.check], input=b"CHECK abc\r\nCHECK\txyz\n",
                          capture_output=True, timeout=30, check=True)
    assert done.stdout.startswith(b"*3\r\n$5\r\nALLOW\r\n")
    assert done.stdout.endswith(b"*2\r\n$4\r\nDENY\r\n$7\r\nunknown\r\n")


def test_half_closed_client_gets_its_answers(db, daemon):
    db.add_key("good")
    with Wire(daemon.check) as wire:
        wire.send(command("CHECK", "good") + command("CHECK", "none"))
        wire.socket.shutdown(1)
        assert wire.reply()[0] == b"ALLOW"
        assert wire.reply() == [b"DENY", b"unknown"]
        assert wire.closed()


@pytest.mark.parametrize("stream", [
    b"*1000000000\r\n", b"*-5\r\n", b"*abc\r\n", b"*1\r\n:5\r\n", b"*1\r\n$-1\r\n",
    b"*1\r\n$99999\r\n", b"*1\r\n$4\r\nPINGxx", b"x" * 5000, b"*2\r\n$5\r\nCHECK\r\n$5000\r\n",
])
def test_bad_protocol_gets_an_error_and_is_closed(daemon, stream):
    with Wire(daemon.check) as other, Wire(daemon.check) as wire:
        wire.send(command("PING") + stream)
        assert wire.reply() == b"PONG"
        assert "Protocol error" in str(wire.reply())
        assert wire.closed()
        assert other.ask("PING") == b"PONG"


def test_commands_that_clients_send_when_they_connect(daemon):
    with Wire(daemon.check) as wire:
        assert wire.ask("PING", "hi") == b"hi"
        assert wire.ask("ping") == b"PONG"
        assert wire.ask("SELECT", "0") == b"OK"
        assert "out of range" in str(wire.ask("SELECT", "1"))
        assert wire.ask("HELLO", "2")[:4] == [b"server", b"apikeyd", b"version", VERSION.encode()]
        assert wire.ask("HELLO", "2", "SETNAME", "me")[0] == b"server"
        assert wire.ask("CLIENT", "GETNAME") == b"me"
        assert wire.ask("CLIENT", "SETINFO", "LIB-NAME", "x") == b"OK"
        assert isinstance(wire.ask("CLIENT", "ID"), int)
        assert wire.ask("RESET") == b"RESET"
        assert wire.ask("CLIENT", "GETNAME") is None
        assert wire.ask("COMMAND", "COUNT") == len(wire.ask("COMMAND")) == len(wire.ask("COMMAND", "LIST"))
        assert b"CHECK" in wire.ask("COMMAND", "DOCS")
        assert "unknown command" in str(wire.ask("GET", "x"))
        assert "wrong number" in str(wire.ask("CHECK"))
        assert wire.ask("QUIT") == b"OK"
        assert wire.closed()


def test_resp3(db, daemon):
    """HELLO 3 changes the types that RESP3 has of its own, on either thread's replies, and CHECK's in nothing."""
    api_key_id = db.add_key("good")
    with Wire(daemon.admin) as wire:
        assert wire.ask("HELLO", "3", "AUTH", "default", "any", "SETNAME", "me")[b"proto"] == 3
        assert wire.ask("CHECK", "good") == [b"ALLOW", str(api_key_id).encode(), str(db.user_id).encode()]
        assert wire.ask("EXPLAIN", "good")[b"verdict"] == b"ALLOW"
        assert wire.ask("CONFIG", "GET", "cache.ttl") == {b"cache.ttl": b"1m"}
        for args in (["INFO"], ["CLIENT", "INFO"], ["CLIENT", "LIST"]):
            wire.send(command(*args))
            assert wire.reader.peek(1)[:1] == b"=", args
            assert wire.reply()
        assert wire.ask("HELLO")[b"proto"] == 3
        for args in (["4"], ["x"], ["2", "AUTH", "other", "any"], ["2", "SETNAME", "a b"], ["2", "AUTH", "default"],
                     ["2", "junk"], ["2", "SETNAME"]):
            assert isinstance(wire.ask("HELLO", *args), RuntimeError), args
        assert wire.ask("HELLO")[b"proto"] == 3 and wire.ask("CLIENT", "GETNAME") == b"me"
        assert wire.ask("RESET") == b"RESET"
        assert wire.ask("HELLO")[4:6] == [b"proto", 2]


def transaction(*requests):
    return command("MULTI") + b"".join(command(*request) for request in requests) + command("EXEC")


def test_transactions(db, daemon):
    """Hits, misses, errors and replies of the other thread, in the order of the requests."""
    db.add_keys(40)
    with Wire(daemon.check) as wire:
        wire.ask("CHECK", "key-0")
        requests = [request for i in range(40) for request in (
            ["CHECK", f"key-{i}"], ["CHECK", f"none-{i}", "WITHIN", "60000"], ["ECHO", i], ["CHECK", ""])]
        wire.send(b"PING\r\n" + transaction(*requests, ["INFO", "checks"], ["PING"]) + command("CHECK", "key-1"))
        assert wire.reply() == b"PONG"
        assert wire.reply() == b"OK"
        assert [wire.reply() for _ in range(len(requests) + 2)] == [b"QUEUED"] * (len(requests) + 2)
        replies = wire.reply()
        for i in range(40):
            allow, deny, echo, error = replies[4 * i:4 * i + 4]
            assert allow[0] == b"ALLOW" and deny == [b"DENY", b"unknown"] and echo == str(i).encode()
            assert "empty" in str(error)
        assert b"checks_allow" in replies[160] and replies[161:] == [b"PONG"]
        assert wire.reply()[0] == b"ALLOW"
    wait_until(lambda: info(daemon)["connected_clients"] == 1, "the connection to end")


def test_a_transaction_that_is_cut(db, daemon):
    """By the client's end after EXEC, before EXEC, and by its going; and by packets."""
    db.add_keys(100)
    checks = [["CHECK", f"key-{i}"] for i in range(100)]
    with Wire(daemon.check) as wire:
        wire.send(transaction(*checks))
        wire.socket.shutdown(1)
        replies = [wire.reply() for _ in range(102)]
        assert [reply[0] for reply in replies[101]] == [b"ALLOW"] * 100
        assert wire.closed()
    for stream in (transaction(*checks), command("MULTI") + command("CHECK", "key-1")):
        with Wire(daemon.check) as wire:
            wire.send(stream)
    with Wire(daemon.check) as wire:
        for byte in transaction(*checks[:3]) + b"PING\r\n":
            wire.send(bytes([byte]))
        *queued, replies, pong = [wire.reply() for _ in range(6)]
        assert (queued, pong) == ([b"OK"] + [b"QUEUED"] * 3, b"PONG")
        assert [reply[0] for reply in replies] == [b"ALLOW"] * 3


def test_transactions_that_fail(db, daemon):
    db.add_key("good")
    with Wire(daemon.check) as wire:
        for wrong in (["GET", "x"], ["CHECK"], ["EXPLAIN", "x"]):
            assert wire.ask("MULTI") == b"OK"
            assert wire.ask("CHECK", "good") == b"QUEUED"
            assert isinstance(wire.ask(*wrong), RuntimeError)
            assert wire.ask("CHECK", "good") == b"QUEUED"
            assert str(wire.ask("EXEC")).startswith("EXECABORT "), wrong
            assert wire.ask("CHECK", "good")[0] == b"ALLOW"
        assert wire.ask("MULTI") == b"OK"
        assert wire.ask("QUIT") == b"OK"
        assert wire.closed()


def test_a_transaction_has_an_end(db, daemon):
    """What is kept for a client is bounded, told, and given back."""
    db.add_key("good")
    request = command("CHECK", "x" * 200)
    with Wire(daemon.check) as wire, Wire(daemon.check) as other:
        count = 2**20 // len(request)
        sender = threading.Thread(target=wire.send, args=[command("MULTI") + request * (count + 2)])
        sender.start()
        assert wire.reply() == b"OK"
        assert {wire.reply() for _ in range(count)} == {b"QUEUED"}
        assert "exceed 1048576 bytes" in str(wire.reply())
        assert wire.reply() == b"QUEUED"
        sender.join()
        assert other.ask("CHECK", "good")[0] == b"ALLOW"
        assert str(wire.ask("EXEC")).startswith("EXECABORT ")
        assert wire.ask("CHECK", "good")[0] == b"ALLOW"


def test_admin_commands_stay_on_the_admin_socket(daemon):
    with Wire(daemon.check) as wire:
        for args in (["EXPLAIN", "x"], ["INVALIDATE", "x"], ["FLUSH"], ["CONFIG", "SET", "a", "b"],
                     ["RELOAD"], ["METRICS"], ["REFUSED"], ["CLIENT", "LIST"], ["CLIENT", "KILL", "1"]):
            assert "unknown" in str(wire.ask(*args))
        assert wire.ask("CONFIG", "GET", "*") == []
    assert (daemon.admin.stat().st_mode & 0o777) == 0o600
    assert (daemon.check.stat().st_mode & 0o777) == 0o660


def test_who_does_not_read_is_not_read_from(db, daemon):
    """A client that sends and never takes its replies is stopped; others go on."""
    db.add_key("good")
    with Wire(daemon.check) as greedy, Wire(daemon.check) as polite:
        polite.ask("CHECK", "good")
        greedy.socket.setblocking(False)
        request = command("CHECK", "good")
        sent = 0  # bytes

        def held():
            return max(int(c["obuf"]) for c in daemon.admin_client().client_list())

        def stopped():
            """Nothing more is taken, as too much is held for the client, and not as the daemon has had no
            time to, or as a lookup was waited for."""
            nonlocal sent
            paused = held() > 8e6
            with contextlib.suppress(BlockingIOError):
                while sent < 300000 * len(request):
                    sent += greedy.socket.send((request * 1000)[sent % len(request):])
                return True
            return paused
        wait_until(stopped, "the daemon to stop reading")
        assert sent < 300000 * len(request)
        assert polite.ask("CHECK", "good")[0] == b"ALLOW"
        wait_until(lambda: info(daemon)["read_pauses"] >= 1, "the pause to be counted")
        assert 8e6 < held() < 8.5e6


@pytest.mark.slow
def test_a_library_that_sends_all_before_it_reads(db, daemon):
    db.add_keys(500)
    client = daemon.client()
    with client.pipeline(transaction=False) as pipeline:
        for i in range(50000):
            pipeline.execute_command("CHECK", f"key-{i % 500}")
        assert {reply[0] for reply in pipeline.execute()} == {"ALLOW"}


def test_who_hangs_up_is_forgotten(db, postgres, start):
    db.add_key("good")
    daemon = start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    postgres.pause()
    try:
        for round_ in range(20):
            with Wire(daemon.check) as wire:
                wire.send(b"".join(command("CHECK", f"r{round_}-{i}") for i in range(100))
                          + command("INFO"))
        assert check(daemon.client(), "good")[0] == "ALLOW"
    finally:
        postgres.resume()
    wait_until(lambda: info(daemon)["lookups_pending"] == 0, "lookups to end")
    wait_until(lambda: info(daemon)["connected_clients"] <= 3, "connections to end")


def test_hang_up_with_answers_held_back(db, start):
    """An answered request behind an unanswered one, and a client that goes without reading."""
    daemon = start({"postgres.timeout": "20s", "redis.url": ""})
    with db.connect(autocommit=False) as lock:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        for i in range(20):
            with Wire(daemon.check) as wire:
                wire.send(command("PING") + command("CHECK", f"a{i}")
                          + command("CHECK", f"b{i}", "WITHIN", "1") + command("ECHO", "x"))
                wait_until(lambda i=i: info(daemon)["deadlines_passed"] == i + 1, "the deadline")
        assert info(daemon)["lookups_pending"] > 0
    wait_until(lambda: info(daemon)["lookups_pending"] == 0, "lookups to end")


@pytest.mark.slow
def test_info_flood_is_bounded(db, daemon):
    """Replies that are long or dear are given a few at a time, and not kept by the thousand."""
    db.add_key("good")
    wires = [Wire(daemon.check) for _ in range(10)]
    for wire in wires:
        wire.socket.setblocking(False)
        try:
            wire.socket.send(command("INFO") * 5000)
        except BlockingIOError:
            pass
    with Wire(daemon.check) as polite:
        for i in range(50):
            assert polite.ask("CHECK", f"miss{i}") == [b"DENY", b"unknown"]
    kept = [int(c["obuf"]) for c in daemon.admin_client().client_list()]
    assert max(kept) < 8.5e6
    for wire in wires:
        wire.close()


def test_max_connections(start):
    daemon = start({"listen.max_connections": "7"})  # so few that one process may have them all
    operator = Wire(daemon.admin)
    wait_until(lambda: b"connected_clients:1\r" in operator.ask("INFO"), "the harness's probes to be gone")
    wires = [operator, *(Wire(daemon.check) for _ in range(6))]
    assert all(wire.ask("PING") == b"PONG" for wire in wires)
    with Wire(daemon.check) as extra:
        assert "max number of clients" in str(extra.reply())
        assert extra.closed()
    assert info(daemon)["connections_refused_full"] == 1  # the admin socket has a reserve
    wires.pop().close()

    def admitted():
        with Wire(daemon.check) as wire:
            try:
                return wire.ask("PING") == b"PONG"
            except (EOFError, BrokenPipeError):
                return False
    wait_until(admitted, "the place to be free")
    for wire in wires:
        wire.close()


def low_descriptors(daemon):
    """Those that are open, without valgrind's own far up."""
    return {fd for fd in map(int, os.listdir(f"/proc/{daemon.process.pid}/fd")) if fd < 500}


@contextlib.contextmanager
def descriptors_left(daemon, count):
    """So many are free below the limit. Gaps between those that are open are filled first: else the
    daemon's reserve may be above the limit, where giving it up frees nothing."""
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as fillers:
        while len(used := low_descriptors(daemon)) <= max(used):
            fillers.enter_context(Wire(daemon.check)).ask("PING")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(used) + count, before[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_out_of_file_descriptors(db, daemon):
    """Accepting pauses, those who are in go on, and the others get in when there is room."""
    db.add_key("good")
    with Wire(daemon.check) as inside:
        inside.ask("CHECK", "good")
        with descriptors_left(daemon, 3):
            wires = [Wire(daemon.check) for _ in range(10)]
            for wire in wires:
                wire.send(command("CHECK", "good"))
            assert [wires[i].reply()[0] for i in range(2)] == [b"ALLOW"] * 2
            assert inside.ask("CHECK", "good")[0] == b"ALLOW"
            wait_until(lambda: b"accept_pauses:0\r" not in inside.ask("INFO"), "accepting to pause")
        assert [wire.reply()[0] for wire in wires[2:]] == [b"ALLOW"] * 8
        for wire in wires:
            wire.close()


def test_no_descriptor_but_the_operators(db, daemon):
    """With none left, one operator gets in all the same, again and again."""
    db.add_key("good")
    with Wire(daemon.check) as inside:
        inside.ask("CHECK", "good")
        with descriptors_left(daemon, 0):
            waiting = [Wire(daemon.check) for _ in range(3)]
            for wire in waiting:
                wire.send(command("CHECK", "good"))
            for _ in range(5):
                with Wire(daemon.admin, timeout=20) as operator:
                    assert operator.ask("PING") == b"PONG"
                    assert b"accept_pauses" in operator.ask("INFO")
                time.sleep(0.15)
            assert inside.ask("CHECK", "good")[0] == b"ALLOW"
        assert [wire.reply()[0] for wire in waiting] == [b"ALLOW"] * 3
        for wire in waiting:
            wire.close()


def test_peer_allow_list(serve):
    """On every Unix socket. It is logged once, however often they try."""
    daemon, http = serve({"listen.allow_uids": "54321"}, wait=False)
    daemon.write_config()
    daemon.launch()
    wait_until(daemon.metrics.exists, "the sockets")

    def refused(path):
        try:
            with Wire(path) as wire:
                return wire.reader.read()
        except ConnectionRefusedError:
            return b""
    for _ in range(10):
        for path in (daemon.check, daemon.admin):
            assert wait_until(lambda p=path: refused(p), "the refusal").startswith(b"-NOPERM")
        assert refused(http).startswith(b"HTTP/1.1 503 ")
    wait_until(lambda: "may not connect" in daemon.log(), "the line in the log")
    said = [line for line in daemon.log().splitlines() if "may not connect" in line]
    assert len(said) == 1 and f"user {os.getuid()} " in said[0]


def test_many_connections(db, start):
    db.add_key("good")
    daemon = start({"listen.max_connections": "3000"})
    wires = [Wire(daemon.check) for _ in range(2000)]
    for wire in itertools.chain(wires, reversed(wires)):
        wire.send(command("CHECK", "good"))
    for wire in wires:
        assert [wire.reply()[0] for _ in range(2)] == [b"ALLOW", b"ALLOW"]
        wire.close()
