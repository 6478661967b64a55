"""keys.form = prefixed: what cannot be a key is DENY unknown at once, and costs no store anything."""

import hmac
import json

import pytest
from conftest import LOOKUP, check, explain, info
from harness.key_form import checksum, make_key
from harness.servers import wait_until
from http_wire import HttpWire
from wire import Wire, command

pytestmark = [pytest.mark.slow, pytest.mark.builds("release", "debug", "asan")]

PREFIXED = {"keys.form": "prefixed", "keys.prefix": "acme_live, key"}
UNKNOWN = [b"DENY", b"unknown"]


def malformed(good):
    """Keys that cannot exist, each for another reason."""
    before = good[:-6]
    long = f"key_{'0' * 290}"
    return ["good", "x", "key_", "_", good[:-1], good + "0", good[:-1] + ("1" if good[-1] != "1" else "2"),
            good.swapcase(), "other" + good[3:], good[1:], before + checksum(before + "x"), " " + good,
            good + "\n", "ключ", b"\xff\xfe", b"key_\0", long + checksum(long)]


def reload(daemon, **options):
    daemon.options.update({name.replace("_", ".", 1): value for name, value in options.items()})
    daemon.write_config()
    assert daemon.admin_client().execute_command("RELOAD") == "OK"


def test_no_store_is_asked_on_any_face(db, serve):
    good, made_up = make_key("acme_live"), make_key("key")
    db.add_key(good)
    row = str(db.add_key("good"))  # from before
    daemon, path = serve(PREFIXED)
    db.reset_statements()
    keys = malformed(good)
    with Wire(daemon.check) as wire, HttpWire(path) as http:
        for key in keys:
            assert wire.ask("CHECK", key) == UNKNOWN, key
            assert wire.ask("CHECK", key, "WITHIN", 100) == UNKNOWN, key
        wire.send(b"".join(command("CHECK", key) for key in keys))
        assert [wire.reply() for _ in keys] == [UNKNOWN] * len(keys)
        assert "key id is empty" in str(wire.ask("CHECK", ""))
        for key in ("good", good + "0", "x" * 300):
            reply = http.authorize(key)
            assert reply.status == 401 and reply.problem() == "the key is unknown"
            assert reply.fields["cache-status"] == "apikeyd; detail=malformed"
            assert reply.fields["cache-control"] == "no-store"
            event = {"type": "TOKEN", "authorizationToken": key, "methodArn": "arn:aws:execute-api:r:1:a/s/GET/"}
            reply = http.ask("/aws/authorizer", "POST", body=json.dumps(event).encode())
            assert json.loads(reply.body)["context"] == {"reason": "unknown"}
        found, count = info(daemon), 3 * len(keys) + 6
        assert found["checks_malformed"] == found["checks_deny_unknown"] == count
        assert [found[name] for name in ("lookups", "negative_entries", "cache_entries", "redis_round_trips")] == [0] * 4
        assert db.statements(LOOKUP) == 0
        # The form is no proof.
        assert wire.ask("CHECK", made_up) == UNKNOWN and wire.ask("CHECK", good)[0] == b"ALLOW"
        assert wire.ask("CHECK", good)[0] == b"ALLOW"
    found = info(daemon)
    assert found["lookups"] == 2 and found["negative_entries"] == 1 and found["checks_from_memory"] == 1
    assert found["checks_deny_unknown"] == count + 1 and found["found_without_form"] == 0
    text = daemon.admin_client().execute_command("METRICS")
    assert f'apikeyd_checks_total{{verdict="deny_malformed",tier="none"}} {count}\n' in text
    wait_until(lambda: json.loads(daemon.admin_client().execute_command("STATUS"))["checks"]["malformed_per_second"] > 0,
               "the status page's figure")
    told = explain(daemon, "good")
    assert told["verdict"] == "DENY unknown" and told["tier"] == "none" and "keys.form" in told["reason"]
    assert told["postgres"] == "ALLOW" and told["api_key_id"] == row and told["age_ms"] == "-1"


def test_a_reload_takes_effect_at_once(db, start, postgres):
    """In memory, and for lookups under way."""
    good = make_key("key")
    for key in (good, "good", "waits"):
        db.add_key(key)
    daemon = start({"cache.ttl": "1h"})
    client = daemon.client()
    assert check(client, "good")[0] == check(client, good)[0] == "ALLOW"
    assert info(daemon)["found_without_form"] == 1
    postgres.pause()
    with Wire(daemon.check) as wire:
        wire.send(command("CHECK", "waits"))
        wait_until(lambda: info(daemon)["lookups_pending"] == 1, "the lookup")
        reload(daemon, keys_form="prefixed")
        assert wire.reply() == UNKNOWN
        assert check(client, "good") == ["DENY", "unknown"]
        assert info(daemon)["lookups_pending"] == 0
    postgres.resume()
    assert check(client, good)[0] == "ALLOW"
    assert "keys have another form than before" in daemon.log()
    reload(daemon, keys_prefix="acme")
    assert check(client, good) == ["DENY", "unknown"]
    reload(daemon, keys_prefix="acme, key")
    assert check(client, good)[0] == "ALLOW"
    reload(daemon, keys_form="any")
    assert check(client, "good")[0] == check(client, "waits")[0] == "ALLOW"


def test_a_flood_of_keys_that_cannot_exist(db, start):
    """Beside one of keys that could: the first costs nothing but answers."""
    keys = [make_key("key") for _ in range(500)]
    db.run("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id) "
           "SELECT gen_random_uuid(), 'hot', key, %s FROM unnest(%s::text[]) AS key", db.user_id, keys)
    hot = b"".join(command("CHECK", key) for key in keys)
    daemon = start({**PREFIXED, "cache.ttl": "1h", "redis.url": "", "cache.negative_memory": "4KiB"})
    with Wire(daemon.check) as polite, Wire(daemon.check) as flood:
        def ask():
            polite.send(hot)
            assert all(polite.reply()[0] == b"ALLOW" for _ in keys)
        ask()
        before = info(daemon)
        for some in range(0, 20000, 2000):
            flood.send(b"".join(command("CHECK", f"key_{some + i:030}") for i in range(2000)))
            ask()
            assert all(flood.reply() == UNKNOWN for _ in range(2000))
        after = info(daemon)
        same = ("lookups", "postgres_selects", "negative_entries", "lookups_overloaded", "checks_unavailable")
        assert {name: after[name] for name in same} == {name: before[name] for name in same}
        assert after["checks_malformed"] == 20000
        assert after["checks_from_memory"] - before["checks_from_memory"] == 10 * len(keys)
        flood.send(b"".join(command("CHECK", make_key("key")) for _ in range(2000)))
        ask()
        assert all(flood.reply() == UNKNOWN for _ in range(2000))
    found = info(daemon)
    assert found["lookups"] - after["lookups"] == 2000 and found["checks_malformed"] == 20000


def test_of_hashed_columns_the_key_is_judged_as_it_is_sent(db, start, scratch):
    secret = scratch / f"pepper-{db.name}"
    secret.write_text("pepper\n")
    good = make_key("key")
    db.add_key(hmac.new(b"pepper", good.encode(), "sha256").hexdigest())
    daemon = start({**PREFIXED, "postgres.key_transform": "hmac-sha256",
                    "postgres.key_transform_secret_file": secret})
    client = daemon.client()
    assert check(client, good)[0] == "ALLOW" and check(client, "good") == ["DENY", "unknown"]
    found = info(daemon)
    assert found["lookups"] == 1 and found["found_without_form"] == 0 and found["checks_malformed"] == 1
