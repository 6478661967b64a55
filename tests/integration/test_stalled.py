"""The back thread stands still, or its answers are late: nobody waits longer than the front thread lets them."""

import time
from contextlib import ExitStack

import pytest
from conftest import LOOKUP, check, info
from harness.proxy import Proxy
from harness.servers import wait_until
from harness.standstill import Standstill
from http_wire import HttpWire
from wire import Wire, command

pytestmark = pytest.mark.slow

# So that a check waits for 1.5 s at most, and the back thread is known to stand still after 3 s.
SHORT = {"redis.timeout": "50ms", "postgres.timeout": "200ms"}
SILENT = "UNAVAILABLE the daemon's back thread does not answer"
ASKED_MOST = 100


@pytest.fixture
def still(scratch, db):
    return Standstill(scratch / f"{db.name}.still")


@pytest.fixture
def wires():
    """wires(path) connects to a socket."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(Wire(path))


def allowed(wire, key):
    return wire.ask("CHECK", key)[:1] == [b"ALLOW"]


def test_the_back_thread_stands_still(db, start, still, wires):
    """Hits go on, stale ones when the lease has ended; misses have a deadline, and are refused at once
    when the silence is known; so is what operators ask, but for the part of INFO that is the front's own."""
    db.add_key("good")
    db.add_keys(300, "cold-")
    daemon = start({**SHORT, "cache.ttl_unlinked": "500ms", "postgres.max_pending": ASKED_MOST}, env=still.env)
    client, waiting, operator = wires(daemon.check), wires(daemon.check), wires(daemon.admin)
    wait_until(lambda: allowed(client, "good"), "an answer of PostgreSQL")
    with still.stand("main", "epoll_wait"):
        wait_until(still.stands, "the back thread to stand still")
        waiting.send(command("CHECK", "cold-0"))
        operator.send(command("INFO") + command("EXPLAIN", "good") + command("FLUSH"))
        assert all(allowed(client, "good") for _ in range(100))
        assert str(waiting.reply()) == "UNAVAILABLE the lookup takes too long"
        # A pipeline of misses ends too, with no more lookups pending than there may be.
        waiting.send(b"".join(command("CHECK", f"cold-{i}") for i in range(300)))
        assert all(str(waiting.reply()).startswith("UNAVAILABLE") for _ in range(300))
        wait_until(lambda: str(client.ask("CHECK", "cold-0")) == SILENT, "the silence to be known")
        assert allowed(client, "good")
        second = wires(daemon.admin)
        seen = dict(line.split(":", 1) for line in second.ask("INFO").decode().splitlines() if ":" in line)
        assert seen["revocation_bound"].startswith("cache.stale_max: ")
        assert int(seen["back_thread_silent_seconds"]) >= 3
        assert int(seen["checks_stale"]) > 0
        assert 0 < int(seen["lookups_pending"]) <= ASKED_MOST * 5 / 4
        assert second.ask("INFO", "checks").startswith(b"\r\n# Checks\r\nchecks_unavailable:")
        for request in ("EXPLAIN", "good"), ("FLUSH",), ("RELOAD",), ("INVALIDATE", "ALL"), ("METRICS",):
            assert str(second.ask(*request)) == SILENT
        assert second.ask("CONFIG", "GET", "redis.timeout") == [b"redis.timeout", b"50ms"]
        assert [str(operator.reply()) for _ in range(2)] == [SILENT] * 2
    # FLUSH has five minutes; the late replies to INFO and EXPLAIN are dropped.
    assert operator.reply() == 1
    assert operator.ask("PING") == b"PONG"
    wait_until(lambda: allowed(client, "cold-0"), "an answer of PostgreSQL again")
    wait_until(lambda: info(daemon)["lookups_pending"] == 0, "late lookups to end")
    counts = info(daemon)
    assert counts["checks_overdue"] > 0
    assert counts["back_standstills"] == 1
    assert "the back thread stood still for" in daemon.log()
    assert counts["revocation_bound"].split(":")[0] in ("notification", "cache.ttl", "cache.stale_max")


def test_a_reload_shortens_the_wait(db, start, wires):
    """For those too who ask while the first still has the earlier deadline, even about the same key."""
    daemon = start({"postgres.timeout": "1m", "redis.url": "", "cache.stale_max": "0s"})
    first, second, operator = wires(daemon.check), wires(daemon.check), wires(daemon.admin)
    with db.connect(autocommit=False) as lock:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        first.send(command("CHECK", "k"))
        wait_until(lambda: info(daemon)["lookups_pending"] == 1, "the lookup")
        daemon.options["postgres.timeout"] = "100ms"
        daemon.write_config()
        assert operator.ask("RELOAD") == b"OK"
        second.send(command("CHECK", "k"))
        for wire in (first, second):
            assert str(wire.reply()) == "UNAVAILABLE the lookup takes too long"
        assert info(daemon)["lookups_pending"] == 1


def test_long_timeouts_do_not_make_it_longer(db, serve, still, wires):
    """Stores may take half a minute, but the back thread says something each second. Over HTTP, where stale
    service is told."""
    db.add_key("good")
    daemon, path = serve({"cache.ttl_unlinked": "500ms", "cache.stale_max": "1h"}, env=still.env)
    with HttpWire(path) as client, HttpWire(path) as other:
        assert client.authorize("good").status == 200
        with still.stand("main", "epoll_wait"):
            wait_until(still.stands, "the back thread to stand still")
            reply = client.authorize("cold")
            assert (reply.status, reply.problem()) == (503, "the daemon's back thread does not answer")
            reply = other.authorize("good")
            assert reply.status == 200 and "detail=stale" in reply.fields["cache-status"]
    assert wires(daemon.admin).ask("PING") == b"PONG"


def postgres_behind(proxy, db):
    """Lookups go through a proxy, so that what it does makes no heartbeat late."""
    return {"postgres.dsn": db.dsn.replace(f"host={db.server.folder}", f"host={proxy.folder}"),
            "postgres.listen_dsn": db.dsn, "redis.url": ""}


def test_age_alone_is_no_reason_to_ask_again(db, start, scratch):
    """The round trip takes longer than the ttl: each check needs one SELECT, and gets its answer."""
    db.add_key("good")
    with Proxy(scratch / f"{db.name}.line", db.server.folder) as line:
        daemon = start({**postgres_behind(line, db), "cache.ttl": "100ms", "cache.stale_max": "0s"})
        line.delay = lambda: 0.12
        client = daemon.client()
        before = info(daemon)["postgres_keys_read"]
        assert [check(client, "good")[0] for _ in range(10)] == ["ALLOW"] * 10
        assert info(daemon)["postgres_keys_read"] - before <= 11
        line.delay = lambda: 0
        daemon.stop()


def test_late_joiners_get_one_more_lookup(db, start, scratch, wires):
    """The answer to a lookup is older than the questions of those who joined it, and than the ttl. They
    are told what PostgreSQL holds after they asked: of the revocation between, which nobody notifies."""
    db.add_key("good")
    db.silence()
    with Proxy(scratch / f"{db.name}.line", db.server.folder) as line:
        daemon = start({**postgres_behind(line, db), "cache.ttl": "100ms"})
        first, *joiners = [wires(daemon.check) for _ in range(4)]
        line.hold()
        db.reset_statements()
        first.send(command("CHECK", "good"))
        wait_until(lambda: db.statements(LOOKUP), "PostgreSQL to be asked")
        db.set_active("good", False)
        for joiner in joiners:
            joiner.send(command("CHECK", "good"))
        wait_until(lambda: info(daemon)["lookups_shared"] == 3, "the others to join")
        time.sleep(0.2)
        line.speak()
        assert first.reply()[0] == b"ALLOW"
        assert [joiner.reply() for joiner in joiners] == [[b"DENY", b"inactive"]] * 3
        assert info(daemon)["postgres_keys_read"] == 2
        daemon.stop()
