"""apikeyctl keys rotate: a successor, and an end of the old key."""

import json
import os
import subprocess
import uuid
from datetime import datetime, timedelta, timezone

import psycopg
import pytest
from conftest import check, flush
from harness.proxy import RESET, Proxy
from harness.schema import deploy
from harness.servers import BUILD, wait_until

pytestmark = pytest.mark.builds("release", "debug", "asan")

TABLE = "api.user_api_key"
COLUMNS = {"expires_column": "expires_at", "successor_of_column": "successor_of"}
OPTIONS = {f"postgres.{name}": value for name, value in COLUMNS.items()}


def environment(options):
    return {f"APIKEYD_POSTGRES_{name.upper()}": str(value) for name, value in options.items()}


def run(*arguments, dsn, status=0, **options):
    """apikeyctl with these options of [postgres]."""
    done = subprocess.run([str(BUILD / "apikeyctl"), *map(str, arguments), "--config", "/dev/null"], capture_output=True,
                          text=True, timeout=120, check=False,
                          env={**os.environ, "APIKEYCTL_DSN": dsn, **environment(options or COLUMNS)})
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def let_keys_rotate(dsn, **options):
    """As the guide has it."""
    made = run("schema", "sql", "--part", "rotation", dsn=dsn, **options).stdout
    for _ in range(2):  # it may run again
        subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn], input=made, text=True, check=True,
                       env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"})


@pytest.fixture
def keys(db):
    """apikeyctl keys, as the owner of a table whose keys can be rotated."""
    db.run(f"ALTER TABLE {TABLE} ADD expires_at timestamptz, ADD not_before timestamptz")
    let_keys_rotate(db.admin_dsn)
    deploy(db.admin_dsn, **COLUMNS)

    def ask(*arguments, dsn=db.admin_dsn, status=0, **options):
        return run("keys", *arguments, dsn=dsn, status=status, **{**COLUMNS, **options})
    return ask


def contents(db, table=TABLE):
    return sorted(db.run(f"SELECT to_jsonb(t)::text FROM {table} AS t"))


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def from_now(text):
    return instant(text) - datetime.now(timezone.utc)


MINUTE = timedelta(minutes=1)


def test_a_successor_takes_over(db, keys, start):
    """Both keys pass for the overlap. What the row holds besides the key goes along."""
    db.run(f'ALTER DATABASE "{db.name}" SET bytea_output = escape')
    db.run(f"ALTER TABLE {TABLE} ADD plan text, ADD scopes text[], ADD ref text UNIQUE, ADD number serial, "
           "ADD twice text GENERATED ALWAYS AS (plan || plan) STORED, ADD \"a {brace} \"\"col\"\"\" int, "
           "ADD other_hash text, ADD raw bytea, ADD same text, ADD tenant text, ADD team text, ADD plan_id text DEFAULT 'free'; "
           f"CREATE TABLE api.\"Granted\" (api_key_id uuid REFERENCES {TABLE})")
    old = str(db.add_key("old", plan="gold", scopes=["a", "b"], ref="only one", other_hash="0" * 63 + "A", raw=bytes(32),
                         same="old", plan_id="paid", tenant="1" * 64, team="2" * 64))
    db.run(f'UPDATE {TABLE} SET "a {{brace}} ""col""" = 7, created_at = now() - interval \'1 year\'')
    daemon = start(OPTIONS)
    client = daemon.client()
    assert check(client, "old")[0] == "ALLOW"
    flush(daemon)
    done = keys("rotate", old, "--overlap", "7d", "--copy", "tenant,plan", "--json", attribute_columns="plan,team")
    made = json.loads(done.stdout)
    assert check(client, made["key_id"]) == ["ALLOW", made["api_key_id"], str(db.user_id)]
    assert check(client, "old")[0] == "ALLOW"
    assert made["successor_of"] == old and made["name"] == "test" and made["active"] is True
    assert made["last_used"] is None and made["expires_at"] is None and from_now(made["created_at"]) > -MINUTE
    assert abs(from_now(made["predecessor_expires_at"]) - timedelta(days=7)) < MINUTE
    assert db.run(f'SELECT plan, scopes, twice, "a {{brace}} ""col""", plan_id, tenant, team, ref, other_hash, raw, same FROM {TABLE} '
                  "WHERE api_key_id = %s", made["api_key_id"]) == [
        ("gold", ["a", "b"], "goldgold", 7, "paid", "1" * 64, "2" * 64, None, None, None, None)]
    assert db.one(f"SELECT count(DISTINCT number) FROM {TABLE}") == 2
    for column in ("ref is not copied, because its values have to be unique", "other_hash is not", "raw is not", "same is not"):
        assert f"Column {column}" in done.stderr
    assert 'Rows of table api."Granted" that refer to the old key are not copied.' in done.stderr
    assert made["key_id"] not in done.stderr and done.stderr.count("not copied") == 5

    again = keys("rotate", old, "--overlap", "1d", status=1).stderr
    assert f"has a successor already: {made['api_key_id']}" in again and "nothing was changed" in again
    done = keys("rotate", made["api_key_id"], "--overlap", "0s", "--name", "third", "--lifetime", "30d")
    third = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert "Keep key_id now" in done.stderr and third["name"] == "third"
    assert abs(from_now(third["expires_at"]) - timedelta(days=30)) < MINUTE
    wait_until(lambda: check(client, made["key_id"]) == ["DENY", "expired"], "the end")
    assert check(client, third["key_id"])[0] == "ALLOW" and check(client, "old")[0] == "ALLOW"
    assert f"successor already: {third['api_key_id']}" in keys("rotate", made["api_key_id"], "--overlap", "0s", status=1).stderr

    shown = json.loads(keys("show", made["api_key_id"], "--json").stdout)
    assert [row["api_key_id"] for row in shown["rotation"]] == [old, made["api_key_id"], third["api_key_id"]]
    assert [row["last_used"] is None for row in shown["rotation"]] == [False, True, True]
    table = keys("show", old).stdout.split("oldest first:\n")[1].splitlines()
    assert table[0].split() == ["API_KEY_ID", "NAME", "ACTIVE", "ENDS", "LAST_USED", "KEY"]
    assert [line.split()[0] for line in table[1:]] == [old, made["api_key_id"]]
    report, = json.loads(keys("report", "--expiring", "14d", "--json").stdout)
    assert (report["api_key_id"], report["successor"], report["successor_last_used"]) == (old, made["api_key_id"], None)
    assert "SUCCESSOR_USED" in keys("report", "--expiring", "14d").stdout


def rotate_in_background(db, key, folder=None):
    """By the server's socket in another folder, if one is named."""
    dsn = db.admin_dsn.replace(str(db.server.folder), str(folder or db.server.folder))
    return subprocess.Popen([str(BUILD / "apikeyctl"), "keys", "rotate", str(key), "--overlap", "1h", "--json", "--config",
                             "/dev/null"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env={**os.environ, "APIKEYCTL_DSN": dsn, **environment(COLUMNS)})


def waiting(db, kind="Lock"):
    return db.one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                  "AND application_name = 'apikeyctl' AND wait_event_type = %s", kind)


def test_what_is_refused_changes_nothing(db, keys):
    """A sentence each. An end that is earlier stays."""
    other = db.add_user(uuid.uuid4())
    rows = {name: str(db.add_key(name, active=name != "off")) for name in (
        "off", "ended", "early", "soon", "good", "kept", "last")}
    db.run(f"UPDATE {TABLE} SET expires_at = now() - interval '1 s' WHERE key_id = 'ended'; "
           f"UPDATE {TABLE} SET expires_at = now() + interval '1 h' WHERE key_id = 'soon'; "
           f"UPDATE {TABLE} SET not_before = now() + interval '1 h' WHERE key_id = 'early'")
    before = contents(db)
    for name, arguments, status, text in (
            ("off", ("--overlap", "1d"), 1, "is inactive: nothing was changed"),
            ("ended", ("--overlap", "1d"), 1, "has ended: nothing was changed"),
            ("early", ("--overlap", "1d"), 1, "has not begun: nothing was changed"),
            ("good", ("--overlap", "1d", "--user", other), 1, f"there is no key {rows['good']} of user {other}"),
            ("good", (), 64, "needs --overlap"),
            ("good", ("--overlap", "-7d"), 64, 'overlap "-7d": a time is expected'),
            ("good", ("--overlap", "7"), 64, "a time is expected"),
            ("good", ("--overlap", "101w", "--lifetime", "0s"), 64, "--lifetime"),
            ("good", ("--overlap", "1d", "--lifetime", "endless"), 64, 'or "unlimited" is expected'),
            ("good", ("--overlap", "36601d"), 64, "at most 100 years"),
            ("good", ("--overlap", "999999999999w"), 64, "at most 100 years"),
            ("good", ("--overlap", "1d", "--name", ""), 64, "a name is expected"),
            ("good", ("--overlap", "1d", "--copy", "is_active,nothing"), 64, "columns of the table are expected"),
            ("good", ("--overlap", "1d", "--copy", "key_id"), 64, "columns of the table are expected"),
            ("good", ("--overlap", "1d", "--id", "mine"), 65, "a UUID is expected"),
            ("good", ("--overlap", "1d", "--id", rows["off"]), 1, "user_api_key_pkey")):
        assert text in keys("rotate", rows[name], *arguments, status=status, not_before_column="not_before").stderr, name
    assert "there is no key" in keys("rotate", uuid.uuid4(), "--overlap", "1d", status=1).stderr
    for column in COLUMNS:
        done = keys("rotate", rows["good"], "--overlap", "1d", status=78, **{column: ""})
        assert f"needs postgres.{column}, which is empty" in done.stderr
    done = keys("rotate", rows["good"], "--overlap", "1d", status=78, successor_of_column="none")
    assert '"none" does not exist' in done.stderr and "--part rotation" in done.stderr
    assert "may only read" in keys("rotate", rows["good"], "--overlap", "1d", status=77, dsn=db.dsn).stderr
    assert contents(db) == before
    done = keys("rotate", rows["soon"], "--overlap", "1d", "--json")
    made = json.loads(done.stdout)
    assert made["expires_at"] == made["predecessor_expires_at"] and from_now(made["expires_at"]) < timedelta(hours=1)
    assert "when the old key would have ended" in done.stderr
    made = json.loads(keys("rotate", made["api_key_id"], "--overlap", "1d", "--lifetime", "unlimited", "--json").stdout)
    assert made["expires_at"] is None and from_now(made["predecessor_expires_at"]) < timedelta(hours=1)
    made = keys("rotate", rows["last"], "--overlap", "36600d", "--json").stdout
    assert from_now(json.loads(made)["predecessor_expires_at"]) > timedelta(days=36599)
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([str(BUILD / "apikeyctl"), "keys", "rotate", rows["kept"], "--overlap", "1d"], stdout=full,
                              stderr=subprocess.PIPE, text=True, timeout=60, check=False,
                              env={**os.environ, "APIKEYCTL_DSN": db.admin_dsn, **environment(COLUMNS)})
    successor = db.one(f"SELECT api_key_id FROM {TABLE} WHERE successor_of = %s", rows["kept"])
    assert done.returncode == 74 and f"keys rotate {successor} --overlap 0s" in done.stderr
    # No connection takes the place of a stream that is closed: it would get the key.
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" >&-', str(BUILD / "apikeyctl"), "keys", "rotate", str(successor),
                           "--overlap", "1d"], stderr=subprocess.PIPE, text=True, timeout=60, check=False,
                          env={**os.environ, "APIKEYCTL_DSN": db.admin_dsn, **environment(COLUMNS)})
    assert done.returncode == 74 and "and is lost" in done.stderr
    with open("/dev/full", "w", encoding="ascii") as full:
        done = subprocess.run([str(BUILD / "apikeyctl"), "keys", "create", "--user", str(other), "--name", "lost", "--config",
                               "/dev/null"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
                              env={**os.environ, "APIKEYCTL_DSN": db.admin_dsn})
    made = db.one(f"SELECT api_key_id FROM {TABLE} WHERE key_name = 'lost'")
    assert done.returncode == 74 and f"keys delete {made}" in done.stderr


@pytest.mark.builds("release")
def test_a_trigger_or_a_type_in_the_way(db, keys):
    """The end and the key that the command shows are those that the table holds, or nothing changes."""
    key = db.add_key("old")
    before = contents(db)
    db.run("CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS "
           "$$BEGIN NEW.key_id := lower(NEW.key_id); NEW.expires_at := OLD.expires_at; RETURN NEW; END$$")
    for event, text in (("INSERT", "changes the successor's key"), ("UPDATE", "the old key would not end")):
        db.run(f"CREATE OR REPLACE TRIGGER other BEFORE {event} ON {TABLE} FOR EACH ROW EXECUTE FUNCTION other()")
        done = keys("rotate", key, "--overlap", "1h", status=1)
        assert text in done.stderr and "nothing was changed" in done.stderr and done.stdout == "" and contents(db) == before
    db.run(f"DROP TRIGGER other ON {TABLE}; ALTER TABLE {TABLE} ALTER expires_at TYPE date")
    done = keys("rotate", key, "--overlap", "1h", status=1)
    assert "no time of the day" in done.stderr and contents(db) == before


@pytest.fixture
def gate(db):
    """A function for triggers, which waits until the gate is open: without a lock, since those are waited for briefly."""
    db.run("CREATE TABLE gate (n int); CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
           "$$BEGIN WHILE NOT EXISTS (SELECT FROM gate) LOOP PERFORM pg_sleep(0.02); END LOOP; RETURN NEW; END$$")

    def arrived():
        wait_until(lambda: waiting(db, "Timeout") == 1, "apikeyctl at the gate")
    arrived.open = lambda: db.run("INSERT INTO gate VALUES (1)")
    arrived.close = lambda: db.run("DELETE FROM gate")
    return arrived


def test_two_operators_at_once(db, keys, gate):
    """Also where sessions see what was there when they began."""
    db.run(f'ALTER DATABASE "{db.name}" SET default_transaction_isolation = \'repeatable read\'; '
           f"CREATE TRIGGER wait BEFORE INSERT ON {TABLE} FOR EACH ROW WHEN (NEW.successor_of IS NOT NULL) EXECUTE FUNCTION wait()")
    key = db.add_key("old")
    first = rotate_in_background(db, key)
    gate()
    second = rotate_in_background(db, key)
    wait_until(lambda: waiting(db) == 1, "the second one to wait")
    gate.open()
    made, why = first.communicate(timeout=60)
    assert first.returncode == 0, why
    _, why = second.communicate(timeout=60)
    made = json.loads(made)
    assert second.returncode == 1 and f"has a successor already: {made['api_key_id']}" in why
    assert [row["api_key_id"] for row in json.loads(keys("show", key, "--json").stdout)["rotation"]] == [
        str(key), made["api_key_id"]]


def test_nothing_happens_by_halves(db, keys, gate, scratch):
    """Killed between the two statements; a COMMIT whose answer does not come; a trigger that refuses."""
    db.run(f"CREATE TRIGGER wait BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE FUNCTION wait()")
    old = str(db.add_key("old"))
    before = contents(db)
    killed = rotate_in_background(db, old)
    gate()
    killed.kill()
    killed.communicate()
    gate.open()
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                                  "AND application_name = 'apikeyctl'"), "its session to end")
    assert contents(db) == before
    gate.close()
    with Proxy(scratch / f"{db.name}-cut", db.server.folder) as line:
        cut = rotate_in_background(db, old, line.folder)
        gate()
        line.become(RESET)
        shown, why = cut.communicate(timeout=60)
    assert cut.returncode == 69 and "before COMMIT, so nothing was changed" in why and shown == ""
    gate.open()
    wait_until(lambda: not db.one("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                                  "AND application_name = 'apikeyctl'"), "its session to end")
    assert contents(db) == before
    gate.close()
    db.run(f"DROP TRIGGER wait ON {TABLE}; CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {TABLE} DEFERRABLE INITIALLY "
           "DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()")
    with Proxy(scratch / f"{db.name}-line", db.server.folder) as line:
        cancelled = rotate_in_background(db, old)
        gate()
        db.run("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
               "AND application_name = 'apikeyctl'")
        shown, why = cancelled.communicate(timeout=60)
        assert cancelled.returncode == 1 and shown == "" and contents(db) == before, "the server's answer is known"
        lost = rotate_in_background(db, old, line.folder)
        gate()
        line.hold()
        gate.open()
        wait_until(lambda: contents(db) != before, "the commit")
        line.become(RESET)
        shown, why = lost.communicate(timeout=60)
    made = json.loads(shown)
    assert lost.returncode == 69 and "the connection was lost at COMMIT" in why and f"keys show {made['api_key_id']}" in why
    assert db.one(f"SELECT key_id FROM {TABLE} WHERE successor_of = %s", old) == made["key_id"], "the key that was shown"
    db.run(f"DROP TRIGGER wait ON {TABLE}; CREATE OR REPLACE FUNCTION wait() RETURNS trigger LANGUAGE "
           f"plpgsql AS $$BEGIN RETURN NULL; END$$; CREATE TRIGGER wait BEFORE UPDATE ON {TABLE} FOR EACH ROW EXECUTE "
           "FUNCTION wait()")
    before = contents(db)
    done = keys("rotate", made["api_key_id"], "--overlap", "1h", status=1)
    assert "nothing was changed" in done.stderr and contents(db) == before


@pytest.mark.builds("release")
def test_a_lock_is_not_waited_for_for_ever(db, keys):
    key = db.add_key("old")
    before = contents(db)
    with db.connect(autocommit=False) as holder:
        holder.execute(f"SELECT FROM {TABLE} FOR UPDATE")
        done = keys("rotate", key, "--overlap", "1d", status=1)
    assert "another session is changing this key" in done.stderr and "nothing was changed" in done.stderr
    assert contents(db) == before


@pytest.mark.builds("release")
def test_rotation_in_any_table(db, start, scratch):
    """Text IDs, partitions, times without a zone, names that are unique for each user, hashed keys beside raw ones."""
    secret = scratch / f"pepper-{db.name}"
    secret.write_text("pepper")
    columns = {"table": "public.T o", "id_column": "Id", "id_type": "text", "user_column": "owner",
               "key_column": "hash", "key_column_fallback": "raw", "key_transform": "hmac-sha256",
               "key_transform_secret_file": secret, "active_column": "", "last_used_column": "used", "updated_column": "",
               "created_column": "", "name_column": "label", "expires_column": "ends", "timestamp_zone": "Asia/Seoul",
               "successor_of_column": "Was"}
    db.run('CREATE DOMAIN code AS text CHECK (value <> \'\') NOT NULL; '
           'CREATE TABLE "T o" ("Id" code, owner text NOT NULL, hash text, raw text NOT NULL, used timestamp, '
           "label text NOT NULL, ends timestamp, PRIMARY KEY (\"Id\", owner), UNIQUE (owner, label), UNIQUE (owner, hash)) "
           "PARTITION BY LIST (owner); CREATE TABLE t1 PARTITION OF \"T o\" FOR VALUES IN ('u'); "
           "INSERT INTO \"T o\" VALUES ('k1', 'u', NULL, 'the key', NULL, 'name', NULL)")
    made = run("schema", "sql", "--part", "rotation", dsn="", **columns).stdout
    db.run(made.replace(" CONCURRENTLY", ""))
    deploy_sql = run("schema", "sql", "--part", "triggers", dsn="", **columns).stdout
    assert "Was" not in deploy_sql

    def rotate(*arguments, status=0, dsn=db.admin_dsn):
        return run("keys", "rotate", "k1", "--overlap", "1d", "--json", *arguments, dsn=dsn, status=status, **columns)
    before = contents(db, '"T o"')
    done = rotate("--name", "new", status=1).stderr
    assert "domain code does not allow null values" in done and "nothing was changed" in done and "--id" in done
    assert "constraint" in rotate("--id", "k2", status=1).stderr
    assert contents(db, '"T o"') == before
    made = json.loads(rotate("--id", "k2", "--name", "new").stdout)
    assert abs(from_now(made["predecessor_expires_at"]) - timedelta(days=1)) < MINUTE
    assert db.run('SELECT raw, length(hash), "Was" FROM "T o" WHERE "Id" = \'k2\'') == [(made["key_id"], 64, "k1")]
    assert abs(db.one("SELECT ends FROM \"T o\" WHERE \"Id\" = 'k1'") - datetime.now() - timedelta(hours=33)) < MINUTE
    assert "k2" in run("keys", "show", "k1", dsn=db.admin_dsn, **columns).stdout.split("oldest first")[1]
    with psycopg.connect(db.admin_dsn, autocommit=True) as owner:
        undo = run("schema", "sql", "--part", "rotation", "--undo", dsn="", **columns).stdout
        for statement in undo.replace("-- DROP", "DROP").replace("-- ALTER", "ALTER").split("\n"):
            if statement and not statement.startswith("--"):
                owner.execute(statement.replace(" CONCURRENTLY", ""))
    assert db.one("SELECT count(*) FROM pg_attribute WHERE attname = 'Was' AND NOT attisdropped") == 0


@pytest.mark.builds("release")
def test_rotation_where_ids_are_numbers(db):
    """… that PostgreSQL makes; where a user may have one active key; in a child that is no partition."""
    columns = {**COLUMNS, "table": "n", "id_type": "bigint", "name_column": "", "created_column": "", "updated_column": "",
               "expires_column": "expires_at"}
    db.run("CREATE TABLE n (api_key_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint, key_id varchar(40) UNIQUE, "
           "is_active bool, last_used timestamp, expires_at timestamp(0)); CREATE UNIQUE INDEX one ON n (user_id) WHERE is_active; "
           "CREATE TABLE child () INHERITS (n); INSERT INTO child VALUES (70, 9, 'theirs', true); "
           "INSERT INTO n (user_id, key_id, is_active) VALUES (5, 'old', true)")
    missing, = [row for row in json.loads(run("schema", "check", "--json", dsn=db.admin_dsn, status=1, **columns).stdout)
                if "successor_of" in row["what"]]
    assert missing["state"] == "missing" and "--part rotation" in missing["do"]
    let_keys_rotate(db.admin_dsn, **columns)
    assert "successor_of" not in run("schema", "check", "--json", dsn=db.admin_dsn, status=1, **columns).stdout

    def rotate(key, status=0):
        return run("keys", "rotate", key, "--overlap", "1h", "--json", dsn=db.admin_dsn, status=status, **columns)
    before = contents(db, "n")
    assert 'constraint "one"' in rotate(1, status=1).stderr
    assert "in a child of the table" in rotate(70, status=1).stderr
    assert "a whole number is expected" in rotate("1x", status=65).stderr
    assert contents(db, "n") == before
    db.run("DROP INDEX one")
    made = json.loads(rotate(1).stdout)
    assert db.run("SELECT user_id, successor_of FROM n WHERE api_key_id = %s", int(made["api_key_id"])) == [(5, 1)]
    assert abs(from_now(made["predecessor_expires_at"]) - timedelta(hours=1)) < MINUTE


@pytest.mark.builds("release")
def test_the_part_is_for_those_who_want_it(db):
    assert "successor_of" not in run("schema", "sql", dsn=db.admin_dsn).stdout
    done = run("schema", "sql", "--part", "rotation", dsn="", status=78, expires_column="expires_at")
    assert "postgres.successor_of_column is empty" in done.stderr
