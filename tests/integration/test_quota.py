"""postgres.quota_column: past its uses of the month a key is told to be over its quota."""

import json
import subprocess

import pytest
import redis
from coherence import LONG, TABLE, redis_value
from conftest import check, explain, flush, info, let_redis_be_fresh
from harness.schema import deploy
from harness.servers import BUILD, wait_until
from http_wire import HttpWire

pytestmark = pytest.mark.builds("release", "debug", "asan")
OPTIONS = {**LONG, "postgres.quota_column": "quota", "usage.counts": "hour"}
COUNTS = "api.user_api_key_usage"


def add_column(db):
    if not db.one("SELECT count(*) FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'quota'", TABLE):
        db.run(f"ALTER TABLE {TABLE} ADD quota integer")
        deploy(db.admin_dsn, quota_column="quota")


@pytest.fixture
def limited(db, start):
    """limited({options}): a daemon over a table with quotas."""
    def run(options=None, **rest):
        add_column(db)
        return start({**OPTIONS, **(options or {})}, **rest)
    return run


def over(client, key):
    """Whether the key, which may pass, is told to be over its quota."""
    answer = check(client, key, "ATTRIBUTES")
    assert answer[0] == "ALLOW" and len(answer) == 4 and answer[3] in ([], ["over_quota", "true"])
    return bool(answer[3])


def used(db, api_key_id, uses, when="now()", verdict="allow"):
    """What other hosts have written."""
    db.run(f"INSERT INTO {COUNTS} (api_key_id, bucket, verdict, uses) "
           f"VALUES (%s, date_trunc('hour', {when}), %s, %s) "
           "ON CONFLICT (api_key_id, bucket, verdict) DO UPDATE SET uses = excluded.uses", api_key_id, verdict, uses)


def knows(daemon, key, uses):
    """Wait until the key's uses are these, the table's among them. The key has to be in memory."""
    def found():
        told = explain(daemon, key)
        return (told["uses_of"], told["uses"]) == ("all hosts", str(uses))
    wait_until(found, f"{uses} uses of {key}")


def has_sum(daemon, key):
    """Wait until no sum is under way: it would not have what is written from now on, and the next use would not ask."""
    wait_until(lambda: explain(daemon, key)["uses_of"] == "all hosts", f"the sum of {key}")


def test_from_each_tier(db, limited, redis_server):
    """Own uses count at once, those of other hosts when their sum has come; each use once."""
    add_column(db)
    key_id = db.add_key("ten", quota=10)
    db.add_key("none"), db.add_key("zero", quota=0), db.add_key("less", quota=-5)
    used(db, key_id, 100, "now() - interval '33 days'")
    used(db, key_id, 50, verdict="inactive")
    daemon, second = limited(), limited()
    let_redis_be_fresh()
    client = daemon.client()
    assert [over(client, "ten") for _ in range(12)] == [False] * 10 + [True] * 2
    assert over(client, "zero") and over(client, "less") and not over(client, "none")
    assert len(check(client, "ten")) == 3
    assert info(daemon)["checks_over_quota"] == 5
    knows(daemon, "ten", 13)
    found = explain(daemon, "ten")
    assert (found["verdict"], found["quota"], found["over_quota"]) == ("ALLOW", "10", "yes")
    assert "quota" not in explain(daemon, "none") and "attribute quota" not in found
    assert explain(daemon, "zero")["quota"] == explain(daemon, "less")["quota"] == "0"

    wait_until(lambda: info(daemon)["redis_fills"] == 4, "the fills")
    assert " #0210 " in redis_value(redis_server, daemon, "ten")[1] + " "
    assert not over(second.client(), "ten")  # nothing is written yet, and own uses are all that count
    assert info(second)["redis_hits"] == 1
    has_sum(second, "ten")
    flush(daemon)
    assert not over(client, "none") and over(client, "ten")
    knows(daemon, "ten", 14)
    flush(second)
    over(second.client(), "ten")
    knows(second, "ten", 15)  # 13 of the first daemon, 2 of its own
    assert over(second.client(), "ten")
    wait_until(lambda: info(second)["quota_sums_waiting"] == 0, "the sums")


def test_overshoot(db, limited):
    """What two hosts allow beyond the quota is what they have not told each other: the uses since the last flush."""
    quota, each, passed = 100, 20, 0
    add_column(db)
    key_id = db.add_key("shared", quota=quota)
    daemons = [limited(), limited()]
    clients = [daemon.client() for daemon in daemons]
    for _ in range(3):
        for client in clients:
            passed += sum(not over(client, "shared") for _ in range(each))
        for daemon in daemons:
            has_sum(daemon, "shared")
        for daemon in daemons:
            flush(daemon)
        written = db.one(f"SELECT sum(uses)::int FROM {COUNTS} WHERE api_key_id = %s", key_id)
        for daemon, client in zip(daemons, clients):
            passed += not over(client, "shared")
            knows(daemon, "shared", written + 1)
    assert written == 3 * 2 * each + 2 * 2 and quota < passed <= quota + each, passed
    for daemon, client in zip(daemons, clients):
        assert over(client, "shared")
        flush(daemon)
        assert daemon.stop() == 0
        written = db.one(f"SELECT sum(uses)::int FROM {COUNTS}")
        daemon.start()
        assert not over(daemon.client(), "shared")  # what it was told is forgotten, …
        knows(daemon, "shared", written + 1)  # … until the sum has come
        assert over(daemon.client(), "shared")


def test_attributes_over_http_are_those_behind_the_quota(db, limited, scratch):
    """From PostgreSQL, from memory, and for Lambda; a quota alone is no attribute."""
    add_column(db)
    db.run(f"ALTER TABLE {TABLE} ADD plan text")
    deploy(db.admin_dsn, quota_column="quota", attribute_columns="plan")
    db.add_key("gold", quota=1, plan="gold"), db.add_key("plain", quota=1)
    daemon = limited({"postgres.attribute_columns": "plan", "listen.http": scratch / f"{db.name}.http"})
    with HttpWire(scratch / f"{db.name}.http") as wire:
        for key, plan in [("gold", "gold"), ("plain", "")] * 2:
            reply = wire.authorize(key)
            assert reply.status == 200 and reply.fields["x-api-key-plan"] == plan
        event = {"type": "TOKEN", "authorizationToken": "gold", "methodArn": "arn:aws:execute-api:r:1:a/s/GET/"}
        given = json.loads(wire.ask("/aws/authorizer", "POST", [], json.dumps(event).encode()).body)
        assert set(given["context"]) == {"apiKeyId", "userId", "plan"} and given["context"]["plan"] == "gold"
    assert info(daemon)["checks_over_quota"] == 3


def test_a_round_that_ends_while_a_sum_is_under_way(db, limited):
    """The sum does not have that round's uses, which the daemon goes on adding."""
    add_column(db)
    db.add_key("slow", quota=100)
    daemon = limited()
    client = daemon.client()
    with db.connect() as holder, holder.transaction():
        holder.execute(f"LOCK TABLE {COUNTS} IN ACCESS EXCLUSIVE MODE")
        assert not over(client, "slow")
        wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE usename = 'apikeyd' "
                                  "AND datname = current_database() AND wait_event_type = 'Lock'"), "the sum to be asked for")
        swaps = info(daemon)["usage_swaps"]
        with pytest.raises(redis.ResponseError, match="counts"):
            flush(daemon)
        assert info(daemon)["usage_swaps"] > swaps
        assert [over(client, "slow") for _ in range(4)] == [False] * 4
    knows(daemon, "slow", 5)


def test_changes_of_the_quota(db, limited):
    add_column(db)
    key_id = db.add_key("changes", quota=2)
    daemon = limited()
    client = daemon.client()
    assert [over(client, "changes") for _ in range(3)] == [False, False, True]
    db.run(f"UPDATE {TABLE} SET quota = 5 WHERE api_key_id = %s", key_id)  # the notification is all that ends the ttl
    wait_until(lambda: explain(daemon, "changes")["memory"] == "absent", "the notification")
    assert [over(client, "changes") for _ in range(3)] == [False, False, True]
    assert explain(daemon, "changes")["quota"] == "5"
    db.run(f"UPDATE {TABLE} SET quota = NULL WHERE api_key_id = %s", key_id)
    wait_until(lambda: "quota" not in explain(daemon, "changes"), "no quota")
    assert not over(client, "changes")


def test_without_sums(db, limited):
    """The table is missing, or locked: keys pass by what is known, and the daemon says that the sums are missing."""
    add_column(db)
    db.add_key("counted", quota=3), db.add_key("late", quota=1)
    daemon = limited()
    db.run(f"ALTER TABLE {COUNTS} RENAME TO elsewhere")
    client = daemon.client()
    assert [over(client, "counted") for _ in range(5)] == [False] * 3 + [True] * 2
    wait_until(lambda: info(daemon)["quota_sums_failed"] > 0, "a failure")
    assert explain(daemon, "counted")["uses_of"] == "this host"
    assert "quotas are judged by the last sums" in daemon.log()
    db.run("ALTER TABLE api.elsewhere RENAME TO user_api_key_usage")
    knows(daemon, "counted", 5)
    with db.connect() as other:
        with other.transaction():
            other.execute(f"LOCK TABLE {COUNTS}")
            assert [over(client, "late") for _ in range(2)] == [False, True]
            assert explain(daemon, "late")["uses_of"] == "this host"
    knows(daemon, "late", 2)


def test_it_needs_counts(tmp_path):
    for options, message in (("[postgres]\nquota_column = quota\n", "usage.counts = hour or day is needed with it"),
                             ("[postgres]\nquota_column = last_used\n[usage]\ncounts = hour\n",
                              "the daemon writes times into this one")):
        (tmp_path / "conf").write_text(options)
        done = subprocess.run([BUILD / "apikeyd", "-c", tmp_path / "conf", "--check-config"], capture_output=True,
                              text=True, check=False)
        assert done.returncode == 78 and message in done.stderr


def test_another_type(db, start):
    db.run(f"ALTER TABLE {TABLE} ADD quota text")
    db.add_key("text", quota="5")
    deploy(db.admin_dsn, quota_column="quota")
    daemon = start(OPTIONS, settled=False)
    with pytest.raises(redis.ResponseError, match="postgres.quota_column is not of type bigint, integer or smallint"):
        check(daemon.client(), "text")
