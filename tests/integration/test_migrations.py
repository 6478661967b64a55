"""sqitch migrations, on an empty database and on the application's own."""

import itertools
import os
import subprocess
import sys

import psycopg
import pytest
from coherence import LONG, TABLE, TTL_ONLY, Ear, becomes, digest
from conftest import Database, check, drop_database, info
from harness.servers import BUILD, ROOT, migrate, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.builds("release")]

numbers = itertools.count(1)

# The tables as the application's own migrations make them: see the field notes on types, the
# missing default and the missing ON DELETE action.
APPLICATION = """
CREATE SCHEMA api;
CREATE TABLE api."user" (user_id uuid PRIMARY KEY, type text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE api.user_api_key (
    api_key_id uuid PRIMARY KEY, key_name text NOT NULL, key_id text NOT NULL,
    user_id uuid NOT NULL REFERENCES api."user" (user_id), last_used timestamptz,
    is_active boolean NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX user_api_key_user_id_idx ON api.user_api_key (user_id);
"""
UNIQUE = "CREATE UNIQUE INDEX user_api_key_key_id_idx ON api.user_api_key (key_id)"


@pytest.fixture
def empty(postgres):
    name = f"migrations{next(numbers)}"
    postgres.create_database(name)
    yield Database(postgres, name)
    drop_database(postgres, name)


# As they were before "triggers" and "index".
FIRST = ROOT / "tests" / "first_migrations"


def deploy(database, *args, **options):
    return migrate(database.server.uri(database.name), *args, **options)


def columns(database):
    return database.run(
        "SELECT column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = 'api' AND table_name IN ('user', 'user_api_key') ORDER BY table_name, ordinal_position")


def indexes(database):
    return [row[0] for row in database.run(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'api' AND tablename IN ('user', 'user_api_key') ORDER BY indexname")]


def test_the_documents_table(empty):
    done = deploy(empty)
    assert done.returncode == 0, done.stdout + done.stderr
    assert columns(empty) == [
        ("user_id", "uuid", "NO", None),
        ("api_key_id", "uuid", "NO", None),
        ("key_name", "text", "NO", None),
        ("key_id", "text", "NO", None),
        ("user_id", "uuid", "NO", None),
        ("last_used", "timestamp without time zone", "YES", None),
        ("is_active", "boolean", "NO", "true"),
        ("created_at", "timestamp without time zone", "NO", "now()"),
        ("updated_at", "timestamp without time zone", "NO", "now()"),
    ]
    assert [i for i in indexes(empty) if "user_api_key_user_id_idx" in i and "(user_id)" in i]
    assert [i for i in indexes(empty) if "UNIQUE" in i and "(key_id)" in i]
    empty.add_user()
    empty.add_key("good")
    empty.run('DELETE FROM api."user"')  # cascades
    assert empty.one("SELECT count(*) FROM api.user_api_key") == 0


def test_again_and_back(empty):
    assert deploy(empty).returncode == 0
    again = deploy(empty)
    assert again.returncode == 0 and "Nothing to deploy" in again.stdout + again.stderr
    assert deploy(empty, "verify").returncode == 0
    done = deploy(empty, "revert", "-y")
    assert done.returncode == 0, done.stdout + done.stderr
    assert columns(empty) == []
    assert deploy(empty).returncode == 0


@pytest.mark.parametrize("unique", [True, False])
def test_on_the_applications_own_tables(empty, unique):
    """No column type changes, no row is lost, and a revert leaves all of it."""
    empty.run(APPLICATION)
    if unique:
        empty.run(UNIQUE)
    empty.add_user()
    for i in range(10):
        empty.add_key(f"k{i}", last_used="2026-01-01 12:00Z")
    before = columns(empty), empty.run("SELECT * FROM api.user_api_key ORDER BY key_id")
    made = indexes(empty)
    done = deploy(empty)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (columns(empty), empty.run("SELECT * FROM api.user_api_key ORDER BY key_id")) == before
    assert len([i for i in indexes(empty) if "UNIQUE" in i and "(key_id)" in i]) == 1
    assert empty.one("SELECT reloptions FROM pg_class "
                     "WHERE oid = 'api.user_api_key'::regclass") == ["fillfactor=80"]
    assert deploy(empty, "revert", "-y").returncode == 0
    assert (columns(empty), empty.run("SELECT * FROM api.user_api_key ORDER BY key_id")) == before
    assert indexes(empty) == made


def test_duplicates_prevent_no_role_and_no_trigger(empty, start):
    """The index on the key column is not unique then, and it is said."""
    empty.run(APPLICATION)
    empty.add_user()
    for key in ("twice", "twice", "thrice", "thrice", "thrice", "once"):
        empty.add_key(key)
    done = deploy(empty)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Key IDs stand in more than one row" in done.stderr + done.stdout
    assert [i for i in indexes(empty) if "(key_id)" in i and "UNIQUE" not in i]
    daemon = start({**LONG, "postgres.dsn": empty.dsn})
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the triggers to count")
    assert check(daemon.client(), "twice")[0] == "ALLOW"
    assert check(daemon.client(), "once")[0] == "ALLOW"
    assert daemon.admin_client().execute_command("FLUSH") == 2


def test_an_invalid_index_is_made_again(empty):
    """What an interrupted CREATE INDEX CONCURRENTLY leaves."""
    empty.run(APPLICATION)
    empty.run(UNIQUE)
    empty.run("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'api.user_api_key_key_id_idx'::regclass")
    done = deploy(empty)
    assert done.returncode == 0, done.stdout + done.stderr
    assert empty.one("SELECT indisvalid FROM pg_index WHERE indexrelid = 'api.user_api_key_key_id_idx'::regclass")


def test_flushes_are_hot_updates(empty, start):
    """No index entry is written for last_used."""
    assert deploy(empty).returncode == 0
    empty.add_user()
    empty.add_keys(500)
    empty.run("VACUUM FULL api.user_api_key")
    daemon = start({"postgres.dsn": empty.dsn})
    client = daemon.client()
    for i in range(0, 500, 10):
        check(client, f"key-{i}")
    assert daemon.admin_client().execute_command("FLUSH") == 50
    daemon.stop()
    updates, hot = empty.run("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables "
                             "WHERE relname = 'user_api_key'")[0]
    assert (updates, hot) == (50, 50)


def test_role_in_two_databases(postgres, empty):
    assert deploy(empty).returncode == 0
    assert deploy(empty, "revert", "-y", "--to", "key_index").returncode == 0
    with psycopg.connect(postgres.dsn("postgres")) as admin:
        roles = admin.execute("SELECT count(*) FROM pg_roles WHERE rolname = 'apikeyd'").fetchone()
    assert roles == (1,)  # the other test databases use it


HOSTILE = """
CREATE TABLE public.loot (who text);
GRANT ALL ON public.loot TO PUBLIC;
CREATE FUNCTION public.same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.loot VALUES (current_user); RETURN true; END $$;
CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same);
CREATE FUNCTION public.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.loot VALUES (current_user); RETURN pg_catalog.now(); END $$;
"""


@pytest.fixture
def trapped(empty):
    """An application's database with keys of type varchar, and a role that may create in schema public, as
    it could before PostgreSQL 15: what is = for that type is what the role says, in everybody's path."""
    empty.run(APPLICATION.replace("key_id text", "key_id varchar(255)"))
    empty.run("GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC")
    role = f"mallory_{empty.name}"
    empty.run(f"CREATE ROLE {role} LOGIN")
    empty.run(f'ALTER DATABASE "{empty.name}" SET search_path = public, pg_catalog')
    with psycopg.connect(empty.server.dsn(empty.name, role), autocommit=True) as evil:
        evil.execute(HOSTILE)
    yield empty
    empty.run(f"DROP OWNED BY {role} CASCADE")
    empty.run(f"DROP ROLE {role}")


def replaced_keys_are_announced(database):
    with Ear(database) as ear:
        database.run(f"UPDATE {TABLE} SET key_id = 'new' WHERE key_id::text OPERATOR(pg_catalog.=) 'old'")
        assert sorted(ear.heard()) == sorted([digest("old"), digest("new")])
    return database.run("SELECT who FROM public.loot") == []


def test_operators_of_another_role_are_not_taken(trapped):
    done = deploy(trapped)
    assert done.returncode == 0, done.stdout + done.stderr
    trapped.add_user()
    trapped.add_key("old")
    assert replaced_keys_are_announced(trapped)


# As a deployment of before did it: with the path as it was.
BOUND = {
    "a trigger's condition": f"""CREATE OR REPLACE TRIGGER apikeyd_notify_update AFTER UPDATE ON {TABLE} FOR EACH ROW
        WHEN (OLD.key_id IS DISTINCT FROM NEW.key_id OR OLD.is_active IS DISTINCT FROM NEW.is_active
            OR OLD.user_id IS DISTINCT FROM NEW.user_id OR OLD.api_key_id IS DISTINCT FROM NEW.api_key_id)
        EXECUTE FUNCTION apikeyd.notify_key_change('key_id');
        ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER apikeyd_notify_update""",
    "a default": "ALTER TABLE apikeyd.unannounced_change ALTER made_at SET DEFAULT now()",
}


@pytest.mark.parametrize("what", [None, *BOUND])
def test_a_database_of_the_first_migrations(trapped, start, what):
    """The daemon sees that its triggers are others, and says so. The migrations make them anew, also those that took
    another role's operators, and change no row."""
    assert deploy(trapped, folder=FIRST).returncode == 0
    if what:
        trapped.run(BOUND[what])
    trapped.add_user()
    trapped.add_key("old")
    daemon = start({**LONG, "postgres.dsn": trapped.dsn})
    assert info(daemon)["revocation_bound"] == TTL_ONLY
    assert "is of another version; deploy the schema again" in daemon.log()
    done = deploy(trapped)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the triggers")
    client = daemon.client()
    becomes(client, "old", "ALLOW")
    becomes(client, "new", ["DENY", "unknown"])
    assert replaced_keys_are_announced(trapped)
    becomes(client, "new", "ALLOW")
    becomes(client, "old", ["DENY", "unknown"])
    body = trapped.one("SELECT pg_get_functiondef('apikeyd.note_unannounced_change'::regproc)")
    trapped.run(body.replace("<= 0.5", "< 0"))  # the queue is taken for full
    trapped.run(f"DELETE FROM {TABLE}")
    assert trapped.run("SELECT who FROM public.loot") == []
    if not what:
        made = states(trapped)
        assert deploy(trapped, "revert", "-y").returncode == 0 and states(trapped) == []
        assert deploy(trapped).returncode == 0 and states(trapped) == made


def test_a_partitioned_table_of_the_first_migrations(empty):
    """What they made there has another name now. It goes, since the owner could alter no column because of it; so does
    what a partition brings along from when it was a table of its own."""
    empty.run(APPLICATION.replace("updated_at timestamptz NOT NULL DEFAULT now());\nCREATE INDEX",
                                  "updated_at timestamptz NOT NULL DEFAULT now()) PARTITION BY RANGE (api_key_id);"
                                  "CREATE TABLE api.all_keys PARTITION OF api.user_api_key DEFAULT;\nCREATE INDEX"))
    files = [part for name in ("schema", "role", "notify", "announce", "own_operators")
             for part in ("-f", FIRST / "deploy" / f"{name}.sql")]
    repair = ["-f", ROOT / "migrations" / "deploy" / "triggers.sql"]
    for argv in (files, repair, repair):
        done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", empty.admin_dsn, *argv],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    empty.run(f"ALTER TABLE {TABLE} ALTER key_id TYPE varchar(200), DROP is_active")
    whole = empty.one(f"SELECT '{TABLE}'::regclass::oid")
    assert {name for _, name, *_ in states(empty)} == {
        f"apikeyd_notify_rows_of_{whole}", f"apikeyd_notify_update_of_{whole}", "apikeyd_notify_truncate"}


def states(database):
    return database.run("SELECT tgrelid::regclass::text, tgname, tgenabled::text, pg_get_triggerdef(oid) "
                        "FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1, 2")


def command(database, *args):
    return subprocess.run([sys.executable, ROOT / "tools" / "migrate.py", database.admin_dsn, *args],
                          capture_output=True, text=True, check=False)


def test_the_column_for_rotation(empty):
    """A project of its own, for those who want it."""
    folder = ROOT / "migrations" / "rotation"
    empty.run(APPLICATION)
    empty.run("INSERT INTO api.\"user\" VALUES (gen_random_uuid()); INSERT INTO api.user_api_key "
              "SELECT gen_random_uuid(), 'x', 'x', user_id, NULL, true FROM api.\"user\"")
    before = columns(empty)
    for again in (False, True):
        done = subprocess.run(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", empty.admin_dsn, "-f", folder / "deploy/rotation.sql"],
                              capture_output=True, text=True, check=False) if again else deploy(empty, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("successor_of", "uuid", "YES", None) in columns(empty) and len(columns(empty)) == len(before) + 1
        assert any("(successor_of) WHERE (successor_of IS NOT NULL)" in index for index in indexes(empty))
    done = deploy(empty, "revert", "-y", folder=folder)
    assert done.returncode == 0 and columns(empty) == before, done.stdout + done.stderr


def test_missing_parts_are_made_again(empty):
    """sqitch believes that what it deployed is still there; the command looks, and so does `rebase`."""
    assert deploy(empty).returncode == 0
    before = states(empty), indexes(empty)
    for repair in ([], ["rebase", "-y", "--onto", "role"]):
        empty.run(f"DROP TRIGGER apikeyd_notify_update ON {TABLE}")
        empty.run("DROP TABLE apikeyd.unannounced_change")
        empty.run("DROP INDEX api.user_api_key_key_id_idx")
        assert "Nothing to deploy" in deploy(empty).stdout and states(empty) != before[0]
        done = command(empty, *repair)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (states(empty), indexes(empty)) == before and deploy(empty, "verify").returncode == 0
    # The owner's own index does as well.
    empty.run(f"DROP INDEX api.user_api_key_key_id_idx; CREATE INDEX ON {TABLE} (key_id, is_active)")
    before = indexes(empty)
    assert command(empty).returncode == 0 and indexes(empty) == before
    assert deploy(empty, "verify").returncode == 0


def test_triggers_of_another_configuration_are_kept(empty):
    """The migrations know the default columns only. Those of a deployment with hashed keys stay, and it is said."""
    assert command(empty).returncode == 0
    empty.run(f"ALTER TABLE {TABLE} ADD key_id_hash text")
    env = {**os.environ, "APIKEYD_POSTGRES_KEY_COLUMN": "key_id_hash"}
    for part in ("functions", "triggers"):
        empty.run(subprocess.run([BUILD / "apikeyctl", "schema", "sql", "--config", "/dev/null", "--part", part],
                                 env=env, capture_output=True, text=True, check=True).stdout)
    before = states(empty)
    done = command(empty)
    assert done.returncode == 1 and "of another configuration (key_id_hash); nothing is changed" in done.stderr
    assert states(empty) == before


def test_the_command_takes_a_connection_string(db):
    done = command(db, "status")
    assert done.returncode == 0 and "Nothing to deploy (up-to-date)" in done.stdout, done.stdout + done.stderr
