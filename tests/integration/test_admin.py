"""The admin socket: looking in, and changing things."""

import re
import time

import pytest
import redis
from conftest import LOOKUP, check, explain, info, let_redis_be_fresh
from harness.servers import ROOT, VERSION, wait_until
from wire import Wire


@pytest.mark.slow
def test_explain_before_and_after(db, start):
    api_key_id = db.add_key("good")
    daemon = start()
    let_redis_be_fresh()
    found = explain(daemon, "good")
    assert found["verdict"] == "ALLOW"
    assert found["tier"] == "postgres"
    assert found["memory"] == found["redis"] == "absent"
    assert found["api_key_id"] == str(api_key_id)
    assert found["user_id"] == str(db.user_id)
    assert found["rows"] == "1"
    assert found["feed"] == found["link"] == "up"  # the second is deprecated
    assert found["pending_last_used"] == "none"

    check(daemon.client(), "good")
    wait_until(lambda: info(daemon)["redis_fills"] == 1, "the fill")
    found = explain(daemon, "good")
    assert found["tier"] == "memory"
    assert found["memory"] == found["redis"] == "fresh"
    assert found["postgres"] == "ALLOW"
    assert 0 <= int(found["age_ms"]) < 60000
    assert 50000 < int(found["ttl_left_ms"]) <= 60000
    assert found["read_at"].endswith("Z")
    assert found["pending_last_used"].startswith("20")
    assert found["key"].startswith("fp:")

    assert explain(daemon, "none")["verdict"] == "DENY unknown"
    assert explain(daemon, "none")["rows"] == "0"


def test_explain_changes_and_records_nothing(db, redis_server, start):
    db.add_key("good")
    daemon = start()
    before = info(daemon)
    for _ in range(5):
        assert explain(daemon, "good")["memory"] == "absent"
    after = info(daemon)
    assert redis_server.client().keys() == []
    for name in ("cache_entries", "usage_recorded", "usage_pending", "checks_allow", "lookups"):
        assert before[name] == after[name]
    assert daemon.admin_client().execute_command("FLUSH") == 0
    assert db.last_used("good") is None


def test_explain_while_postgres_is_down(db, postgres, start):
    db.add_key("good")
    daemon = start({"cache.ttl": "100ms", "redis.url": ""})
    check(daemon.client(), "good")
    postgres.stop()
    wait_until(lambda: explain(daemon, "good")["tier"] == "stale", "the ttl to end")
    found = explain(daemon, "good")
    assert found["verdict"] == "ALLOW"
    assert found["memory"] == "expired"
    assert "postgres" in found["postgres"]
    assert found["api_key_id"] == check(daemon.client(), "good")[1]
    assert explain(daemon, "none")["verdict"] == "UNAVAILABLE"


def test_invalidate_forgets_everywhere(db, redis_server, start):
    """Memory, Redis (by a tombstone) and what is on its way."""
    db.add_key("good")
    daemon = start()
    client, admin = daemon.client(), daemon.admin_client()
    check(client, "good")
    wait_until(lambda: redis_server.client().keys(), "the fill")
    assert admin.execute_command("INVALIDATE", "good") == "OK"
    wait_until(lambda: info(daemon)["redis_tombstones"] == 1, "the tombstone")
    key, = redis_server.client().keys()
    tombstone = redis_server.client().get(key)
    assert tombstone.startswith("tombstone")
    assert 60000 < redis_server.client().pttl(key) <= 67500  # cache.ttl and an eighth
    db.reset_statements()
    assert check(client, "good")[0] == "ALLOW"
    assert db.statements(LOOKUP) == 1
    assert redis_server.client().get(key) == tombstone  # NX kept the fill out
    assert explain(daemon, "good")["redis"] == "tombstone"


def test_a_lookup_invalidated_on_its_way_is_for_who_asked_before(db, postgres, start):
    """What PostgreSQL read before the invalidation is not fresh for a request that comes after it."""
    db.add_key("good")
    daemon = start({"postgres.timeout": "20s", "postgres.connections": "1", "redis.url": ""})
    assert check(daemon.client(), "warm") == ["DENY", "unknown"]
    db.reset_statements()
    with db.connect(autocommit=False) as lock, Wire(daemon.check) as wire:
        lock.execute("LOCK TABLE api.user_api_key IN ACCESS EXCLUSIVE MODE")
        wire.send(b"CHECK good\r\n")
        wait_until(lambda: info(daemon)["lookups_pending"] == 1, "the lookup")
        wait_until(lambda: info(daemon)["postgres_keys_read"] == 2, "the SELECT")
        assert daemon.admin_client().execute_command("INVALIDATE", "good") == "OK"
        lock.commit()
        assert wire.reply()[0] == b"ALLOW"
        assert db.statements(LOOKUP) == 1
        assert wire.ask("CHECK", "good")[0] == b"ALLOW"
    assert db.statements(LOOKUP) == 2


def test_invalidate_all(db, start):
    """By itself: nothing is notified, and every ttl is long."""
    db.silence()
    daemon = start({"cache.ttl": "1h", "cache.negative_ttl": "1h"})
    client, admin = daemon.client(), daemon.admin_client()
    for i in range(10):
        db.add_key(f"k{i}")
        check(client, f"k{i}")
    check(client, "none")
    db.run("UPDATE api.user_api_key SET is_active = false")
    assert check(client, "k0")[0] == "ALLOW"
    assert admin.execute_command("INVALIDATE", "ALL") == "OK"
    assert explain(daemon, "none")["memory"] == "below the watermark"
    for i in range(10):
        assert check(client, f"k{i}") == ["DENY", "inactive"]  # nor from Redis


def test_flush_counts_rows_after_commit(db, daemon):
    for i in range(3):
        db.add_key(f"k{i}")
        check(daemon.client(), f"k{i}")
    admin = daemon.admin_client()
    assert info(daemon)["usage_pending"] == 3
    assert admin.execute_command("FLUSH") == 3
    assert db.one("SELECT count(*) FROM api.user_api_key WHERE last_used IS NOT NULL") == 3
    assert info(daemon)["usage_pending"] == 0
    assert admin.execute_command("FLUSH") == 0


def test_flush_many_at_once(db, daemon):
    db.add_key("good")
    check(daemon.client(), "good")
    wires = [Wire(daemon.admin) for _ in range(10)]
    for wire in wires:
        wire.send(b"FLUSH\r\n")
    assert sum(wire.reply() for wire in wires) >= 1
    for wire in wires:
        wire.close()
    assert db.last_used("good") is not None


def test_config_get(daemon):
    admin = daemon.admin_client()
    assert admin.config_get("cache.ttl*") == {"cache.ttl": "1m", "cache.ttl_unlinked": "5s"}
    everything = admin.config_get("*")
    assert everything["listen.check"] == str(daemon.check)
    assert everything["postgres.batch"] == "1000"
    assert admin.config_get("nothing") == {}


def test_password_is_not_shown(start, db):
    daemon = start({"postgres.dsn": db.dsn + " password=hush-hush"})
    shown = daemon.admin_client().config_get("postgres.dsn")["postgres.dsn"]
    assert shown.endswith("password=***")


def test_client_list_and_kill(daemon):
    admin = daemon.admin_client()
    with Wire(daemon.check) as wire, Wire(daemon.check) as other:
        wire.ask("CLIENT", "SETNAME", "victim")
        other.ask("PING")
        listed = {c["name"]: c for c in admin.client_list()}
        victim = listed["victim"]
        assert victim["socket"] == "check"
        assert int(victim["pid"]) > 0
        assert victim["cmd"] == "CLIENT"
        assert admin.execute_command("CLIENT", "KILL", "ID", victim["id"])
        assert wire.closed()
        assert other.ask("PING") == b"PONG"
        assert "victim" not in {c["name"] for c in admin.client_list()}
        with pytest.raises(redis.ResponseError, match="No such client"):
            admin.execute_command("CLIENT", "KILL", "ID", victim["id"])
    own = admin.client_id()
    assert admin.execute_command("CLIENT", "KILL", "ID", own)


def test_client_list_has_the_connections_of_every_socket(serve):
    """Only those of RESP have names, each its own."""
    daemon, path = serve()
    with Wire(daemon.check) as one, Wire(daemon.check) as other, Wire(path) as http:
        one.ask("CLIENT", "SETNAME", "one")
        other.ask("CLIENT", "SETNAME", "other")
        http.send(b"GET /authorize HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\n\r\n")
        def listed():
            found = sorted((c["socket"], c["name"], c["cmd"]) for c in daemon.admin_client().client_list())
            return len(found) == 4 and found[-1][2] != "none" and found
        assert wait_until(listed, "the connections") == [
            ("admin", "", "CLIENT"), ("check", "one", "CLIENT"), ("check", "other", "CLIENT"),
            ("http", "", "authorize")]


def test_info_sections(daemon):
    admin = daemon.admin_client()
    table = (ROOT / "docs" / "reference.md").read_text()  # the program's own: tests/meta
    assert set(admin.info("redis")) == set(re.findall(r"^\| Redis \| `(\w+)` \|", table, re.MULTILINE)) > {
        "redis_up", "redis_errors", "redis_writable"}
    assert admin.info("server")["apikeyd_version"] == VERSION
    assert daemon.client().info()["loading"] == 0


def test_metrics_text(db, daemon):
    db.add_key("good")
    check(daemon.client(), "good")
    text = daemon.admin_client().execute_command("METRICS")
    assert "# TYPE apikeyd_checks_total counter\n" in text
    assert 'apikeyd_checks_total{verdict="allow",tier="postgres"} 1\n' in text
    assert "# TYPE apikeyd_redis_up gauge\napikeyd_redis_up 1\n" in text


def test_reload(db, daemon):
    admin = daemon.admin_client()
    daemon.options["cache.ttl"] = "90s"
    daemon.write_config()
    assert admin.execute_command("RELOAD") == "OK"
    assert admin.config_get("cache.ttl") == {"cache.ttl": "90s"}

    daemon.options["cache.memory"] = "8MiB"
    daemon.write_config()
    assert admin.execute_command("RELOAD") == "OK, but these need a restart: cache.memory"
    assert admin.config_get("cache.memory") == {"cache.memory": "4MiB"}

    daemon.options["cache.ttl"] = "7"
    daemon.write_config()
    with pytest.raises(redis.ResponseError, match="nothing changed.*cache.ttl"):
        admin.execute_command("RELOAD")
    assert admin.config_get("cache.ttl") == {"cache.ttl": "90s"}


def test_reload_takes_effect(db, daemon):
    """A shorter ttl holds at once, on the front thread too."""
    db.add_key("good")
    assert check(daemon.client(), "good")[0] == "ALLOW"
    db.silence()
    daemon.options["cache.ttl"] = "100ms"
    daemon.write_config()
    assert daemon.admin_client().execute_command("RELOAD") == "OK"
    db.set_active("good", False)
    time.sleep(0.1)
    assert check(daemon.client(), "good") == ["DENY", "inactive"]
