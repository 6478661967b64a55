"""The metrics listener: metrics, health, readiness, status, and what it does to bad clients."""

import datetime
import json
import socket
import time

import pytest
from conftest import check, info
from harness.clocks import Clocks
from harness.operators import fetch, metrics, samples, status
from harness.servers import VERSION, wait_until
from wire import Wire


def test_metrics_agree_with_what_was_done(db, start):
    db.add_key("good")
    db.add_key("off", active=False)
    daemon = start()
    client = daemon.client()
    for key in ("good", "good", "good", "off", "none"):
        check(client, key)
    found = metrics(daemon)
    assert found['apikeyd_checks_total{verdict="allow",tier="postgres"}'] == 1
    assert found['apikeyd_checks_total{verdict="allow",tier="memory"}'] == 2
    assert found['apikeyd_checks_total{verdict="deny_inactive",tier="postgres"}'] == 1
    assert found['apikeyd_checks_total{verdict="deny_unknown",tier="postgres"}'] == 1
    assert found['apikeyd_checks_total{verdict="unavailable",tier="none"}'] == 0
    assert found['apikeyd_check_duration_seconds_count{tier="memory"}'] == 2
    assert found['apikeyd_check_duration_seconds_count{tier="postgres"}'] == 3
    assert 0 < found['apikeyd_check_duration_seconds_sum{tier="postgres"}'] < 60
    assert found['apikeyd_cache_entries{table="keys"}'] == 2
    assert found['apikeyd_cache_entries{table="unknown"}'] == 1
    for table, most in (("keys", 4 << 20), ("unknown", 1 << 20)):
        size, slots = (found[f'apikeyd_cache_{what}{{table="{table}"}}'] for what in ("bytes", "slots"))
        assert size == 65 * slots and most - 32 * 65 < size <= most
    assert found["apikeyd_usage_pending"] == 1
    assert found["apikeyd_redis_configured"] == found["apikeyd_redis_up"] == 1
    assert found["apikeyd_postgres_connections_up"] == 2
    assert found[f'apikeyd_build_info{{version="{VERSION}"}}'] == 1
    assert abs(found["process_start_time_seconds"] - time.time()) < 600
    assert found["process_resident_memory_bytes"] > 1e6
    assert found["process_open_fds"] > 10
    assert found['apikeyd_thread_cpu_seconds_total{thread="front"}'] > 0
    assert found["process_cpu_seconds_total"] > 0


def test_all_ways_to_the_numbers_agree(db, daemon):
    db.add_key("good")
    check(daemon.client(), "good")
    page = samples(fetch(daemon, "/metrics")[2])
    command = samples(daemon.admin_client().execute_command("METRICS"))
    assert set(page) == set(command)
    name = 'apikeyd_checks_total{verdict="allow",tier="postgres"}'
    assert page[name] == command[name] == info(daemon)["checks_from_postgres"] == 1
    shown = json.loads(daemon.admin_client().execute_command("STATUS"))
    assert shown["checks"]["total"]["allow"] == status(daemon)["checks"]["total"]["allow"] == 1


def test_a_histogram_counts_what_its_counter_does(db, start):
    db.add_keys(500)
    daemon = start({"redis.url": ""})
    with Wire(daemon.check) as wire:
        wire.send(b"".join(b"CHECK key-%d\r\n" % i for i in range(500)))
        for _ in range(500):
            wire.reply()
    found = metrics(daemon)
    selects = found["apikeyd_postgres_selects_total"]
    assert found["apikeyd_postgres_batch_keys_count"] == selects >= 1
    assert found["apikeyd_postgres_batch_keys_sum"] == found["apikeyd_postgres_keys_read_total"] == 500
    assert found['apikeyd_postgres_batch_keys_bucket{le="+Inf"}'] == selects
    assert found['apikeyd_check_duration_seconds_bucket{tier="postgres",le="+Inf"}'] == 500
    daemon.admin_client().execute_command("FLUSH")
    assert metrics(daemon)["apikeyd_usage_batch_rows_sum"] == 500
    assert metrics(daemon)["apikeyd_usage_flush_duration_seconds_count"] >= 1


def test_no_label_comes_from_a_caller(db, daemon):
    before = set(metrics(daemon))
    client = daemon.client()
    client.client_setname("somebody")
    for i in range(50):
        check(client, f"made-up-{i}")
    with Wire(daemon.check) as wire:
        wire.ask("NO-SUCH-COMMAND")
    assert set(metrics(daemon)) == before


def test_oldest_pending_usage_has_an_age(db, postgres, start):
    db.add_key("good")
    daemon = start({"usage.flush_interval": "100ms"})
    assert metrics(daemon)["apikeyd_usage_oldest_pending_seconds"] == 0
    with db.connect(autocommit=False) as lock:
        lock.execute("SELECT FROM api.user_api_key FOR UPDATE")
        check(daemon.client(), "good")

        def age():
            """And between which times it was asked for."""
            begin = time.monotonic()
            return begin, metrics(daemon)["apikeyd_usage_oldest_pending_seconds"], time.monotonic()
        first = wait_until(lambda: [one for one in [age()] if one[1] > 0], "an age")[0]
        time.sleep(1)
        second = age()
        assert second[0] - first[2] < second[1] - first[1] < second[2] - first[0], "it grows as time passes"
        found = wait_until(lambda: [one for one in [metrics(daemon)]
                                    if one["apikeyd_usage_rows_locked_total"] > 0], "a flush")[0]
        assert found["apikeyd_usage_spill_bytes"] > 0
        assert found["apikeyd_usage_ledger_bytes"] > 0
    wait_until(lambda: metrics(daemon)["apikeyd_usage_pending"] == 0, "the flush")
    assert metrics(daemon)["apikeyd_usage_oldest_pending_seconds"] == 0
    assert metrics(daemon)["apikeyd_usage_spill_bytes"] == 0


def test_revocation_lag_is_measured(db, daemon):
    db.add_key("good")
    wait_until(lambda: info(daemon)["feed_notifications"] == 1, "its notification")
    check(daemon.client(), "good")
    before = metrics(daemon)["apikeyd_revocation_lag_seconds_count"]
    db.run("UPDATE api.user_api_key SET is_active = false")
    wait_until(lambda: check(daemon.client(), "good")[0] == "DENY", "the revocation")
    found = metrics(daemon)
    assert found["apikeyd_revocation_lag_seconds_count"] == before + 1
    assert found["apikeyd_revocation_lag_longest_seconds"] > 0


@pytest.mark.slow
def test_ready_while_something_can_answer(db, postgres, redis_server, start):
    db.add_key("good")
    daemon = start({"cache.ttl": "200ms", "cache.stale_max": "10s"})
    code, _, why = fetch(daemon, "/readyz")
    assert (code, why) == (200, "ready: PostgreSQL is up; Redis is up; memory is empty\n")
    check(daemon.client(), "good")
    redis_server.stop()
    postgres.stop()
    wait_until(lambda: "PostgreSQL is down; Redis is down" in fetch(daemon, "/readyz")[2], "both down")
    code, _, why = fetch(daemon, "/readyz")
    assert (code, why[:6]) == (200, "ready:"), "memory still may be served stale"
    wait_until(lambda: fetch(daemon, "/readyz")[0] == 503, "stale_max to pass")
    assert "none of which may be served" in fetch(daemon, "/readyz")[2]
    # A second early at most: that is how often it looks.
    with Wire(daemon.check) as wire:
        wait_until(lambda: "UNAVAILABLE" in str(wire.ask("CHECK", "good")), "the verdict's end")
    assert fetch(daemon, "/healthz")[0] == 200
    assert status(daemon)["ready"] is False
    assert status(daemon)["postgres"]["state"] == status(daemon)["redis"]["state"] == "down"
    postgres.start()
    wait_until(lambda: fetch(daemon, "/readyz")[0] == 200, "the recovery")


@pytest.mark.slow
def test_a_redis_that_holds_nothing_of_use_makes_nobody_ready(db, postgres, start):
    """It is up, and what it was given is too old by now: while PostgreSQL is down no check is answered."""
    db.add_key("good")
    daemon = start({"cache.ttl": "1s", "cache.ttl_unlinked": "500ms", "cache.stale_max": "2s"})
    assert metrics(daemon)["apikeyd_postgres_answers"] == 1
    asked = time.monotonic()
    check(daemon.client(), "good")
    postgres.stop()
    assert fetch(daemon, "/readyz")[0] == 200 or time.monotonic() - asked > 2
    with Wire(daemon.check) as wire:
        wait_until(lambda: "UNAVAILABLE" in str(wire.ask("CHECK", "good")), "the verdict's end")
    wait_until(lambda: fetch(daemon, "/readyz")[0] == 503, "that to be told")
    assert "Redis is up, but holds nothing that is known to be usable" in fetch(daemon, "/readyz")[2]
    assert metrics(daemon)["apikeyd_redis_up"] == 1 and metrics(daemon)["apikeyd_postgres_answers"] == 0
    assert status(daemon)["postgres"]["state"] == "down"
    postgres.start()
    wait_until(lambda: fetch(daemon, "/readyz")[0] == 200, "the recovery")


@pytest.mark.slow
def test_probes_make_nobody_ready(db, postgres, start):
    """PostgreSQL has answered until now, but nothing that memory holds was read of late."""
    db.add_key("good")
    daemon = start({"cache.ttl": "300ms", "cache.ttl_unlinked": "300ms", "cache.stale_max": "1s", "redis.url": ""})
    check(daemon.client(), "good")
    time.sleep(1.2)
    assert fetch(daemon, "/readyz")[0] == 200
    postgres.stop()
    wait_until(lambda: info(daemon)["postgres_answers"] == 0, "the loss")
    code, _, why = fetch(daemon, "/readyz")
    assert code == 503 and "memory holds 1 verdicts, none of which may be served" in why


def test_a_redis_that_is_up_makes_nobody_ready(db, postgres, start):
    """It was not asked yet, and memory is empty."""
    db.add_key("good")
    daemon = start()
    postgres.stop()
    wait_until(lambda: fetch(daemon, "/readyz")[0] == 503, "that to be told")
    assert fetch(daemon, "/readyz")[2] == ("not ready: PostgreSQL is down; Redis is up, but holds nothing that is known "
                                           "to be usable; memory is empty\n")
    with Wire(daemon.check) as wire:
        assert "UNAVAILABLE" in str(wire.ask("CHECK", "good"))


def test_not_ready_before_anything_answered(db, postgres, redis_server, start):
    postgres.stop()
    redis_server.stop()
    daemon = start(settled=False)
    assert fetch(daemon, "/readyz")[0] == 503
    postgres.start()
    redis_server.start()
    wait_until(lambda: fetch(daemon, "/readyz")[0] == 200, "the stores")


def test_not_ready_while_stopping(db, start):
    daemon = start({"postgres.timeout": "20s", "listen.drain_timeout": "30s", "redis.url": ""})
    with db.connect(autocommit=False) as lock, Wire(daemon.check) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        wire.send(b"CHECK good\r\n")
        wait_until(lambda: info(daemon)["lookups_pending"] == 1, "the lookup")
        daemon.terminate()
        wait_until(lambda: fetch(daemon, "/readyz")[0] == 503, "the drain")
        assert fetch(daemon, "/readyz")[2] == "not ready: the daemon is stopping: draining\n"
        lock.rollback()
    assert daemon.wait_end() == 0
    assert not daemon.metrics.exists()


def test_status_tells_rates_and_events(db, start):
    db.add_key("good")
    daemon = start()
    client = daemon.client()
    for _ in range(100):
        check(client, "good")
    found = wait_until(lambda: [one for one in [status(daemon)]
                                if one["checks"]["per_second"]["allow"] > 0], "a rate")[0]
    assert found["checks"]["total"]["allow"] == 100
    assert found["checks"]["hit_ratio"] == pytest.approx(0.99)
    assert found["latency"]["memory"]["p50_seconds"] > 0
    assert found["latency"]["memory"]["p99_seconds"] >= found["latency"]["memory"]["p50_seconds"]
    assert found["latency"]["redis"]["p50_seconds"] is None
    assert found["feed"]["state"] == "up"
    wait_until(lambda: status(daemon)["feed"]["revocation_bound"] == "notification", "the bound")
    assert found["link"] == found["feed"]  # deprecated
    assert any("the change feed is up" in event["text"] for event in found["events"])


def history_of(daemon):
    found = status(daemon)["history"]
    assert {len(column) for column in found.values() if isinstance(column, list)} == {len(found["allow"])}
    return found


def total(column):
    return sum(number or 0 for number in column)


def test_status_tells_the_last_hour(db, start):
    """Nothing of it is lost on the way into steps, and what was not measured is null."""
    for key, active in (("good", True), ("off", False)):
        db.add_key(key, active=active)
    daemon = start({"usage.flush_interval": "1h"})
    client = daemon.client()
    wait_until(lambda: history_of(daemon)["allow"], "the first sample")
    assert set(history_of(daemon)["p50_us"]) == {None}
    for key in ("good", "good", "good", "off", "none"):
        check(client, key)
    db.set_active("good", False)
    wait_until(lambda: check(client, "good")[0] == "DENY", "the revocation")
    found = wait_until(lambda: [one for one in [history_of(daemon)] if total(one["deny_inactive"]) >= 2],
                       "a sample of all that")[0]
    counted = status(daemon)["checks"]["total"]
    assert total(found["allow"]) == counted["allow"]
    assert total(found["deny_inactive"]) == counted["deny_inactive"]
    assert total(found["deny_unknown"]) == 1 and total(found["unavailable"]) == 0
    assert total(found["from_memory"]) >= 2
    assert max(found["usage_pending"]) == 1
    for name in ("p50_us", "p99_us", "revocation_lag_p99_us"):
        assert total(found[name]) > 0, name
    assert found["step_seconds"] == 10
    assert abs(datetime.datetime.fromisoformat(found["since"]).timestamp() - metrics(daemon)["process_start_time_seconds"]) < 3
    assert 0 < total(found["covered_us"]) / 1e6 <= status(daemon)["uptime_seconds"]


def test_a_pause_is_a_gap_in_the_history(db, scratch, start):
    """Not zeros: nobody knows. What comes after it tells for how long it counts."""
    clocks = Clocks(scratch / f"clocks-{db.name}")
    daemon = start(env=clocks.env)
    wait_until(lambda: history_of(daemon)["allow"], "the first sample")
    first = history_of(daemon)
    before = len(first["allow"])
    with clocks.pause(daemon.process):
        clocks.wall = clocks.monotonic = 40
    found = wait_until(lambda: [one for one in [history_of(daemon)] if len(one["allow"]) > before],
                       "a sample after it")[0]
    for name, column in found.items():
        if isinstance(column, list):
            assert column[-3:-1] == [None, None], name
    assert found["allow"][0] == found["allow"][-1] == 0
    assert found["covered_us"][-1] > 35e6
    since = [datetime.datetime.fromisoformat(one["since"]).timestamp() for one in (first, found)]
    assert abs(since[1] - since[0]) < 3, "the daemon's start"


def test_methods_and_paths(daemon):
    code, headers, text = fetch(daemon, "/metrics", "HEAD")
    assert (code, text) == (200, "") and int(headers["Content-Length"]) > 1000
    code, headers, _ = fetch(daemon, "/metrics", "POST")
    assert code == 405 and headers["Allow"] == "GET, HEAD"
    assert fetch(daemon, "/nothing")[0] == 404
    assert fetch(daemon, "/metrics/")[0] == 404
    assert fetch(daemon, "/metrics?name=x")[0] == 200
    code, headers, text = fetch(daemon, "/")
    assert code == 200 and headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "http://" not in text and "https://" not in text, "the page needs nothing from elsewhere"


def test_a_flood_of_connections_takes_nothing_from_checks(db, daemon):
    """Whoever can reach the metrics listener can fill it, and nothing else."""
    db.add_key("good")
    flood = []
    for _ in range(200):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(5)
        try:
            one.connect(str(daemon.metrics))
        except OSError:
            break
        one.sendall(b"GET /metrics HTTP/1.1\r\n")
        flood.append(one)
    assert len(flood) > 50
    fds = int(info(daemon)["process_open_fds"])
    assert fds < 100, "only so many are taken from the backlog"
    assert check(daemon.client(), "good")[0] == "ALLOW"
    for one in flood:
        one.close()
    wait_until(lambda: fetch(daemon, "/healthz")[0] == 200, "room again")


def test_a_connection_is_kept(daemon):
    with socket.socket(socket.AF_UNIX) as one:
        one.settimeout(30)
        one.connect(str(daemon.metrics))
        for _ in range(3):
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            got = b""
            while not got.endswith(b"alive\n"):
                more = one.recv(4096)
                assert more, got
                got += more


def test_a_client_that_leaves_early_harms_nobody(daemon):
    for _ in range(50):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(daemon.metrics))
            one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert fetch(daemon, "/healthz")[0] == 200


def test_a_stop_with_requests_under_way(start):
    for _ in range(5):
        daemon = start(settled=False)
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(daemon.metrics))
            one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
            assert daemon.stop() == 0


def test_a_tcp_listener(start):
    from harness.gateways import free_port

    port = free_port()
    start({"listen.metrics": f"127.0.0.1:{port}"})
    with socket.create_connection(("127.0.0.1", port), 30) as one:
        one.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert b" 200 OK" in one.recv(4096)


def test_a_stopped_daemon_is_back_as_it_was(db, daemon):
    """SIGSTOP and SIGCONT: late stats polls are no one's."""
    daemon.process.pause()
    time.sleep(0.5)
    daemon.process.resume()
    assert fetch(daemon, "/healthz")[0] == 200
