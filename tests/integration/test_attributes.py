"""Attributes: columns of a key's row that travel with its ALLOW, from every tier."""

import json
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from coherence import LONG, TABLE, redis_value
from conftest import check, explain, has_heard_of, info, let_redis_be_fresh
from harness.schema import deploy
from harness.servers import BUILD, wait_until

pytestmark = pytest.mark.builds("release", "debug", "asan")
NAMES = "plan, scopes, quota, trial, extra"
COLUMNS = ["plan varchar(400)", "scopes text[]", "quota numeric(12, 2)", "trial boolean", "extra jsonb"]
OPTIONS = {**LONG, "postgres.attribute_columns": NAMES}


def attributes(client, key):
    """The attributes of an ALLOW; another answer as it is."""
    answer = check(client, key, "ATTRIBUTES")
    if answer[0] != "ALLOW":
        return answer
    assert len(answer) == 4
    return answer[3] if isinstance(answer[3], dict) else dict(zip(answer[3][::2], answer[3][1::2]))


def add_columns(db, columns):
    if columns:
        db.run(f"ALTER TABLE {TABLE} " + ", ".join(f"ADD {column}" for column in columns))


@pytest.fixture
def told(db, start):
    """told({options}): a daemon over a table with columns whose triggers and grants know them."""
    def run(options=None, columns=COLUMNS, names=NAMES, **rest):
        add_columns(db, columns)
        deploy(db.admin_dsn, attribute_columns=names)
        return start({**OPTIONS, "postgres.attribute_columns": names, **(options or {})}, **rest)
    return run


def test_every_kind_of_value(db, told, start, redis_server):
    """From PostgreSQL, from memory and from Redis, in both versions of the protocol."""
    cases = {
        "all": ({"plan": "gold", "scopes": ["read", "write:é"], "quota": "1000.5", "trial": True,
                 "extra": json.dumps("a\n\"b\"")},
                {"plan": "gold", "scopes": "read write:é", "quota": "1000.50", "trial": "true", "extra": 'a\n"b"'}),
        "none": ({}, {}),
        "empty": ({"plan": "", "scopes": [], "trial": False, "extra": "null"},
                  {"plan": "", "scopes": "", "trial": "false"}),
        "last": ({"extra": json.dumps(["a", None, "b"])}, {"extra": "a b"}),
        "number": ({"extra": "1.50", "scopes": ["a,b", None]}, {"extra": "1.50", "scopes": "a,b"}),
        "longest": ({"plan": "é" * 127 + "x"}, {"plan": "é" * 127 + "x"}),
    }
    add_columns(db, COLUMNS)
    for key, (columns, _) in cases.items():
        db.add_key(key, **columns)
    db.add_key("off", active=False, plan="gold")
    daemon, second = told(columns=None), start(OPTIONS)
    let_redis_be_fresh()
    client, expected = daemon.client(), {key: values for key, (_, values) in cases.items()}
    for _ in range(2):
        assert {key: attributes(client, key) for key in cases} == expected
        assert attributes(client, "off") == ["DENY", "inactive"]
        assert attributes(client, "unknown") == ["DENY", "unknown"]
        assert len(check(client, "all")) == 3
    for version, sign in (("2", "*2"), ("3", "%1")):
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(str(daemon.check))
            wire.sendall(f"HELLO {version}\r\nCHECK last ATTRIBUTES\r\nPING done\r\n".encode())
            answers = ""
            while not answers.endswith("done\r\n"):
                answers += wire.recv(4096).decode()
        assert "\r\n*4\r\n$5\r\nALLOW\r\n" in answers
        assert answers.endswith(f"\r\n{sign}\r\n$5\r\nextra\r\n$3\r\na b\r\n$4\r\ndone\r\n")
    counts = info(daemon)
    assert counts["attributes_left_out"] == 0 and counts["attribute_used_bytes"] >= 5 * 32
    wait_until(lambda: info(daemon)["redis_fills"] == len(cases) + 1, "the fills")
    name, value = redis_value(redis_server, daemon, "all")
    assert value.startswith("3 0 0 ALLOW ") and " a04goldb0dread write:éc071000.50" in value and "+" in name

    client = second.client()
    assert {key: attributes(client, key) for key in cases} == expected
    assert info(second)["redis_hits"] == len(cases)
    both = client.pipeline(transaction=True)
    for within in ([], ["WITHIN", "1000"], ["attributes"], ["ATTRIBUTES", "WITHIN", 7], ["WITHIN", 7, "ATTRIBUTES"]):
        both.execute_command("CHECK", "last", *within)
    assert [answer[3:] for answer in both.execute()] == [[], []] + [[["extra", "a b"]]] * 3
    for wrong in (["ATTRIBUTES", "ATTRIBUTES"], ["WITHIN", 0], ["ATTRIBUTES", 7], ["WITHIN", "ATTRIBUTES"]):
        with pytest.raises(redis.ResponseError, match=r"syntax: CHECK <key id> \[WITHIN .*\[ATTRIBUTES\]"):
            check(client, "last", *wrong)
    shown = subprocess.run([BUILD / "apikeyctl", "--socket", daemon.admin, "check", "--attributes", "--json", "all"],
                           capture_output=True, text=True, check=True).stdout
    assert json.loads(shown)["attributes"] == cases["all"][1]
    found = explain(daemon, "all")
    assert found["attribute plan"] == "gold" and found["attribute scopes"] == "read write:é"


def test_what_is_no_attribute_is_left_out(db, told):
    """Never cut; the log says which and how long, and a metric counts."""
    daemon = told(columns=[*COLUMNS, "more text", "most text"], names=NAMES + ", more, most")
    keys = {
        "long": ({"plan": "x" * 256, "trial": True}, {"trial": "true"},
                 "column plan has 256 bytes and is left out of this key's attributes: a value has at most 255 bytes"),
        "huge": ({"plan": "gold", "more": "x" * 10_000_000}, {"plan": "gold"}, "column more has 10000000 bytes"),
        "together": ({"plan": "a" * 255, "scopes": ["b" * 255], "extra": json.dumps("c" * 255), "more": "d" * 255,
                      "most": "e" * 5, "trial": None},
                     {"plan": "a" * 255, "scopes": "b" * 255, "extra": "c" * 255, "more": "d" * 255},
                     "column most has 5 bytes and is left out of this key's attributes: all values of a key together "
                     "have at most 1024 bytes"),
        "object": ({"extra": '{"a": 1}'}, {}, "it is a JSON object"),
        "ambiguous": ({"scopes": ["read write"], "plan": "x"}, {"plan": "x"}, "has a blank in it"),
    }
    for key, (columns, _, _) in keys.items():
        db.add_key(key, **columns)
    has_heard_of(daemon, len(keys))
    client = daemon.client()
    for _ in range(2):
        for key, (_, told_of_it, _) in keys.items():
            assert attributes(client, key) == told_of_it, key
    assert info(daemon)["attributes_left_out"] == len(keys)
    daemon.admin_client().execute_command("INVALIDATE", "ALL")
    attributes(client, "long")
    log = daemon.log()
    for _, _, line in keys.values():
        assert log.count(line) == 1, line


@pytest.mark.builds("release")
def test_columns_of_other_types(db, told):
    """Every type that can be one, a domain too; any other is told, and no answer is given by that table."""
    kinds = {"text": "a b", "char(8)": "padded", "name": "n", "int2": "-1", "int8": str(1 << 62), "float8": "0.1",
             "float4": "1e+30", "json": '" x "', "varchar[]": "{a,b}", "tier": "free",
             "mood": "so so", "uuid": "{00112233-4455-6677-8899-AABBCCDDEEFF}"}
    values = ["a b", "padded", "n", "-1", str(1 << 62), "0.1", "1e+30", " x ", "a b", "free", "so so",
              "00112233-4455-6677-8899-aabbccddeeff"]
    db.run("CREATE TYPE mood AS ENUM ('so so', 'fine')")
    db.run("CREATE DOMAIN tier AS text CHECK (VALUE <> '')")
    columns = [f'"C {i}{{}}" {kind}' for i, kind in enumerate(kinds)]
    db.run(f"ALTER TABLE {TABLE} " + ", ".join(f"ADD {column}" for column in columns))
    names = [f"C {i}{{}}" for i in range(len(kinds))]
    daemon = told(columns=None, names=",".join(names))
    db.add_key("good")
    db.run(f"UPDATE {TABLE} SET " + ", ".join(f'"{name}" = %s' for name in names), *kinds.values())
    assert attributes(daemon.client(), "good") == dict(zip(names, values))
    db.run("CREATE TYPE pair AS (a text, b text)")
    db.run(f"ALTER TABLE {TABLE} ADD made timestamptz DEFAULT now(), ADD two pair DEFAULT ('a', 'b')")
    for name, kind in (("made", "timestamptz"), ("two", "another type")):
        wrong = told(columns=None, names=name, settled=False)
        with pytest.raises(redis.ResponseError, match="UNAVAILABLE a column of postgres.attribute_columns is not of"):
            check(wrong.client(), "good")
        assert f"the type of {name} is {kind}; its answers are not used" in wrong.log()
    env = {"APIKEYD_POSTGRES_ATTRIBUTE_COLUMNS": "made"}
    shown = subprocess.run([BUILD / "apikeyctl", "schema", "check", "--config", "/dev/null", "--dsn", db.admin_dsn,
                            "--role", "apikeyd"], capture_output=True, text=True, check=False, env=env)
    assert "column made is of type timestamptz, not text or varchar" in shown.stdout


def test_a_change_is_enforced_and_nothing_is_shared(db, told, start, redis_server):
    """A trigger tells of each attribute. Daemons with other columns, or with none, do not read each other's values."""
    daemon = told()
    db.add_key("good", plan="gold", scopes=["read"])
    has_heard_of(daemon, 1)
    client = daemon.client()
    assert attributes(client, "good") == {"plan": "gold", "scopes": "read"}
    db.run(f"UPDATE {TABLE} SET scopes = '{{read,write}}'")
    wait_until(lambda: attributes(client, "good") == {"plan": "gold", "scopes": "read write"}, "the change")
    db.run(f"UPDATE {TABLE} SET plan = NULL, scopes = NULL")
    wait_until(lambda: attributes(client, "good") == {}, "the change")
    has_heard_of(daemon, 3)
    db.run(f"UPDATE {TABLE} SET key_name = 'other'")
    db.run(f"UPDATE {TABLE} SET plan = 'free'")
    wait_until(lambda: attributes(client, "good") == {"plan": "free"}, "the change")
    has_heard_of(daemon, 4)
    assert info(daemon)["feed_notifications"] == 4
    names = {"": [], "scopes, plan": {"plan": "free"}, "plan, scopes, quota, trial": {"plan": "free"}}
    for columns, expected in names.items():
        other = start({**LONG, "postgres.attribute_columns": columns})
        assert (attributes(other.client(), "good") or []) == expected
        assert info(other)["redis_hits"] == 0
    assert len(list(redis_server.client().scan_iter("*"))) >= 3


def test_a_quota_from_redis_where_keys_have_none(db, told, start, redis_server):
    """Anyone may have written it: such a value is of another form, and PostgreSQL is asked."""
    add_columns(db, COLUMNS)
    db.add_key("good", plan="gold")
    daemon, other = told(columns=[]), start(OPTIONS)
    let_redis_be_fresh()
    assert attributes(daemon.client(), "good") == {"plan": "gold"}
    wait_until(lambda: info(daemon)["redis_fills"] == 1, "the fill")
    name, value = redis_value(redis_server, daemon, "good")
    assert redis_server.client().set(name, value.replace("a04gold", "#0210a04gold"), keepttl=True)
    assert attributes(other.client(), "good") == {"plan": "gold"}
    assert info(other)["redis_hits"] == 0 and info(other)["redis_broken"] == 1


def test_a_region_that_is_too_small(db, told, start):
    """A verdict goes with its attributes: every answer has them, whatever is in memory."""
    daemon = told({"cache.attribute_memory": "64KiB"})
    db.add_keys(1000)
    db.run(f"UPDATE {TABLE} SET plan = repeat(key_id, 20) WHERE key_id NOT LIKE '%%5'")
    has_heard_of(daemon, 2)
    client = daemon.client()
    for _ in range(3):
        pipe = client.pipeline(transaction=False)
        for n in range(1000):
            pipe.execute_command("CHECK", f"key-{n}", "ATTRIBUTES")
        for n, answer in enumerate(pipe.execute()):
            assert answer[3] == ([] if n % 10 == 5 else ["plan", f"key-{n}" * 20]), n
    counts = info(daemon)
    assert counts["attribute_evictions"] > 900 and 150 < counts["cache_entries"] < 600
    assert counts["attribute_bytes"] == 65536 and 32768 < counts["attribute_used_bytes"] <= 65536


def test_served_stale_and_overtaken(db, told, postgres):
    """Without PostgreSQL an ALLOW has its attributes, and so has one that a change overtakes on its way."""
    daemon = told({"cache.ttl": "100ms", "cache.ttl_unlinked": "100ms", "redis.url": "", "postgres.timeout": "500ms"})
    db.add_key("good", plan="gold")
    db.add_key("busy", plan="x" * 200)
    has_heard_of(daemon, 2)
    client = daemon.client()
    assert attributes(client, "good") == {"plan": "gold"}
    with ThreadPoolExecutor(8) as pool, db.connect() as writer:
        def ask(_):
            own = daemon.client()
            return [attributes(own, "busy") for _ in range(100)]
        asked = [pool.submit(ask, n) for n in range(7)]
        while not all(done.done() for done in asked):
            writer.execute(f"UPDATE {TABLE} SET user_id = user_id, created_at = clock_timestamp() WHERE key_id = 'busy'")
        assert all(answer == {"plan": "x" * 200} for done in asked for answer in done.result())
    postgres.pause()
    try:
        wait_until(lambda: attributes(client, "good") == {"plan": "gold"}
                   and info(daemon)["checks_stale"] > 0, "stale service")
    finally:
        postgres.resume()
