"""Tables of other names and types than the defaults', in the database as it is after the migrations."""

import json
import os
import subprocess
import uuid
from datetime import datetime, timedelta, timezone

import pytest
import redis
from conftest import check, explain, flush, info, let_redis_be_fresh
from harness.servers import BUILD, wait_until
from http_wire import HttpWire
from psycopg import sql

pytestmark = pytest.mark.builds("release", "debug", "asan")
about_sql = pytest.mark.builds("release")  # the statements alone

# Blanks, quotes of both kinds, a backslash, what is no ASCII, reserved words, the names of the daemon's own SQL.
NAMES = {"key": "select", "id": 'Schlüssel "ID"', "user": "it's \\ a user", "active": "ACTIVE?", "last_used": "used",
         "updated": "{id}", "created": "n.id", "name": "Ünïcode"}
TABLE = ("Gäste's", 'key "table"')
VALUES = {
    "uuid": ("gen_random_uuid()", lambda n: str(uuid.UUID(int=n))),
    "bigint": ("nextval('ids')", lambda n: str([7, -2**63, 2**63 - 1, 4][n - 1])),
    "text": (None, lambda n: f"id_{n:033d}"),
}
TIMES = "timestamptz"


class Table:
    """The table of a deployment: its own names and types, all that the daemon's role needs, and no triggers."""

    def __init__(self, db, id_type="uuid", time_type=TIMES, names=None, table=TABLE, without=()):
        self.db, self.names = db, {**NAMES, **(names or {})}
        self.table = sql.Identifier(*table)
        self.options = {"postgres.table": ".".join(table), "postgres.id_type": id_type}
        self.options.update({f"postgres.{name}_column": column for name, column in self.names.items()})
        self.options.update({f"postgres.{name}_column": "" for name in without})
        db.run(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(table[0])))
        db.run("CREATE SEQUENCE ids START 100")
        default = VALUES[id_type][0]
        types = {"key": "text", "id": id_type + (f" DEFAULT {default}" if default else "") + " PRIMARY KEY",
                 "user": id_type, "active": "bool DEFAULT true", "last_used": time_type,
                 "updated": f"{time_type} DEFAULT now()", "created": f"{time_type} DEFAULT now()", "name": "text"}
        columns = [sql.SQL("{} " + kind).format(sql.Identifier(self.names[name]))
                   for name, kind in types.items() if name not in without]
        self.run("CREATE TABLE {table} ({columns})", columns=sql.SQL(", ").join(columns))
        self.run("GRANT USAGE ON SCHEMA {schema} TO apikeyd", schema=sql.Identifier(table[0]))
        self.run("GRANT SELECT, UPDATE ON {table} TO apikeyd")

    def run(self, text, *params, **names):
        """SQL with {column} for the names."""
        columns = {name: sql.Identifier(column) for name, column in self.names.items()}
        return self.db.run(sql.SQL(text).format(table=self.table, **columns, **names), *params)

    def add(self, key, row_id, user_id, **columns):
        columns = {"key": key, "id": row_id, "user": user_id, **columns}
        self.run("INSERT INTO {table} ({into}) VALUES ({values})", *columns.values(),
                 into=sql.SQL(", ").join(sql.Identifier(self.names[name]) for name in columns),
                 values=sql.SQL(", ").join([sql.SQL("%s")] * len(columns)))

    def one(self, column, key):
        return self.run("SELECT " + column + " FROM {table} WHERE {key} = %s", key)[0][0]


def ctl(daemon, table, *arguments, status=0):
    done = subprocess.run([str(BUILD / "apikeyctl"), "--config", str(daemon.config), "keys", *arguments, "--json",
                           "--dsn", table.db.admin_dsn], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "PGTZ": "America/New_York"})
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout) if status == 0 else done.stderr


def now():
    return datetime.now(timezone.utc)


def recent(moment):
    return abs(now() - moment) < timedelta(minutes=2)


@pytest.mark.parametrize("id_type", VALUES)
def test_ids_and_names_wherever_they_go(db, scratch, start, id_type):
    table, (_, value) = Table(db, id_type), VALUES[id_type]
    row, user, other = value(1), value(2), value(3)
    table.add("good", row, user)
    table.add("off", other, user, active=False)
    path = scratch / f"{db.name}.http"
    daemon = start({**table.options, "listen.http": path})
    for _ in range(2):  # a miss and a hit
        assert check(daemon.client(), "good") == ["ALLOW", row, user]
        assert check(daemon.client(), "off") == ["DENY", "inactive"]
        assert check(daemon.client(), "none") == ["DENY", "unknown"]
    with HttpWire(path) as wire:
        fields = wire.ask("/authorize", fields=["X-API-Key: good"]).fields
        assert [fields["x-api-key-id"], fields["x-user-id"]] == [row, user]
        event = {"type": "TOKEN", "authorizationToken": "good", "methodArn": "arn:aws:execute-api:r:1:a/s/GET/"}
        policy = json.loads(wire.ask("/aws/authorizer", "POST", [], json.dumps(event).encode()).body)
        assert [policy["context"], policy["principalId"]] == [{"apiKeyId": row, "userId": user}, user]
    found = explain(daemon, "good")
    assert [found["api_key_id"], found["user_id"]] == [row, user] and found["pending_last_used"] != "none"
    assert table.one("{last_used}", "good") is None
    assert flush(daemon) == 1
    assert recent(table.one("{last_used}", "good")) and recent(table.one("{updated}", "good"))
    assert table.one("{last_used}", "off") is None

    # By Redis, to a daemon that reads the same columns, and to no other.
    same, turned = start(table.options), start({**table.options, "postgres.user_column": table.names["id"]})
    let_redis_be_fresh()
    shared = value(4)
    table.add("shared", shared, user)
    assert check(daemon.client(), "shared") == ["ALLOW", shared, user]
    wait_until(lambda: info(daemon)["redis_fills"] == 3, "the fill")  # with those of the two from before
    assert check(same.client(), "shared") == ["ALLOW", shared, user]
    assert check(turned.client(), "shared") == ["ALLOW", shared, shared]
    assert [info(one)["redis_hits"] for one in (same, turned)] == [1, 0]

    # apikeyctl keys
    given = () if VALUES[id_type][0] else ("--id", "made")
    made = ctl(daemon, table, "create", "--user", user, "--name", "new", *given)
    assert check(daemon.client(), made["key_id"]) == ["ALLOW", made["api_key_id"], user]
    assert {one["api_key_id"] for one in ctl(daemon, table, "list", "--user", user)} == {row, other, shared,
                                                                                      made["api_key_id"]}
    assert ctl(daemon, table, "show", row)["last_used"][:13] == now().isoformat()[:13]
    assert ctl(daemon, table, "rename", made["api_key_id"], "again")["name"] == "again"
    assert ctl(daemon, table, "deactivate", made["api_key_id"])["active"] is False
    assert ctl(daemon, table, "delete", made["api_key_id"], "--user", user)["active"] is False
    assert "expected" in ctl(daemon, table, "show", "no such id", status=65)


@about_sql
def test_a_table_with_the_least(db, start):
    """No flag, no times but the last use, no name; several rows with one key: the smallest ID tells."""
    table = Table(db, "bigint", table=("least", "keys"), without=("active", "updated", "created", "name"))
    for row in (11, -3, 7):
        table.add("good", row, 100 + row)
    daemon = start(table.options)
    assert check(daemon.client(), "good") == ["ALLOW", "-3", "97"]
    assert flush(daemon) == 1
    assert [used for used, in table.run("SELECT {id} FROM {table} WHERE {last_used} IS NOT NULL")] == [-3]
    assert "every key is active" in ctl(daemon, table, "deactivate", "7", status=78)
    assert "no names" in ctl(daemon, table, "rename", "7", "x", status=78)
    made = ctl(daemon, table, "create", "--user", "5")
    assert made["active"] is True and made["name"] is made["created_at"] is None
    assert len(ctl(daemon, table, "list")) == 4
    ctl(daemon, table, "delete", "7")


def test_an_id_that_cannot_be_told_harms_its_own_key_only(db, start):
    table = Table(db, "text", table=("auth", "keys"))
    bad = ["", "x" * 37, "a b", "a\nb", "\x7f", " x"]
    for i, text in enumerate([*bad, "x" * 36, "ü", "-"]):
        table.add(f"row-{i}", text, "user")
        table.add(f"user-{i}", f"id-{i}", text)
    table.add("null", "null", None)
    daemon = start(table.options)
    with daemon.client().pipeline(transaction=False) as pipeline:
        for i in range(len(bad) + 3):
            pipeline.execute_command("CHECK", f"row-{i}")
            pipeline.execute_command("CHECK", f"user-{i}")
        pipeline.execute_command("CHECK", "null")
        replies = pipeline.execute(raise_on_error=False)
    fit = replies[2 * len(bad):-1]
    assert [reply[0] for reply in fit] == ["ALLOW"] * 6 and fit[0] == ["ALLOW", "x" * 36, "user"]
    for reply in [*replies[:2 * len(bad)], replies[-1]]:
        assert isinstance(reply, redis.ResponseError) and "UNAVAILABLE its row's ID" in str(reply)
    assert daemon.log().count("is NULL, or not of 1 to 36 bytes of UTF-8 without blanks") == 1


def unavailable(daemon, why):
    def found():
        try:
            check(daemon.client(), f"key-{uuid.uuid4()}")
        except redis.ResponseError as error:
            return why in str(error)
        return False
    return found


def allows(daemon, key="good"):
    def found():
        try:
            return check(daemon.client(), key)[0] == "ALLOW"
        except redis.ResponseError:
            return False
    return found


def healed(daemon):
    return lambda: allows(daemon)() and info(daemon)["lookup_fault"] == "none"


def test_the_table_is_altered_under_the_daemon(db, start):
    """Each column type is what it says, or is told; no verdict is wrong meanwhile, and all heals by itself."""
    table = Table(db, "bigint", table=("auth", "keys"))
    table.add("good", 1, 2)
    db.run("CREATE DOMAIN ids_of_ours AS integer")
    daemon = start({**table.options, "redis.url": "", "cache.ttl": "100ms", "cache.stale_max": "0s"})
    for kind in ("bigint", "integer", "smallint", "ids_of_ours"):
        table.run("ALTER TABLE {table} ALTER {id} DROP DEFAULT, ALTER {id} TYPE " + kind + ", ALTER {user} TYPE " + kind)
        wait_until(allows(daemon), kind)
        table.run("UPDATE {table} SET {last_used} = NULL")
        wait_until(lambda: allows(daemon)() and flush(daemon) == 1, f"usage by {kind}")
    for column, kind, using in (("id", "text", "{id}::text"), ("user", "numeric", "{user}::numeric"),
                                ("created", "date", "{created}::date"), ("active", "int", "{active}::int")):
        old = {"id": "bigint", "user": "bigint", "created": "timestamptz", "active": "bool"}[column]
        table.run("ALTER TABLE {table} ALTER {active} DROP DEFAULT, ALTER {created} DROP DEFAULT")
        table.run("ALTER TABLE {table} ALTER {" + column + "} TYPE " + kind + " USING " + using)
        wait_until(unavailable(daemon, "postgres"), f"{column} {kind}")
        said = (f"postgres.{column}_column is not of" if column != "active" else "must be type boolean")
        wait_until(lambda said=said: said in daemon.log(), said)
        assert info(daemon)["lookup_fault"] != "none"
        table.run("ALTER TABLE {table} ALTER {" + column + "} TYPE " + old + " USING {" + column + "}::" + old)
        wait_until(healed(daemon), f"{column} {old}")
    assert ": its type is numeric; its answers are not used" in daemon.log()
    table.run('ALTER TABLE {table} RENAME {user} TO "no longer"')
    wait_until(unavailable(daemon, "postgres"), "the column gone")
    assert "does not exist" in daemon.log()
    table.run('ALTER TABLE {table} RENAME "no longer" TO {user}')
    wait_until(healed(daemon), "the column back")
    assert check(daemon.client(), "good") == ["ALLOW", "1", "2"]


def test_ledger_and_spill_of_another_id_type_are_set_aside(db, start):
    """They are told, kept, and not misread."""
    ids = Table(db, "bigint", table=("auth", "keys"))
    ids.add("good", 1, 2)
    daemon = start(ids.options)
    assert check(daemon.client(), "good") == ["ALLOW", "1", "2"]
    daemon.kill()
    db.add_key("good")
    daemon.options = {name: value for name, value in daemon.options.items() if name not in ids.options}
    daemon.spill.write_bytes(b"apikeyd spill\n\0\0" + (2 | 2 << 16).to_bytes(4, "little") + bytes(36))
    daemon.start()
    wait_until(daemon.settled, "the daemon")
    assert check(daemon.client(), "good")[0] == "ALLOW"
    assert flush(daemon) == 1
    for name in ("ledger", "spill"):
        assert f"usage.{name} {getattr(daemon, name)}: it holds IDs of another type than postgres.id_type" in daemon.log()
    assert len(list(daemon.folder.glob("*.damaged-*"))) == 2


def local(zone):
    return now().astimezone(zone).replace(tzinfo=None)


@about_sql
def test_times_of_a_zone(db, start):
    """An application in Seoul writes local time, and so does the daemon: what is older stays out, and nothing else."""
    seoul = timezone(timedelta(hours=9))
    table = Table(db, time_type="timestamp", table=("auth", "keys"))
    for key, back in (("new", None), ("old", timedelta(hours=1)), ("later", -timedelta(hours=1))):
        table.add(key, uuid.uuid4(), uuid.uuid4(), last_used=back is not None and local(seoul) - back or None)
    daemon = start({**table.options, "postgres.timestamp_zone": "Asia/Seoul"})
    before = table.one("{last_used}", "later")
    for key in ("new", "old", "later"):
        assert check(daemon.client(), key)[0] == "ALLOW"
    assert flush(daemon) == 2
    for moment in (table.one("{last_used}", "new"), table.one("{last_used}", "old"), table.one("{updated}", "new")):
        assert abs(local(seoul) - moment) < timedelta(minutes=2)
    assert table.one("{last_used}", "later") == before
    assert daemon.log().count('column "used" has no time zone; its times are written and read as of '
                              "postgres.timestamp_zone, Asia/Seoul (logged once)") == 1
    shown = ctl(daemon, table, "show", str(table.one("{id}", "new")))
    assert shown["last_used"][:13] == now().isoformat()[:13]


@about_sql
def test_an_hour_that_is_there_twice(db, start):
    """A zone that has left its summer time half an hour ago: a stored time goes forward only, and one from before
    does not keep out what is later on the clock."""
    clock = local(timezone(timedelta(hours=5)))
    end = clock + timedelta(minutes=30)  # on the clock of summer time, an hour ahead
    zone = f"WIN-5SUM-6,0/0,{end.timetuple().tm_yday - 1}/{end:%H:%M:%S}"
    table = Table(db, time_type="timestamp", table=("auth", "keys"))
    stored = {"later": clock + timedelta(minutes=20),    # 40 minutes ago, in summer time
              "earlier": clock - timedelta(minutes=20)}  # 80 minutes ago
    for key, moment in stored.items():
        table.add(key, uuid.uuid4(), uuid.uuid4(), last_used=moment)
    daemon = start({**table.options, "postgres.timestamp_zone": zone})
    for key in stored:
        check(daemon.client(), key)
    assert flush(daemon) == 1
    assert table.one("{last_used}", "later") == stored["later"]
    assert timedelta(0) < table.one("{last_used}", "earlier") - clock < timedelta(minutes=2)


@about_sql
def test_a_zone_that_is_none_is_told(db, start):
    table = Table(db, time_type="timestamp", table=("auth", "keys"))
    table.add("good", uuid.uuid4(), uuid.uuid4())
    daemon = start({**table.options, "postgres.timestamp_zone": "Asia/Soul"})
    assert check(daemon.client(), "good")[0] == "ALLOW"
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE postgres refuses"):
        flush(daemon)
    assert 'postgres.timestamp_zone "Asia/Soul": PostgreSQL knows no such time zone' in daemon.log()
