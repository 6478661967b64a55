"""Start, stop, reload."""

import signal
import threading
import time

import pytest
from conftest import check, info
from harness.operators import fetch
from harness.servers import BUILD, Process, answers, wait_until
from wire import Wire, command


def test_sigterm_drains_flushes_and_exits_0(db, start):
    db.add_keys(2000)
    daemon = start({"listen.drain_timeout": "60s"})
    with Wire(daemon.check) as wire:
        wire.send(b"".join(command("CHECK", f"key-{i}") for i in range(2000)))
        assert wire.reply()[0] == b"ALLOW"
        daemon.terminate()
        replies = 1
        try:
            while wire.reply()[0] == b"ALLOW":
                replies += 1
        except EOFError:
            pass
    assert daemon.wait_end() == 0
    # Whoever got an ALLOW was recorded; nobody else.
    assert db.one("SELECT count(*) FROM api.user_api_key WHERE last_used IS NOT NULL") == replies
    assert not daemon.check.exists() and not daemon.admin.exists()


def test_lookups_in_flight_are_answered(db, postgres, start):
    daemon = start({"listen.drain_timeout": "40s", "redis.url": ""})
    db.add_key("good")
    check(daemon.client(), "warm")
    with db.connect(autocommit=False) as lock, Wire(daemon.check) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        wire.send(command("CHECK", "good"))
        wait_until(lambda: info(daemon)["lookups_pending"] == 1, "the lookup")
        daemon.terminate()
        wait_until(lambda: stopping(daemon), "the drain to begin")
        lock.commit()
        assert wire.reply()[0] == b"ALLOW"
        assert wire.closed()
    assert daemon.wait_end() == 0
    assert db.last_used("good") is not None


def stopping(daemon):
    return "the daemon is stopping" in fetch(daemon, "/readyz")[2]


@pytest.mark.slow
def test_a_client_that_does_not_read_does_not_hold_up_the_stop(db, start):
    db.add_key("good")
    daemon = start({"listen.drain_timeout": "4s"})
    with Wire(daemon.check) as wire:
        wire.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while True:
                wire.send(command("CHECK", "good") * 1000)
        begin = time.monotonic()
        assert daemon.stop() == 0
        print(f"stopped after {time.monotonic() - begin:.2f} s")
    assert db.last_used("good") is not None


def test_a_stop_during_an_outage_ends_in_time(db, postgres, start):
    db.add_key("good")
    daemon = start({"listen.drain_timeout": "1s"})
    check(daemon.client(), "good")
    postgres.pause()
    try:
        begin = time.monotonic()
        assert daemon.stop() == 0
        print(f"stopped after {time.monotonic() - begin:.2f} s")
    finally:
        postgres.resume()
    daemon.start()
    wait_until(lambda: db.last_used("good"), "the replay")


def test_a_daemon_that_lingers_answers_until_it_drains(db, start):
    """The gateway still has requests: they are answered, also on new connections, and their uses are written."""
    db.add_key("early")
    db.add_key("late")
    daemon = start({"listen.linger": "10m", "usage.flush_interval": "1h"})
    check(daemon.client(), "early")
    daemon.terminate()
    wait_until(lambda: fetch(daemon, "/readyz")[2] == "not ready: the daemon is stopping: draining\n", "the linger")
    wait_until(lambda: db.last_used("early"), "the first flush, which does not wait for the end")
    with Wire(daemon.check) as wire:
        assert wire.ask("CHECK", "late")[0] == b"ALLOW"
    daemon.terminate()
    assert daemon.wait_end() == 0
    assert db.last_used("late") is not None


def test_the_linger_ends_by_itself(daemon):
    daemon.options["listen.linger"] = "400ms"
    daemon.write_config()
    daemon.admin_client().execute_command("RELOAD")
    begin = time.monotonic()
    assert daemon.stop() == 0
    assert time.monotonic() - begin > 0.4
    assert "answering for 400 ms more" in daemon.log()


def test_second_sigterm_exits_at_once(db, postgres, start):
    db.add_key("good")
    daemon = start({"listen.drain_timeout": "10m"})
    check(daemon.client(), "good")
    postgres.pause()
    try:
        daemon.terminate()
        wait_until(lambda: "stopping" in daemon.log(), "the drain to begin")
        daemon.terminate()
        assert daemon.wait_end() == 1
    finally:
        postgres.resume()
    daemon.start()
    wait_until(lambda: db.last_used("good"), "the replay")


@pytest.mark.slow
def test_signals_during_the_start_are_kept_for_later(start):
    """Neither a reload nor a stop that comes early kills it."""
    daemon = start(wait=False)
    daemon.write_config()
    for _ in range(20):
        daemon.launch()
        wait_until(lambda: daemon.died() or daemon.ledger.exists(), "the start to be under way")
        daemon.process.send(signal.SIGHUP)
        daemon.terminate()
        assert daemon.wait_end() == 0
        daemon.ledger.unlink()


# What other programs rotate logs, dump state or change their mind for; and what the kernel sends for a limit.
HARMLESS = ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "XCPU", "STKFLT"]
SILENT = ["PIPE", "XFSZ", "TTIN", "TTOU", "WINCH", "URG", "CHLD", "CONT", "RTMIN", "RTMAX"]


def send_all(daemon):
    runners_own = {"RTMAX"} if "valgrind" in daemon.runner else {"RTMIN", "RTMAX"} if BUILD.name == "arm64" else set()
    for name in HARMLESS + SILENT:
        if name not in runners_own:
            daemon.process.send(getattr(signal, f"SIG{name}"))


def test_no_signal_sent_by_habit_ends_it(db, daemon):
    db.add_key("good")
    for _ in range(3):
        send_all(daemon)
        assert check(daemon.client(), "good")[0] == "ALLOW"
    wait_until(lambda: all(f"SIG{name} changes nothing" in daemon.log() for name in HARMLESS), "the lines")
    lines = [line for line in daemon.log().splitlines() if "signal: " in line]
    assert len(lines) == len(HARMLESS), "each once"
    assert daemon.stop() == 0


@pytest.mark.slow
def test_nor_at_the_start_or_the_end(start):
    daemon = start(wait=False)
    daemon.write_config()
    for _ in range(5):
        daemon.launch()
        wait_until(lambda: daemon.died() or daemon.ledger.exists(), "the start to be under way")
        send_all(daemon)
        wait_until(lambda: daemon.died() or answers(daemon.admin), "the daemon")
        daemon.terminate()
        send_all(daemon)
        while BUILD.name == "release" and not daemon.died():  # signals without end keep LeakSanitizer from its work
            send_all(daemon)
        assert daemon.wait_end() == 0
        daemon.ledger.unlink()


def test_sighup_reloads(daemon):
    daemon.options["cache.ttl"] = "77s"
    daemon.options["usage.ledger"] = "/elsewhere"
    daemon.write_config()
    daemon.process.send(signal.SIGHUP)
    wait_until(lambda: "need a restart: usage.ledger" in daemon.log(), "the reload")
    assert daemon.admin_client().config_get("cache.ttl") == {"cache.ttl": "77s"}
    daemon.config.write_text("[cache]\nttl = nonsense\n")
    daemon.process.send(signal.SIGHUP)
    wait_until(lambda: "nothing changed" in daemon.log(), "the refusal")
    assert daemon.admin_client().config_get("cache.ttl") == {"cache.ttl": "77s"}


def test_a_dead_daemons_socket_is_replaced(db, daemon):
    daemon.kill()
    assert daemon.check.exists()
    daemon.start()
    assert check(daemon.client(), "none") == ["DENY", "unknown"]


def failed_start(daemon, status=1):
    daemon.write_config()
    process = Process([*daemon.runner, BUILD / "apikeyd", "-c", daemon.config], daemon.folder / "second.log")
    assert process.child.wait(30) == status
    return process.log()


def test_a_living_daemons_socket_is_left_alone(start, daemon):
    second = start(wait=False)
    second.options["listen.check"] = daemon.check
    assert "another process listens here" in failed_start(second)
    assert check(daemon.client(), "none") == ["DENY", "unknown"]


def test_one_daemon_a_ledger(start, daemon):
    second = start(wait=False)
    second.options["usage.ledger"] = daemon.ledger
    assert "another daemon uses it" in failed_start(second)


def test_one_daemon_a_spill_file(start, daemon):
    second = start(wait=False)
    second.options["usage.spill"] = daemon.spill
    assert "usage.spill" in failed_start(second)
    assert "another daemon uses it" in failed_start(second)


def test_stop_with_an_explain_under_way(db, start):
    daemon = start({"postgres.timeout": "30s", "listen.drain_timeout": "200ms"})
    with db.connect(autocommit=False) as lock, Wire(daemon.admin) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        before = info(daemon)["postgres_selects"]
        wire.send(command("EXPLAIN", "good"))
        wait_until(lambda: info(daemon)["postgres_selects"] > before, "the SELECT")
        assert daemon.stop() == 0


def test_requests_behind_dear_ones_are_answered_before_the_stop(db, start):
    daemon = start({"postgres.timeout": "20s", "listen.drain_timeout": "40s", "redis.url": ""})
    with db.connect(autocommit=False) as lock, Wire(daemon.admin) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        wire.send(command("EXPLAIN", "x") * 10 + command("PING"))
        wait_until(lambda: info(daemon)["postgres_keys_read"] > 0, "the first to be under way")
        daemon.terminate()
        wait_until(lambda: stopping(daemon), "the drain to begin")
        lock.rollback()
        assert [wire.reply()[0] for _ in range(10)] == [b"key"] * 10
        assert wire.reply() == b"PONG"
    assert daemon.wait_end() == 0


def test_a_bad_connection_string_is_not_shown(start):
    daemon = start({"postgres.dsn": "postgresql://apikeyd:hunter2@[::1/t"}, wait=False)
    daemon.write_config()
    process = Process([*daemon.runner, BUILD / "apikeyd", "-c", daemon.config], daemon.folder / "bad.log")
    assert process.child.wait(30) == 78
    assert "postgres.dsn" in process.log() and "hunter2" not in process.log()


def test_a_file_in_the_sockets_place_is_left_alone(start):
    daemon = start(wait=False)
    daemon.check.write_text("precious")
    assert "it exists and is no socket" in failed_start(daemon, status=78)
    assert daemon.check.read_text() == "precious"


def test_starts_while_everything_is_down(db, postgres, redis_server, start):
    db.add_key("good")
    postgres.stop()
    redis_server.stop()
    daemon = start(settled=False)
    with Wire(daemon.check) as wire:
        assert "UNAVAILABLE" in str(wire.ask("CHECK", "good"))
    postgres.start()
    redis_server.start()

    def works():
        with Wire(daemon.check) as wire:
            answer = wire.ask("CHECK", "good")
            return isinstance(answer, list) and answer[0] == b"ALLOW"
    wait_until(works, "recovery")


@pytest.mark.slow
def test_stop_under_load_many_times(db, start):
    """Whatever is going on, a stop is a clean one."""
    db.add_keys(50)
    daemon = start({"usage.flush_interval": "50ms"})
    for round_ in range(8):
        if round_:
            daemon.start()
        stop = threading.Event()

        def load(stop=stop):
            try:
                while not stop.is_set():
                    with Wire(daemon.check) as wire:
                        wire.send(b"".join(command("CHECK", f"key-{i}") for i in range(50)))
                        for _ in range(50):
                            wire.reply()
            except (OSError, EOFError):
                pass
        threads = [threading.Thread(target=load) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.05 * round_)
        assert daemon.stop() == 0
        stop.set()
        for thread in threads:
            thread.join()
