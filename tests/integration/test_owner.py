"""What the table's owner does to the table with our triggers on it: it works and revocations keep their bound, or
the log says what to do, and INFO tells the bound meanwhile."""

import contextlib
import itertools
import os
import subprocess
import threading
import time

import psycopg
import pytest
import redis
from coherence import ALLOWED, INACTIVE, LONG, TABLE, TTL_ONLY, UNKNOWN, Ear, becomes, digest
from conftest import Database, check, drop_database, flush, info
from harness.servers import BUILD, PG_BIN, Postgres, wait_until

pytestmark = pytest.mark.builds("release")
numbers = itertools.count(1)


def schema(what, *args, config="/dev/null", **options):
    return subprocess.run([BUILD / "apikeyctl", "schema", what, "--config", config, *args],
                          capture_output=True, text=True, check=False, **options)


def run_sql(db, text, user="postgres"):
    """As a runner does that sends each statement by itself, outside of a transaction."""
    return subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", db.server.dsn(db.name, user)],
                          input=text, capture_output=True, text=True, check=False)


def deploy(db, *args, config="/dev/null"):
    made = schema("sql", *args, config=config)
    assert made.returncode == 0, made.stderr
    done = run_sql(db, made.stdout)
    assert done.returncode == 0, done.stderr


def bound(daemon):
    return info(daemon)["revocation_bound"]


def is_revoked_at_once(db, daemon, key="good"):
    wait_until(lambda: bound(daemon) == "notification", "the triggers to count")
    client = daemon.client()
    becomes(client, key, ALLOWED)
    db.run(f"UPDATE {TABLE} SET is_active = false")
    becomes(client, key, INACTIVE)


# Nothing has to be done, and the bound stays.
WORKS = {
    "the key column gets another type": f"ALTER TABLE {TABLE} ALTER key_id TYPE varchar(200)",
    "the flag gets another default": f"ALTER TABLE {TABLE} ALTER is_active DROP DEFAULT",
    "another column is renamed": f"ALTER TABLE {TABLE} RENAME key_name TO label",
    "another column is dropped": f"ALTER TABLE {TABLE} DROP label",
    "a column is added": f"ALTER TABLE {TABLE} ADD note json DEFAULT '{{}}'",
    "the time of use is dropped": f"ALTER TABLE {TABLE} DROP last_used",
    "the table is rewritten": f"VACUUM FULL {TABLE}",
    "the key column folds case": "CREATE COLLATION public.folding (provider = icu, locale = 'und-u-ks-level2', "
        f"deterministic = false); ALTER TABLE {TABLE} ALTER key_id TYPE text COLLATE public.folding",
}


def test_what_works(db, start):
    """One after the other, under one daemon."""
    db.add_key("good")
    daemon = start({**LONG, "redis.url": ""})
    for action, sql in WORKS.items():
        assert check(daemon.client(), "good")[0] == ALLOWED
        db.run(sql)
        is_revoked_at_once(db, daemon)
        with Ear(db) as ear:
            db.run(f"UPDATE {TABLE} SET is_active = is_active")
            assert ear.heard() == [], action
            db.run(f"UPDATE {TABLE} SET is_active = true")
            assert ear.heard() == [digest("good")], action
        becomes(daemon.client(), "good", ALLOWED)


CHILD = f"CREATE TABLE api.child () INHERITS ({TABLE})"
SWAP = f"""CREATE TABLE api.next (LIKE {TABLE} INCLUDING ALL);
INSERT INTO api.next SELECT * FROM {TABLE};
GRANT SELECT (api_key_id, key_id, user_id, is_active, created_at, last_used), UPDATE (last_used, updated_at)
    ON api.next TO apikeyd;
BEGIN; ALTER TABLE {TABLE} RENAME TO previous; ALTER TABLE api.next RENAME TO user_api_key; COMMIT"""
# The log says what to do, and INFO that a revocation takes up to cache.ttl; the schema for the configuration that
# fits ends that. No statement of the owner's fails meanwhile, and a change of a key that the daemon knows is heard of
# where the table is still the same.
TOLD = {
    "the key column is renamed": (f"ALTER TABLE {TABLE} RENAME key_id TO key", {"key_column": "key"},
                                  "has no column key_id; name its columns in the section [postgres]"),
    "the flag is renamed": (f"ALTER TABLE {TABLE} RENAME is_active TO enabled", {"active_column": "enabled"},
                            "has no column is_active; name its columns"),
    "the table moves to another schema": (f"CREATE SCHEMA auth; ALTER TABLE {TABLE} SET SCHEMA auth",
                                          {"table": "auth.user_api_key"}, "the table is not there; make it, or name"),
    "the table is swapped": (SWAP, {}, "announces INSERT, UPDATE, DELETE, TRUNCATE for key column key_id; deploy"),
    "a child inherits from it": (CHILD, {}, "no trigger on api.child that is as it should be"),
    "a trigger is dropped": (f"DROP TRIGGER apikeyd_notify_update ON {TABLE}", {}, "announces UPDATE"),
    "triggers are disabled": (f"ALTER TABLE {TABLE} DISABLE TRIGGER USER", {},
                              f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER apikeyd_notify_rows"),
    "a function is not everybody's": (
        "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA apikeyd FROM PUBLIC", {}, "deploy the schema again"),
}


@pytest.mark.slow
@pytest.mark.parametrize("action", TOLD)
def test_what_is_told(db, start, action):
    sql, options, sentence = TOLD[action]
    db.add_key("good")
    daemon = start({**LONG, "cache.stale_max": "0s", "redis.url": ""})
    assert check(daemon.client(), "good")[0] == ALLOWED
    for statement in sql.split("; "):
        db.run(statement)
    wait_until(lambda: bound(daemon) == TTL_ONLY, "it to be told")
    assert sentence in daemon.log()
    table, flag = options.get("table", TABLE), options.get("active_column", "is_active")
    db.run(f"UPDATE {table} SET {flag} = true")
    if options:
        daemon.stop()
        daemon = start({**LONG, **{f"postgres.{name}": value for name, value in options.items()}, "redis.url": ""},
                       wait=False)
        daemon.write_config()
    asked = [schema("check", "--dsn", db.admin_dsn, "--role", "apikeyd", config=daemon.config)]
    deploy(db, config=daemon.config)
    asked.append(schema("check", "--dsn", db.admin_dsn, "--role", "apikeyd", config=daemon.config))
    assert [one.returncode for one in asked] == [1, 0], [one.stdout + one.stderr for one in asked]
    assert options or sentence.split("; ")[0] in asked[0].stdout
    if options:
        daemon.start()
    wait_until(lambda: bound(daemon) == "notification", "the triggers to count")
    client = daemon.client()
    becomes(client, "good", ALLOWED)
    db.run(f"UPDATE {table} SET {flag} = false")
    becomes(client, "good", INACTIVE)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["DROP key_id", "RENAME key_id TO key", "DROP user_id"])
def test_a_column_that_is_gone_fails_no_statement_and_hides_no_change(db, start, way):
    """Any change of a row is announced then, as one of its key or of all keys. Also in transactions that are older
    than the change of the table."""
    db.add_keys(3)
    daemon = start({**LONG, "cache.stale_max": "0s", "redis.url": ""})
    client = daemon.client()
    assert check(client, "key-0")[0] == ALLOWED
    announced = ["*"] if "key_id" in way else sorted(digest(f"key-{i}") for i in range(3))
    with db.connect(autocommit=False) as old, Ear(db) as ear:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT 1 FROM pg_class LIMIT 1")
        db.run(f"ALTER TABLE {TABLE} {way}")
        old.execute(f"UPDATE {TABLE} SET is_active = false")
        old.commit()
        assert sorted(ear.heard()) == announced
        for sql in (f"UPDATE {TABLE} SET last_used = now()", f"DELETE FROM {TABLE}"):
            db.run(sql)
            assert sorted(ear.heard()) == announced

    def unavailable():
        try:
            return check(client, "key-0") and False
        except redis.ResponseError as error:
            return "UNAVAILABLE" in str(error)

    wait_until(unavailable, "the verdict from before to be dropped")
    wait_until(lambda: "the table has no column" in daemon.log(), "it to be told")
    assert bound(daemon).startswith("cache.")


def test_the_table_is_dropped(db, start):
    """Nothing of ours holds it, and its verdicts go."""
    db.add_key("good")
    daemon = start({**LONG, "cache.stale_max": "0s", "redis.url": ""})
    assert check(daemon.client(), "good")[0] == ALLOWED
    db.run(f"DROP TABLE {TABLE}")
    wait_until(lambda: "the table is not there" in daemon.log(), "it to be told")
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
        check(daemon.client(), "good")


@pytest.fixture
def other(postgres):
    """Another database, for what is copied."""
    name = f"owner{next(numbers)}"
    postgres.create_database(name)
    yield Database(postgres, name)
    drop_database(postgres, name)


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--no-acl"]], ids=["whole", "without rights"])
def test_dump_and_restore(db, other, start, options, scratch):
    """The copy's triggers are those of the original. Also where the copy has no rights: an application's role
    changes keys there without any on our schema."""
    db.add_key("good")
    dump = scratch / f"{other.name}.dump"
    for argv in (["pg_dump", "-Fc", *options, "-f", dump, db.admin_dsn],
                 ["pg_restore", "--exit-on-error", *options, "-d", other.admin_dsn, dump]):
        done = subprocess.run([PG_BIN / argv[0], *argv[1:]], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    role = f"app_{other.name}"
    other.run(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA api TO {role}; GRANT ALL ON {TABLE} TO {role}")
    try:
        with Ear(other) as ear, psycopg.connect(other.server.dsn(other.name, role), autocommit=True) as app:
            app.execute(f"UPDATE {TABLE} SET is_active = true")
            app.execute(f"UPDATE {TABLE} SET last_used = now()")
            assert ear.heard() == []
            app.execute(f"UPDATE {TABLE} SET is_active = false")
            assert ear.heard() == [digest("good")]
    finally:
        other.run(f"DROP OWNED BY {role}; DROP ROLE {role}")
    if options:
        deploy(other)
    other.run(f"UPDATE {TABLE} SET is_active = true")
    is_revoked_at_once(other, start({**LONG, "postgres.dsn": other.dsn, "redis.url": ""}))


def make_partitions(db):
    """The table becomes partitioned: the old one is attached, with our triggers on it."""
    db.run(f"ALTER TABLE {TABLE} RENAME TO low")
    db.run("ALTER TABLE api.low DROP CONSTRAINT user_api_key_pkey; DROP INDEX api.user_api_key_key_id_idx")
    db.run(f"CREATE TABLE {TABLE} (LIKE api.low INCLUDING DEFAULTS) PARTITION BY RANGE (key_id)")
    db.run(f"ALTER TABLE {TABLE} ATTACH PARTITION api.low FOR VALUES FROM (MINVALUE) TO ('m')")


@pytest.mark.slow
def test_a_partitioned_table(db, start):
    """It is deployed on one, new partitions need nothing, and a TRUNCATE of one is seen by heartbeat."""
    db.add_key("good")
    make_partitions(db)
    deploy(db, "--part", "functions")
    deploy(db, "--part", "role")
    deploy(db, "--part", "triggers")
    before = db.run("SELECT oid, xmin FROM pg_trigger ORDER BY oid")
    deploy(db, "--part", "triggers")
    assert db.run("SELECT oid, xmin FROM pg_trigger ORDER BY oid") == before
    daemon = start({**LONG, "redis.url": ""})
    wait_until(lambda: bound(daemon) == "notification", "the triggers to count")
    db.run(f"CREATE TABLE api.high PARTITION OF {TABLE} FOR VALUES FROM ('m') TO (MAXVALUE)")
    wait_until(lambda: bound(daemon).startswith("notification: by heartbeat after a TRUNCATE"), "the partition")
    db.add_key("new")
    client = daemon.client()
    becomes(client, "good", ALLOWED)
    becomes(client, "new", ALLOWED)
    with Ear(db) as ear:
        db.run(f"UPDATE {TABLE} SET last_used = now()")
        assert ear.heard() == []
        db.run(f"UPDATE {TABLE} SET key_id = 'a' WHERE key_id = 'new'")
        assert sorted(set(ear.heard())) == sorted([digest("new"), digest("a")])
        db.run(f"UPDATE {TABLE} SET key_id = 'new' WHERE key_id = 'a'")
    becomes(client, "new", ALLOWED)
    assert flush(daemon) > 0
    db.run("TRUNCATE api.high")
    becomes(client, "new", UNKNOWN)
    db.run(f"ALTER TABLE {TABLE} DETACH PARTITION api.high")
    wait_until(lambda: bound(daemon) == "notification", "the rest to be well")
    db.run(f"ALTER TABLE {TABLE} DETACH PARTITION api.low")
    db.run(f"ALTER TABLE {TABLE} ATTACH PARTITION api.low FOR VALUES FROM (MINVALUE) TO ('m')")  # with triggers of its own
    wait_until(lambda: bound(daemon) == "notification", "the partition to be back")
    becomes(client, "good", ALLOWED)
    db.run(f"UPDATE {TABLE} SET is_active = false")
    becomes(client, "good", INACTIVE)


def test_a_partitioned_table_that_is_attached_to_another(db, start):
    """Both were deployed on: their triggers have names of their own, and deploying on the whole takes them away."""
    db.add_key("good")
    make_partitions(db)
    for part in ("functions", "role", "triggers"):
        deploy(db, "--part", part)
    db.run(f"ALTER TABLE {TABLE} RENAME TO user_api_keys_low")
    db.run(f"CREATE TABLE {TABLE} (LIKE api.low INCLUDING DEFAULTS) PARTITION BY LIST (is_active)")
    db.run(f"CREATE TRIGGER apikeyd_notify_rows AFTER INSERT OR DELETE OR UPDATE ON {TABLE} FOR EACH ROW "  # by hand
           "EXECUTE FUNCTION apikeyd.notify_key_change('key_id')")
    for part in ("role", "triggers"):
        deploy(db, "--part", part)
    db.run(f"ALTER TABLE {TABLE} ATTACH PARTITION api.user_api_keys_low FOR VALUES IN (true, false)")
    daemon = start({**LONG, "redis.url": ""})
    is_revoked_at_once(db, daemon)
    deploy(db, "--part", "triggers")
    assert len(db.run("SELECT DISTINCT tgname FROM pg_trigger WHERE tgname ~ '^apikeyd_notify_(rows|update)_of_'")) == 2
    asked = schema("check", "--dsn", db.admin_dsn, "--role", "apikeyd")
    assert asked.returncode == 0, asked.stdout
    db.run(f"UPDATE {TABLE} SET is_active = true")
    is_revoked_at_once(db, daemon)


@pytest.mark.slow
def test_logical_replication(scratch, start):
    """What a subscription changes is announced where it is applied."""
    server = Postgres(scratch / f"logical{next(numbers)}", ["wal_level=logical"])
    server.start()
    try:
        databases = []
        for name in ("here", "there"):
            server.create_database(name)
            databases.append(Database(server, name))
        here, there = databases
        for db in databases:
            db.run(f'CREATE SCHEMA api; CREATE TABLE {TABLE} (api_key_id uuid PRIMARY KEY, key_name text, key_id text, '
                   "user_id uuid, is_active bool, last_used timestamptz, created_at timestamptz DEFAULT now(), "
                   "updated_at timestamptz DEFAULT now())")
            deploy(db)
        here.run("CREATE PUBLICATION keys FOR ALL TABLES")
        here.run("SELECT pg_create_logical_replication_slot('keys', 'pgoutput')")
        there.run(f"CREATE SUBSCRIPTION keys CONNECTION '{here.admin_dsn}' PUBLICATION keys "
                  "WITH (create_slot = false, slot_name = 'keys')")
        here.add_key("good")
        here.run("INSERT INTO apikeyd.unannounced_change VALUES ('5')")  # is for the daemons here only
        daemon = start({**LONG, "postgres.dsn": there.dsn, "redis.url": ""})
        wait_until(lambda: bound(daemon) == "notification", "the triggers to count")
        client = daemon.client()
        becomes(client, "good", ALLOWED)
        here.run(f"UPDATE {TABLE} SET is_active = false")
        becomes(client, "good", INACTIVE)
        here.run(f"TRUNCATE {TABLE}")
        becomes(client, "good", UNKNOWN)
        assert there.run("SELECT * FROM apikeyd.unannounced_change") == []
        assert daemon.stop() == 0
        there.run("ALTER SUBSCRIPTION keys DISABLE; ALTER SUBSCRIPTION keys SET (slot_name = NONE)")
        there.run("DROP SUBSCRIPTION keys")
    finally:
        server.stop()


# As an owner's own types come: their operators and casts run as whoever changes the key, or not at all.
OWN_TYPE = """CREATE TYPE public.k AS (a text);
CREATE FUNCTION public.f(public.k) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.loot VALUES (current_user); RETURN 'x'; END $$;
CREATE CAST (public.k AS text) WITH FUNCTION public.f(public.k);
CREATE FUNCTION public.same(public.k, public.k) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    RAISE 'compared'; END $$;
CREATE OPERATOR public.= (LEFTARG = public.k, RIGHTARG = public.k, FUNCTION = public.same)"""


def test_a_type_of_the_owners(db):
    """Its = is not called, although it is first in the path: bytes are compared. Its cast may fail: then it is all keys."""
    db.add_key("a")
    db.run("CREATE TABLE public.loot (who text)")
    db.run(OWN_TYPE)
    db.run(f"DROP INDEX api.user_api_key_key_id_idx; ALTER TABLE {TABLE} ALTER key_id TYPE public.k "
           "USING ROW(key_id)::public.k")
    with Ear(db) as ear, db.connect() as other:
        other.execute("SET search_path = public, pg_catalog")
        other.execute(f"UPDATE {TABLE} SET last_used = now()")
        assert ear.heard() == [] and db.run("SELECT * FROM public.loot") == []
        other.execute(f"UPDATE {TABLE} SET is_active = false")
        assert ear.heard() == [digest("x")]
        db.run("CREATE OR REPLACE FUNCTION public.f(public.k) RETURNS text LANGUAGE plpgsql AS "
               "$$ BEGIN RAISE 'no text'; END $$")
        other.execute(f"UPDATE {TABLE} SET is_active = true")
        assert ear.heard() == ["*"]


def test_several_key_columns(db):
    """Each is announced, and what stands in two of them once."""
    db.run("CREATE TABLE api.two (key_id text, key_id_hash text)")
    db.run("CREATE TRIGGER rows AFTER INSERT OR DELETE OR UPDATE ON api.two FOR EACH ROW "
           "EXECUTE FUNCTION apikeyd.notify_key_change('key_id_hash', 'key_id')")
    with Ear(db) as ear:
        db.run("INSERT INTO api.two VALUES ('a', NULL)")
        assert ear.heard() == [digest("a")]
        db.run("UPDATE api.two SET key_id_hash = 'h'")
        assert sorted(ear.heard()) == sorted([digest("a"), digest("h")])
        db.run("UPDATE api.two SET key_id = 'h'")
        assert sorted(ear.heard()) == sorted([digest("a"), digest("h")])


def test_an_idle_transaction_holds_up_no_writer(db, start):
    """A deploy behind a transaction that has changed the table: each write of others waits for an instant, and the
    deploy is repeated until the transaction ends."""
    db.add_keys(10)
    db.run(f"DROP TRIGGER apikeyd_notify_update ON {TABLE}")
    with db.connect(autocommit=False) as idle:
        idle.execute(f"UPDATE {TABLE} SET key_name = 'idle' WHERE key_id = 'key-0'")
        text = schema("sql", "--part", "triggers").stdout
        deployed = []
        thread = threading.Thread(target=lambda: deployed.append(run_sql(db, text)))
        thread.start()
        wait_until(lambda: db.one("SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock'"),
                   "the deploy to wait")
        with db.connect() as app:
            app.execute("SET statement_timeout = '30s'")
            for i in range(20):
                app.execute(f"UPDATE {TABLE} SET key_name = 'w' WHERE key_id = 'key-{1 + i % 9}'")
        assert thread.is_alive(), deployed
        idle.commit()
    thread.join()
    assert deployed[0].returncode == 0, deployed[0].stderr
    daemon = start(LONG)
    wait_until(lambda: bound(daemon) == "notification", "the triggers to count")


def test_deploying_twice_changes_nothing(db):
    """Also on what sqitch has made: no row of the catalogs is written anew."""
    look = ("SELECT 'trigger', oid, xmin FROM pg_trigger UNION ALL SELECT 'proc', oid, xmin FROM pg_proc "
            "WHERE pronamespace = 'apikeyd'::regnamespace UNION ALL SELECT 'class', c.oid, c.xmin FROM pg_class AS c "
            "WHERE relnamespace IN ('api'::regnamespace, 'apikeyd'::regnamespace) UNION ALL SELECT 'attribute', "
            f"attnum, xmin FROM pg_attribute WHERE attrelid = '{TABLE}'::regclass ORDER BY 1, 2")
    before = db.run(look)
    deploy(db)
    assert db.run(look) == before


OTHER = {"postgres.table": 'Auth "Z".Keys', "postgres.key_column": "Key's \\ \"hash\" %s", "postgres.id_column": "Id",
         "postgres.user_column": "owner", "postgres.active_column": "select", "postgres.last_used_column": "seen at",
         "postgres.updated_column": "", "postgres.created_column": "cr\u00e9\u00e9"}


@pytest.mark.slow
@pytest.mark.parametrize("conforming", ["on", "off"])
def test_the_schema_of_another_table(other, start, conforming):
    """Any names. It is checked before and after, undone, and what was there before is there again."""
    other.run(f"ALTER DATABASE {other.name} SET standard_conforming_strings = {conforming}")
    other.run('CREATE SCHEMA "Auth ""Z"""; CREATE TABLE "Auth ""Z"""."Keys" ("Key\'s \\ ""hash"" %s" text, "Id" uuid PRIMARY KEY, '
              'owner uuid, "select" bool, "seen at" timestamptz, "cr\u00e9\u00e9" timestamptz)')
    daemon = start({**LONG, **OTHER, "postgres.dsn": other.dsn, "redis.url": ""}, wait=False)
    daemon.write_config()
    look = "SELECT 'class', count(*) FROM pg_class UNION ALL SELECT 'proc', count(*) FROM pg_proc UNION ALL SELECT 'trigger', count(*) FROM pg_trigger"
    before = other.run(look)
    dsn = ["--dsn", other.admin_dsn]
    asked = schema("check", *dsn, "--role", "apikeyd", config=daemon.config)
    assert asked.returncode == 1, asked.stdout + asked.stderr
    for part in ("missing", "deploy the schema", "no index on"):
        assert part in asked.stdout, asked.stdout
    deploy(other, config=daemon.config)
    asked = schema("check", *dsn, "--role", "apikeyd", config=daemon.config)
    assert asked.returncode == 0 and "missing" not in asked.stdout, asked.stdout + asked.stderr
    daemon.start()
    wait_until(lambda: bound(daemon) == "notification", "the triggers to count")
    client = daemon.client()
    other.run('INSERT INTO "Auth ""Z"""."Keys" VALUES (\'good\', gen_random_uuid(), gen_random_uuid(), true)')
    becomes(client, "good", ALLOWED)
    assert flush(daemon) == 1
    other.run('UPDATE "Auth ""Z"""."Keys" SET "select" = false')
    becomes(client, "good", INACTIVE)
    assert daemon.stop() == 0
    undone = run_sql(other, schema("sql", "--undo", config=daemon.config).stdout)
    assert undone.returncode == 0, undone.stderr
    other.run('DROP INDEX "Auth ""Z"""."Keys_Key\'s \\ ""hash"" %s_idx"')
    assert other.run(look) == before


def test_a_database_that_quotes_all_names(db, start):
    """PostgreSQL prints definitions otherwise then, and the triggers are the same."""
    db.run(f"ALTER DATABASE {db.name} SET quote_all_identifiers = on")
    assert bound(start(LONG)) == "notification"
    look = "SELECT oid, xmin FROM pg_trigger ORDER BY oid"
    before = db.run(look)
    deploy(db)
    asked = schema("check", "--dsn", db.admin_dsn, "--role", "apikeyd")
    assert db.run(look) == before and asked.returncode == 0, asked.stdout


@pytest.mark.parametrize("name", ["a $apikeyd$ b", "$body$"])
def test_a_name_that_cannot_stand_in_the_sql(name):
    for args, env in ((["--role", name], {}), ([], {"APIKEYD_POSTGRES_TABLE": name}), ([], {"APIKEYD_POSTGRES_USER_COLUMN": name})):
        refused = schema("sql", *args, env={**os.environ, **env})
        assert refused.returncode == 78 and "the SQL cannot be printed for a name with $" in refused.stderr
        assert refused.stdout == ""
    refused = schema("sql", "--role", "a\nb")
    assert refused.returncode == 64 and "without control characters" in refused.stderr and refused.stdout == ""


def test_types_that_do_not_fit(other):
    """The check tells of them, as the daemon does. Domains are left to the daemon."""
    other.run("CREATE DOMAIN public.d AS timestamptz; CREATE DOMAIN public.dd AS public.d; CREATE SCHEMA api; "
              f"CREATE TABLE {TABLE} (api_key_id int, key_id text, user_id uuid, is_active int, created_at public.dd, "
              "last_used date, updated_at timestamp)")
    deploy(other)
    asked = schema("check", "--dsn", other.admin_dsn, "--role", "apikeyd")
    found = [line for line in asked.stdout.splitlines() if line.startswith("in the way")]
    assert asked.returncode == 1 and [line.split()[4] for line in found] == ["api_key_id", "is_active", "last_used"]
    assert "is of type int4, not uuid" in found[0] and "in the section [postgres]" in found[0]
    other.run(f"ALTER TABLE {TABLE} DROP api_key_id, DROP is_active, DROP last_used, ADD api_key_id uuid, "
              "ADD is_active bool, ADD last_used timestamp(3)")
    deploy(other)
    asked = schema("check", "--dsn", other.admin_dsn, "--role", "apikeyd")
    assert asked.returncode == 0, asked.stdout


def test_undone_and_deployed_again_under_a_daemon(db, start, scratch):
    """Its sessions have the rights of the new deployment: the role stays while it has sessions. Nor does it lose the
    schema to the undoing of another table there, as one that was swapped out."""
    role, config = f"daemon_{db.name}", scratch / f"{db.name}.previous"
    config.write_text("[postgres]\ntable = api.previous\n")
    db.add_key("good")
    db.run(f"CREATE TABLE api.previous (LIKE {TABLE} INCLUDING ALL)")
    deploy(db, "--role", role)
    deploy(db, "--role", role, config=config)
    daemon = start({"cache.stale_max": "0s", "redis.url": "", "postgres.dsn": db.server.dsn(db.name, role)})
    deploy(db, "--undo", "--role", role, config=config)
    assert check(daemon.client(), "good")[0] == ALLOWED
    assert not db.one("SELECT has_table_privilege(%s, 'api.previous', 'SELECT')", role)
    deploy(db, "--undo", "--role", role)
    wait_until(lambda: "permission denied" in daemon.log(), "the rights to be missed")
    deploy(db, "--role", role)
    becomes(daemon.client(), "good", ALLOWED)
    assert daemon.stop() == 0
    wait_until(lambda: db.one("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", role) == 0, "its sessions to end")
    deploy(db, "--undo", "--part", "role", "--role", role)
    assert db.one("SELECT count(*) FROM pg_roles WHERE rolname = %s", role) == 0


def test_the_role_is_made_again_under_a_daemon(db, start):
    """Its sessions belong to the role that is gone, and are replaced, at a bounded rate. Usage is written again too."""
    role = f"again_{db.name}"
    deploy(db, "--role", role)
    db.add_key("good")
    daemon = start({**LONG, "cache.stale_max": "0s", "redis.url": "", "postgres.dsn": db.server.dsn(db.name, role),
                    "postgres.connections": "1"})
    becomes(daemon.client(), "good", ALLOWED)
    db.run(f"DROP OWNED BY {role}; DROP ROLE {role}; CREATE ROLE {role} LOGIN")
    begin = time.monotonic()
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
        check(daemon.client(), "other")
    deploy(db, "--role", role)

    def allowed():
        try:
            return check(daemon.client(), "other") == UNKNOWN and check(daemon.client(), "good")[0] == ALLOWED
        except redis.ResponseError:
            return False
    wait_until(allowed, "sessions of the new role")
    logins = daemon.log().count("postgres (lookups): connected")
    assert 2 <= logins <= 2 + (time.monotonic() - begin) / 5, daemon.log()

    def written():  # by this flush, or when one that failed is repeated
        with contextlib.suppress(redis.ResponseError):
            flush(daemon)
        return db.last_used("good")
    wait_until(written, "usage to be written")
    assert daemon.stop() == 0
    deploy(db, "--undo", "--part", "role", "--role", role)


def test_in_a_transaction_of_a_migration_tool(db):
    """As Alembic and Flyway run it, as a role without CREATEROLE that owns the table: it leaves no setting behind,
    and a rollback leaves nothing at all."""
    owner = f"owner_{db.name}"
    db.run(f'CREATE ROLE {owner} LOGIN; GRANT CREATE ON DATABASE "{db.name}" TO {owner}')
    db.run(schema("sql", "--undo", "--no-role").stdout)
    db.run(f"ALTER SCHEMA api OWNER TO {owner}; ALTER TABLE {TABLE} OWNER TO {owner}; DROP SCHEMA apikeyd CASCADE")
    look = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'apikeyd%'"
    try:
        with psycopg.connect(db.server.dsn(db.name, owner), options="-c search_path=api -c lock_timeout=7s") as tool:
            for end in (tool.rollback, tool.commit):
                for part in ("functions", "role", "triggers"):
                    tool.execute(schema("sql", "--part", part).stdout)
                    assert tool.execute("SHOW search_path").fetchone() == ("api",)
                    assert tool.execute("SHOW lock_timeout").fetchone() == ("7s",)
                end()
                assert db.one(look) == (3 if end == tool.commit else 0)
            missing = schema("sql", "--part", "role", "--role", f"none_{db.name}").stdout
            with pytest.raises(psycopg.errors.RaiseException, match="is missing, and owner_.* may not create roles"):
                tool.execute(missing)
    finally:
        db.run(f"REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}; DROP ROLE {owner}")


def test_notes_of_another_server_are_nobodys(db, start):
    """As a restored dump brings them: they name transactions that this server has not run yet. A deploy makes a table of
    notes from before UNLOGGED, as it is made now."""
    kind = "SELECT relpersistence FROM pg_class WHERE oid = 'apikeyd.unannounced_change'::regclass"
    db.run("ALTER TABLE apikeyd.unannounced_change SET LOGGED")
    daemon = start(LONG)
    db.run("INSERT INTO apikeyd.unannounced_change VALUES ('9000000000')")
    beats = info(daemon)["feed_heartbeats"]
    wait_until(lambda: info(daemon)["feed_heartbeats"] > beats + 2, "heartbeats that read it")
    assert info(daemon)["feed_changes_unannounced"] == 0
    deploy(db, "--part", "index")
    assert db.one(kind) == "u" and db.one("SELECT count(*) FROM apikeyd.unannounced_change") == 1
    wait_until(lambda: bound(daemon) == "notification", "the table to be read")
    db.run("INSERT INTO apikeyd.unannounced_change DEFAULT VALUES")
    wait_until(lambda: info(daemon)["feed_changes_unannounced"] == 1, "a note of this server's")


def test_old_notes_of_unannounced_changes_go(db):
    """With a change of a key, after an hour; nobody waits for a note that another session has locked."""
    db.add_key("good")
    db.run("INSERT INTO apikeyd.unannounced_change SELECT n::text::xid8, now() - interval '2 hours' "
           "FROM generate_series(1, 150) AS n")
    db.run("INSERT INTO apikeyd.unannounced_change VALUES ('1000')")
    left = "SELECT count(*) FROM apikeyd.unannounced_change"
    with db.connect(autocommit=False) as other:
        other.execute("SELECT FROM apikeyd.unannounced_change WHERE xid = '1' FOR UPDATE")
        db.set_active("good", False)
        assert db.one(left) == 52
    for _ in range(2):
        db.set_active("good", True)
        db.set_active("good", False)
    assert db.one(left) == 1


@pytest.fixture
def migrator(db):
    """A role that may do what the table's owner may, and owns nothing."""
    owner, name = f"tables_{db.name}", f"migrator_{db.name}"
    db.run(schema("sql", "--undo", "--no-role").stdout)
    db.run("DROP SCHEMA apikeyd CASCADE")
    db.run(f"CREATE ROLE {owner}; CREATE ROLE {name} LOGIN IN ROLE {owner}; GRANT CREATE ON DATABASE \"{db.name}\" TO "
           f"{name}; ALTER SCHEMA api OWNER TO {owner}; ALTER TABLE {TABLE} OWNER TO {owner}")
    yield name
    for role in (owner, name):
        db.run(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}; DROP ROLE {role}")


def test_who_deploys_may_be_a_member_of_the_owner(db, start, migrator):
    """What it makes is its own, and counts as the owner's; another role's schema does not."""
    check_it = ["check", "--dsn", db.admin_dsn, "--role", "apikeyd"]
    parts = [schema("sql", "--part", part).stdout for part in ("functions", "triggers")]
    db.run(f"CREATE ROLE mallory_{db.name}; CREATE SCHEMA apikeyd AUTHORIZATION mallory_{db.name}")
    try:
        refused = run_sql(db, parts[0])
        assert refused.returncode and f"schema apikeyd belongs to role mallory_{db.name}, which may not act" in refused.stderr
        db.run(f"ALTER SCHEMA apikeyd OWNER TO postgres; {parts[0]}")
        db.run(f"ALTER FUNCTION apikeyd.notify_key_change() OWNER TO mallory_{db.name}")
        for told in (run_sql(db, parts[0]).stderr, schema(*check_it).stdout):
            assert "function apikeyd.notify_key_change() belongs to role mallory" in told
        db.run("DROP SCHEMA apikeyd CASCADE")
    finally:
        db.run(f"DROP OWNED BY mallory_{db.name} CASCADE; DROP ROLE mallory_{db.name}")
    for text in parts:
        done = run_sql(db, text, user=migrator)
        assert done.returncode == 0, done.stderr
    db.add_key("good")
    is_revoked_at_once(db, start({**LONG, "redis.url": ""}))
    asked = schema(*check_it)
    assert asked.returncode == 0, asked.stdout


def test_the_check_looks_at_what_lookups_do(db):
    """An index that none can use, and types that none can read, are not ok. A domain is its type."""
    check_it = ["check", "--dsn", db.admin_dsn, "--role", "apikeyd"]
    db.run(f"CREATE DOMAIN api.d AS timestamp; CREATE DOMAIN api.dd AS api.d; ALTER TABLE {TABLE} ALTER last_used TYPE api.dd")
    asked = schema(*check_it)
    assert asked.returncode == 0 and "no index on key_id" not in asked.stdout, asked.stdout
    db.run(f"ALTER TABLE {TABLE} ADD padded char(40), ADD number uuid; CREATE INDEX ON {TABLE} (padded)")
    asked = schema(*check_it, env={**os.environ, "APIKEYD_POSTGRES_KEY_COLUMN": "padded"})
    assert "no index of type bpchar serves lookups by column padded" in asked.stdout, asked.stdout
    assert "index on padded" not in asked.stdout and "no index on" not in asked.stdout
    asked = schema(*check_it, env={**os.environ, "APIKEYD_POSTGRES_KEY_COLUMN": "number"})
    assert "column number is of type uuid, and keys are text" in asked.stdout and asked.returncode == 1, asked.stdout
    db.run(f"DROP INDEX api.user_api_key_key_id_idx; CREATE INDEX ON {TABLE} USING brin (key_id)")
    db.run(f'CREATE INDEX ON {TABLE} (key_id COLLATE "POSIX")')
    db.run(f"ALTER TABLE {TABLE} ADD id int, ALTER created_at TYPE date")
    asked = schema(*check_it, env={**os.environ, "APIKEYD_POSTGRES_ID_COLUMN": "id"})
    assert asked.returncode == 1
    for told in ("no index on key_id", "column id is of type int4, not uuid",
                 "column created_at is of type date, not timestamptz or timestamp"):
        assert told in asked.stdout, asked.stdout


def test_an_undo_waits_for_nobody(db):
    """Whoever reads the table of changes keeps it for as long as he likes. The sqitch revert would hold the table of
    keys meanwhile."""
    text = schema("sql", "--undo", "--no-role").stdout
    with db.connect(autocommit=False) as reader:
        reader.execute("SELECT FROM apikeyd.unannounced_change")
        done = subprocess.run(["psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-d", db.admin_dsn], input=text,
                              capture_output=True, text=True, check=False, timeout=60)
        assert "lock timeout" in done.stderr, done.stderr
    done = run_sql(db, text)
    assert done.returncode == 0, done.stderr


def test_a_child_of_two_children(db):
    """It is found twice, and its triggers are dropped once."""
    db.run(f"CREATE TABLE api.a () INHERITS ({TABLE}); CREATE TABLE api.b () INHERITS ({TABLE}); "
           "CREATE TABLE api.both () INHERITS (api.a, api.b)")
    deploy(db)
    asked = schema("check", "--dsn", db.admin_dsn, "--role", "apikeyd")
    assert asked.returncode == 0, asked.stdout
    undone = run_sql(db, schema("sql", "--undo", "--no-role").stdout)
    assert undone.returncode == 0, undone.stderr
