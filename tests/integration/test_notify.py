"""The trigger: which changes are notified, and that it is safe for whoever makes them."""

import uuid

import psycopg
import pytest
from coherence import TABLE, Ear, digest
from conftest import Database, check, drop_database, flush
from harness.servers import migrate

pytestmark = pytest.mark.builds("release")

CHANGES = {
    "deactivated": (f"UPDATE {TABLE} SET is_active = false WHERE key_id = 'a'", ["a"]),
    "given to another user":
        (f"UPDATE {TABLE} SET user_id = '{uuid.UUID(int=2)}' WHERE key_id = 'a'", ["a"]),
    "another row id":
        (f"UPDATE {TABLE} SET api_key_id = gen_random_uuid() WHERE key_id = 'a'", ["a"]),
    "key replaced": (f"UPDATE {TABLE} SET key_id = 'new' WHERE key_id = 'a'", ["a", "new"]),
    "deleted": (f"DELETE FROM {TABLE} WHERE key_id = 'b'", ["b"]),
    "all deleted": (f"DELETE FROM {TABLE}", ["a", "b"]),
    "user deleted": ('DELETE FROM api."user" WHERE user_id <> \'' f"{uuid.UUID(int=2)}'", ["a", "b"]),
    "inserted": (f"INSERT INTO {TABLE} (api_key_id, key_name, key_id, user_id) VALUES "
                 f"(gen_random_uuid(), 'n', 'ключ', '{uuid.UUID(int=2)}')", ["ключ"]),
    "truncated": (f"TRUNCATE {TABLE}", ["*"]),
    "last_used": (f"UPDATE {TABLE} SET last_used = now(), updated_at = now()", []),
    "renamed": (f"UPDATE {TABLE} SET key_name = 'other'", []),
    "set to what it is": (f"UPDATE {TABLE} SET is_active = is_active, key_id = key_id", []),
    "nothing found": (f"UPDATE {TABLE} SET is_active = false WHERE key_id = 'c'", []),
    "as a replica": (f"SET session_replication_role = replica; "
                     f"UPDATE {TABLE} SET is_active = false WHERE key_id = 'a'", ["a"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_notified(db, change):
    sql, keys = CHANGES[change]
    db.run('INSERT INTO api."user" (user_id) VALUES (%s)', uuid.UUID(int=2))
    db.add_key("a")
    db.add_key("b")
    with Ear(db) as ear:
        db.run(sql)
        expected = [key if key == "*" else digest(key) for key in keys]
        assert sorted(ear.heard()) == sorted(expected)


def test_what_is_rolled_back_is_not_notified(db):
    db.add_key("a")
    with Ear(db) as ear, db.connect(autocommit=False) as other:
        other.execute(f"UPDATE {TABLE} SET is_active = false")
        assert ear.heard() == []
        other.rollback()
        assert ear.heard() == []


def test_a_change_by_a_before_trigger_is_notified(db):
    """UPDATE of another column, whose BEFORE trigger deactivates the key."""
    db.add_key("a")
    db.run("CREATE FUNCTION api.expire() RETURNS trigger LANGUAGE plpgsql AS "
           "$$ BEGIN NEW.is_active := false; RETURN NEW; END $$")
    db.run(f"CREATE TRIGGER expire BEFORE UPDATE ON {TABLE} FOR EACH ROW "
           "EXECUTE FUNCTION api.expire()")
    with Ear(db) as ear:
        db.run(f"UPDATE {TABLE} SET key_name = 'expired'")
        assert ear.heard() == [digest("a")]


def test_a_column_of_another_type(db):
    """The triggers' argument names the column."""
    key = str(uuid.uuid4())
    db.run("CREATE TABLE api.token (token uuid, key_id text)")
    db.run("CREATE TRIGGER rows AFTER INSERT OR DELETE OR UPDATE ON api.token FOR EACH ROW "
           "EXECUTE FUNCTION apikeyd.notify_key_change('token')")
    with Ear(db) as ear:
        db.run("INSERT INTO api.token VALUES (%s, 'no')", key)
        db.run("UPDATE api.token SET token = NULL")
        db.run("DELETE FROM api.token")
        assert ear.heard() == [digest(key), digest(key)]


def test_a_flush_notifies_nothing(db, start):
    db.add_keys(100)
    daemon = start()
    with Ear(db) as ear:
        for i in range(100):
            assert check(daemon.client(), f"key-{i}")[0] == "ALLOW"
        assert flush(daemon) == 100
        assert ear.heard() == []


def test_an_application_needs_no_rights_of_its_own(db):
    """A role that may only change keys; functions of its own, first in its path, are not called."""
    db.add_key("a")
    db.run(f"CREATE ROLE app_{db.name} LOGIN")
    try:
        db.run(f"GRANT USAGE ON SCHEMA api TO app_{db.name}")
        db.run(f"GRANT SELECT, UPDATE ON {TABLE} TO app_{db.name}")
        db.run(f"CREATE SCHEMA evil AUTHORIZATION app_{db.name}")
        for function in ("pg_notify(text, text) RETURNS void", "sha256(bytea) RETURNS bytea",
                         "encode(bytea, text) RETURNS text"):
            db.run(f"CREATE FUNCTION evil.{function} LANGUAGE plpgsql AS "
                   "$$ BEGIN RAISE 'called'; END $$")
        with Ear(db) as ear, psycopg.connect(
                db.server.dsn(db.name, f"app_{db.name}"), autocommit=True,
                options="-c search_path=evil,pg_catalog") as app:
            app.execute(f"UPDATE {TABLE} SET is_active = false")
            assert ear.heard() == [digest("a")]
    finally:
        db.run(f"DROP OWNED BY app_{db.name} CASCADE")
        db.run(f"DROP ROLE app_{db.name}")


@pytest.mark.slow
def test_text_that_is_not_utf8_fails_no_change(postgres):
    """In a database without an encoding any bytes can be a key; nobody can ask for such a one."""
    name = "ascii"
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    try:
        done = migrate(postgres.uri(name))
        assert done.returncode == 0, done.stdout + done.stderr
        database = Database(postgres, name)
        database.add_user()
        with Ear(database) as ear:
            database.add_key("good")
            database.run(f"INSERT INTO {TABLE} (api_key_id, key_name, key_id, user_id) VALUES "
                         r"(gen_random_uuid(), 'n', E'\xff\xfe', %s)", database.user_id)
            database.run(f"DELETE FROM {TABLE}")
            assert ear.heard() == [digest("good"), digest("good")]
    finally:
        drop_database(postgres, name)
