"""The tables as different deployments have them, and PostgreSQL as they reach it."""

import re
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
import redis
from conftest import Database, check, drop_database, flush, info
from harness.servers import ROOT, wait_until

pytestmark = pytest.mark.builds("release")


@pytest.mark.slow
@pytest.mark.parametrize("column_type", ["timestamp", "timestamptz"])
@pytest.mark.parametrize("index", ["unique", "plain"])
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_column_types_indexes_and_zones(db, start, column_type, index, zone):
    for column in ("last_used", "created_at", "updated_at"):
        db.run(f"ALTER TABLE api.user_api_key ALTER {column} TYPE {column_type}")
    if index == "plain":
        db.run("DROP INDEX api.user_api_key_key_id_idx")
        db.run("CREATE INDEX ON api.user_api_key (key_id)")
    db.run(f"ALTER DATABASE {db.name} SET timezone = '{zone}'")
    db.add_key("good")
    db.add_key("bad", active=False)
    daemon = start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    assert check(daemon.client(), "bad") == ["DENY", "inactive"]
    assert flush(daemon) == 1
    used = db.one("SELECT last_used FROM api.user_api_key WHERE key_id = 'good'")
    updated = db.one("SELECT updated_at FROM api.user_api_key WHERE key_id = 'good'")
    for value in (used, updated):
        value = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        assert abs(datetime.now(timezone.utc) - value) < timedelta(minutes=1)
    # And forward only, in that type too.
    db.run("UPDATE api.user_api_key SET last_used = now() + interval '1 hour'")
    check(daemon.client(), "good")
    assert flush(daemon) == 0


def test_is_active_without_default_and_extra_columns(db, start):
    """As the application's own migrations make the table."""
    db.run("ALTER TABLE api.user_api_key ALTER is_active DROP DEFAULT")
    db.run("ALTER TABLE api.user_api_key ADD note text")
    db.add_key("good")
    assert check(start().client(), "good")[0] == "ALLOW"


def test_another_table_and_column(db, start):
    db.run("CREATE SCHEMA auth")
    db.run('CREATE TABLE auth.keys AS SELECT * FROM api.user_api_key WITH NO DATA')
    db.run("ALTER TABLE auth.keys RENAME key_id TO key_id_hash")
    db.run("GRANT USAGE ON SCHEMA auth TO apikeyd")
    db.run("GRANT SELECT, UPDATE ON auth.keys TO apikeyd")
    db.run("INSERT INTO auth.keys (api_key_id, key_id_hash, user_id, is_active) "
           "VALUES (gen_random_uuid(), 'good', gen_random_uuid(), true)")
    daemon = start({"postgres.table": "auth.keys", "postgres.key_column": "key_id_hash"})
    assert check(daemon.client(), "good")[0] == "ALLOW"
    assert flush(daemon) == 1


def test_least_privilege_is_what_security_md_says(db):
    """The columns that the migrations grant, and no more: SECURITY.md lists them."""
    granted = {right: {column for column, in db.run(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'api.user_api_key'::regclass AND attnum > 0 "
        "AND has_column_privilege('apikeyd', attrelid, attnum, %s)", right)} for right in ("SELECT", "UPDATE", "INSERT")}
    assert granted.pop("INSERT") == set()
    others = db.run("SELECT c.oid::regclass FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
                    "WHERE n.nspname IN ('api', 'apikeyd', 'sqitch') AND c.relkind = 'r' "
                    "AND has_table_privilege('apikeyd', c.oid, 'SELECT, UPDATE, INSERT, DELETE, TRUNCATE, TRIGGER')")
    counts = ["api.user_api_key_usage", "api.apikeyd_ledger"]
    assert {name for name, in others} == {"apikeyd.unannounced_change", *counts}
    assert db.run("SELECT oid FROM pg_class WHERE oid = ANY (%s::regclass[]) "
                  "AND has_table_privilege('apikeyd', oid, 'DELETE, TRUNCATE, REFERENCES, TRIGGER')", counts) == []
    assert db.run("SELECT proname FROM pg_proc WHERE pronamespace = 'api'::regnamespace AND prosecdef "
                  "AND has_function_privilege('apikeyd', oid, 'EXECUTE')") == [("user_api_key_usage_maintain",)]
    said, = re.findall(r"may read six columns \((.*?)\) and write two \((.*?)\)", (ROOT / "SECURITY.md").read_text())
    assert [set(re.findall(r"`(\w+)`", names)) for names in said] == list(granted.values())


def test_least_privilege_is_enough_and_no_more(db, daemon):
    db.add_key("good")
    assert check(daemon.client(), "good")[0] == "ALLOW"
    assert flush(daemon) == 1
    with psycopg.connect(db.dsn, autocommit=True) as role:
        for sql in ("SELECT key_name FROM api.user_api_key",
                    "UPDATE api.user_api_key SET is_active = true",
                    "DELETE FROM api.user_api_key",
                    'SELECT * FROM api."user"',
                    "INSERT INTO api.user_api_key (key_id) VALUES ('x')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role.execute(sql)


KEYS = ("CREATE TABLE api.user_api_key (api_key_id uuid PRIMARY KEY, key_name text, key_id text, user_id uuid, "
        "is_active bool, last_used timestamp, created_at timestamp DEFAULT now(), updated_at timestamp DEFAULT now())")


@pytest.fixture
def latin1_db(postgres):
    """A database whose encoding has no emoji."""
    name = "latin1"
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'")
    database = Database(postgres, name)
    database.run("CREATE SCHEMA api")
    database.run(KEYS)
    yield database
    drop_database(postgres, name)


def test_a_key_that_the_encoding_lacks_does_not_harm_its_batch(latin1_db, start):
    latin1_db.add_key("caf\u00e9")
    daemon = start({"postgres.dsn": latin1_db.admin_dsn, "redis.url": ""})
    client = daemon.client()
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(50):
            pipeline.execute_command("CHECK", "caf\u00e9")
            pipeline.execute_command("CHECK", f"key \U0001f511 {_}")
            pipeline.execute_command("CHECK", f"plain {_}")
        replies = pipeline.execute()
    assert {r[0] for r in replies[::3]} == {"ALLOW"}
    assert replies[1::3] == replies[2::3] == [["DENY", "unknown"]] * 50


def test_a_database_without_an_encoding_proves_no_absence(postgres, start):
    """An application that speaks LATIN1 has written its key in other bytes than the gateway sends."""
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
        admin.execute("CREATE DATABASE bytes TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C'")
    try:
        db = Database(postgres, "bytes")
        db.run("CREATE SCHEMA api")
        db.run(KEYS)
        db.run("ALTER TABLE api.user_api_key ADD plan text, ADD tenant text DEFAULT E'\\303\\274'")
        for key in ("good", "caf\\351", "\\303\\274ber"):
            db.run("INSERT INTO api.user_api_key (api_key_id, key_id, user_id, is_active, plan) "
                   f"VALUES (gen_random_uuid(), E'{key}', gen_random_uuid(), true, E'{key}')")
        daemon = start({"postgres.dsn": db.admin_dsn, "redis.url": "", "postgres.attribute_columns": "plan, tenant"})
        client = daemon.client()
        # A value in other bytes is left out, and the key is answered.
        db.run("INSERT INTO api.user_api_key (api_key_id, key_id, user_id, is_active, plan) "
               "VALUES (gen_random_uuid(), 'latin', gen_random_uuid(), true, E'caf\\351')")
        told = {key: check(client, key, "ATTRIBUTES")[3] for key in ("good", "latin", "\u00fcber")}
        assert told == {"good": ["plan", "good", "tenant", "\u00fc"], "latin": ["tenant", "\u00fc"],
                        "\u00fcber": ["plan", "\u00fcber", "tenant", "\u00fc"]}
        assert "column plan has 4 bytes and is left out of this key's attributes: it is no UTF-8" in daemon.log()
        assert check(client, "good")[0] == check(client, "\u00fcber")[0] == "ALLOW"
        assert check(client, "none") == ["DENY", "unknown"]
        for _ in range(2):
            with pytest.raises(redis.ResponseError, match="UNAVAILABLE the database has no encoding"):
                check(client, "caf\u00e9")
        assert daemon.log().count("the database's encoding is SQL_ASCII") == 1
        daemon.stop()
    finally:
        drop_database(postgres, "bytes")


@pytest.mark.slow
@pytest.mark.needs("pgbouncer")
def test_through_pgbouncer_in_transaction_mode(db, pgbouncer, start):
    db.add_keys(3000)
    db.run(f"ALTER DATABASE {db.name} SET timezone = 'Asia/Tokyo'")
    daemon = start({"postgres.dsn": pgbouncer, "postgres.listen_dsn": db.dsn, "redis.url": ""})
    client = daemon.client()
    with client.pipeline(transaction=False) as pipeline:
        for i in range(3000):
            pipeline.execute_command("CHECK", f"key-{i}")
        assert {reply[0] for reply in pipeline.execute()} == {"ALLOW"}
    assert check(client, "none") == ["DENY", "unknown"]
    assert flush(daemon) == 3000
    late = db.one("SELECT count(*) FROM api.user_api_key WHERE last_used IS NULL "
                  "OR abs(extract(epoch FROM last_used - (now() AT TIME ZONE 'UTC'))) > 60")
    assert late == 0
    assert info(daemon)["postgres_errors"] == 0


def test_host_names_are_resolved_without_libpq(db, start):
    """A name that does not exist is told as one, and takes nothing else down."""
    daemon = start({"postgres.dsn": f"host=no-such-host.invalid user=apikeyd dbname={db.name}"},
                   settled=False)
    wait_until(lambda: '"no-such-host.invalid" is not resolved' in daemon.log(), "the failure")
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
        check(daemon.client(), "good")


@pytest.mark.parametrize("form", ["uri", "pghost", "service"])
def test_connection_strings(db, postgres, scratch, start, form):
    db.add_key("good")
    service = scratch / "pg_service.conf"
    service.write_text(f"[keys]\nhost={postgres.folder}\ndbname={db.name}\nuser=apikeyd\n")
    dsn, env = {
        "uri": (f"postgresql:///{db.name}?user=apikeyd&host={postgres.folder}", {}),
        "pghost": (f"user=apikeyd dbname={db.name}", {"PGHOST": str(postgres.folder)}),
        "service": ("service=keys", {"PGSERVICEFILE": str(service)}),
    }[form]
    daemon = start({"postgres.dsn": dsn}, env=env)
    assert check(daemon.client(), "good")[0] == "ALLOW"
