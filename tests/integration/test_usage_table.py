"""The tables of counts: what `apikeyctl schema sql` makes for them, what keeps their partitions, and who reads them.
Most rows are the test's own: whether a daemon counts right is the subject of test_counts.py."""

import csv
import io
import json
import os
import pty
import subprocess
import threading
import time
import uuid

import psycopg
import pytest
from coherence import LONG, becomes
from conftest import Database, check, drop_database, flush, info
from harness.servers import BUILD, wait_until

pytestmark = pytest.mark.builds("release")

USAGE = "api.user_api_key_usage"
COUNTS = {"APIKEYD_USAGE_COUNTS": "hour"}
MONTHLY = {**COUNTS, "APIKEYD_USAGE_RETENTION": "60d"}
UPSERT = (f"INSERT INTO {USAGE} VALUES (%s, %s, 'allow', %s) "
          f"ON CONFLICT (api_key_id, bucket, verdict) DO UPDATE SET uses = {USAGE.split('.')[1]}.uses + excluded.uses")


def ctl(*args, status=0, **env):
    done = subprocess.run([BUILD / "apikeyctl", *map(str, args), "--config", "/dev/null"], capture_output=True, text=True,
                          timeout=120, check=False, env={**os.environ, **env})
    assert done.returncode == status, done.stdout + done.stderr
    return done


def deploy(db, *args, **env):
    """As psql does, statement by statement."""
    done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", db.admin_dsn], text=True,
                          input=ctl("schema", "sql", *args, **env).stdout, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def checked(db, status=0, **env):
    found = json.loads(ctl("schema", "check", "--dsn", db.admin_dsn, "--role", "apikeyd", "--json", status=status, **env).stdout)
    return {row["what"]: row["do"] for row in found if row["state"] != "ok"}


def maintain(db, **env):
    """As the daemon's role, which may do nothing else with the partitions."""
    return ctl("usage", "maintain", "--dsn", db.dsn, **{**MONTHLY, **env}).stdout


def add(db, bucket, uses=1, key=None, verdict="allow"):
    db.run(f"INSERT INTO {USAGE} VALUES (%s, {bucket}, %s, %s)", key or uuid.uuid4(), verdict, uses)


def total(db):
    return int(db.one(f"SELECT coalesce(sum(uses), 0) FROM {USAGE}"))


def partitions(db):
    """By name, the months since now that each begins and ends with; None: it is endless there."""
    rows = db.run("SELECT relname, pg_get_expr(relpartbound, c.oid) FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid "
                  f"WHERE inhparent = '{USAGE}'::regclass")
    now = db.one("SELECT date_trunc('month', now(), 'UTC')")

    def months(bound, word):
        text = bound.partition(word)[2].partition(")")[0].strip("('")
        if not text or text == "MINVALUE":
            return None
        year, month = map(int, text.split("-")[:2])
        return (year - now.year) * 12 + month - now.month
    return {name.removeprefix("user_api_key_usage_"): (months(bound, "FROM "), months(bound, "TO ")) for name, bound in rows}


MONTH = "date_trunc('month', now(), 'UTC') + {} * interval '1 month' + interval '1 day'"


@pytest.fixture
def other(postgres):
    name = "other_usage"
    postgres.create_database(name)
    yield Database(postgres, name)
    drop_database(postgres, name)


NAMES = {"POSTGRES_TABLE": 'k"eys.ta\'ble %s', "POSTGRES_USAGE_TABLE": 'k"eys.' + "us'age %s é" + "x" * 50,
         "POSTGRES_LEDGER_TABLE": "public.led ger", "POSTGRES_ID_TYPE": "bigint", "POSTGRES_ID_COLUMN": "I d",
         "POSTGRES_USER_COLUMN": "own\"er", "POSTGRES_NAME_COLUMN": "", "USAGE_DELETED_KEYS": "drop"}


@pytest.mark.parametrize("retention", ["0s", "400d"])
def test_for_any_configuration(other, retention):
    """Made, checked, made again without a change, used by the daemon's role, kept while it holds counts, undone."""
    env = {f"APIKEYD_{name}": value for name, value in NAMES.items()}
    env.update(COUNTS, APIKEYD_USAGE_RETENTION=retention)
    other.run("""CREATE SCHEMA "k""eys"; CREATE TABLE "k""eys"."ta'ble %s" ("I d" int PRIMARY KEY, key_id text, "own""er" int,
        is_active bool, last_used timestamptz, created_at timestamptz, updated_at timestamptz)""")
    look = ("SELECT 'class', relname::text, xmin FROM pg_class WHERE relkind <> 't' AND oid > 16000 UNION ALL "
            "SELECT 'proc', proname, xmin FROM pg_proc WHERE oid > 16000 ORDER BY 1, 2")
    deploy(other, **{name: value for name, value in env.items() if name != "APIKEYD_USAGE_COUNTS"})
    without = other.run(look)
    assert "apikeyctl schema sql --part usage" in checked(other, status=1, **env).values()
    deploy(other, **env)
    assert checked(other, **env).keys() <= {"no name"}
    made = other.run(look)
    deploy(other, **env)
    assert other.run(look) == made
    usage, keys = '"k""eys"."us\'age %s é' + "x" * 50 + '"', '"k""eys"."ta\'ble %s"'
    other.run(f"INSERT INTO {keys} VALUES (7, 'k', 8, true)")
    with psycopg.connect(other.dsn, autocommit=True) as role:
        role.execute(f"INSERT INTO {usage} VALUES (7, now(), 'allow', 3)")
        role.execute("INSERT INTO public.\"led ger\" VALUES (gen_random_uuid(), 1)")
        for sql in (f"DELETE FROM {usage}", f"TRUNCATE {usage}", "DELETE FROM public.\"led ger\""):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                role.execute(sql)
    view = other.one("SELECT oid::regclass::text FROM pg_class WHERE relkind = 'v' AND oid > 16000")
    assert other.run(f"SELECT api_key_id, key_name, user_id, allow, early FROM {view}") == [(7, None, 8, 3, 0)]
    assert "stays: it holds counts" in deploy(other, "--part", "usage", "--undo", **env)
    deploy(other, **env)
    other.run(f"DELETE FROM {keys}; DELETE FROM public.\"led ger\"")  # the counts go with the key
    deploy(other, "--part", "usage", "--undo", **env)
    assert [row[:2] for row in other.run(look)] == [row[:2] for row in without]


def test_a_table_of_the_owners(other):
    """One that apikeyd has not made is used if it fits, and is not dropped; a schema that is missing is told."""
    other.run("CREATE SCHEMA api; CREATE TABLE api.user_api_key (api_key_id uuid PRIMARY KEY, key_id text, user_id uuid, "
              "key_name text, is_active bool, last_used timestamptz, created_at timestamptz, updated_at timestamptz)")
    deploy(other, **COUNTS)
    other.run(f"DROP TABLE {USAGE} CASCADE; CREATE TABLE {USAGE} (api_key_id uuid, bucket timestamptz, verdict text, uses bigint, "
              "PRIMARY KEY (api_key_id, bucket, verdict))")
    deploy(other, "--part", "usage", **COUNTS)
    assert checked(other, **COUNTS).popitem()[0].startswith("no room on the pages")
    assert "stays: apikeyd has not made it" in deploy(other, "--part", "usage", "--undo", **COUNTS)
    assert total(other) == 0 and other.one("SELECT to_regclass('api.apikeyd_ledger')") is None
    elsewhere = {**COUNTS, "APIKEYD_POSTGRES_USAGE_TABLE": "stats.uses"}
    assert "CREATE SCHEMA stats; then apikeyctl schema sql --part usage" in checked(other, status=1, **elsewhere).values()
    done = subprocess.run(["psql", "-X", "-q", "-d", other.admin_dsn], input=ctl("schema", "sql", **elsewhere).stdout, text=True,
                          capture_output=True, check=False)
    assert "schema stats is missing" in done.stderr and "name a table in another one in postgres.usage_table" in done.stderr


@pytest.mark.slow
def test_counts_of_a_deleted_key(db, start):
    """They stay, unless a foreign key is asked for; the setting can be changed while the table is empty. The triggers count
    as before."""
    key = db.add_key("good")
    add(db, "now()", key=key)
    db.run("DELETE FROM api.user_api_key")
    assert total(db) == 1 and not checked(db, **COUNTS)
    drop = {**COUNTS, "APIKEYD_USAGE_DELETED_KEYS": "drop"}
    assert "gets no foreign key" in deploy(db, "--part", "usage", **drop)
    assert any("foreign key that deletes" in what for what in checked(db, status=1, **drop))
    db.run(f"TRUNCATE {USAGE}")
    deploy(db, "--part", "usage", **drop)
    assert not checked(db, **drop)
    key = db.add_key("good")
    add(db, "now()", key=key)
    daemon = start(LONG)
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the triggers to count")
    assert check(daemon.client(), "good")[0] == "ALLOW"
    db.run("DELETE FROM api.user_api_key")
    becomes(daemon.client(), "good", ["DENY", "unknown"])
    assert total(db) == 0
    assert any("deletes the counts" in what for what in checked(db, **COUNTS))
    deploy(db, "--part", "usage", **COUNTS)
    add(db, "now()")  # of no key


# What is found after each of these; a deploy mends the first, and makes what is not there after the others.
FOUND = {
    (f"DROP TABLE {USAGE} CASCADE", "REVOKE INSERT, SELECT ON api.apikeyd_ledger FROM apikeyd"):
        ["table api.user_api_key_usage", "INSERT, SELECT on api.apikeyd_ledger for role apikeyd"],
    (f"REVOKE UPDATE ON {USAGE} FROM apikeyd", f"DROP VIEW {USAGE}_daily"):
        ["UPDATE on api.user_api_key_usage for role apikeyd", "no view api.user_api_key_usage_daily"],
    (f"ALTER TABLE {USAGE} ALTER api_key_id TYPE text", f"ALTER TABLE {USAGE} ADD more int NOT NULL",
     f"ALTER TABLE {USAGE} DROP CONSTRAINT user_api_key_usage_pkey", f"CREATE INDEX ON {USAGE} (uses)",
     "ALTER TABLE api.apikeyd_ledger DROP CONSTRAINT apikeyd_ledger_pkey", f"ALTER TABLE {USAGE} RESET (fillfactor)"):
        ["column api_key_id of api.user_api_key_usage is of type text, not uuid",
         "column more of api.user_api_key_usage takes no row", "unique index of api.user_api_key_usage on (api_key_id",
         "each flush of counts writes to it", "unique index of api.apikeyd_ledger on (ledger_id)",
         "no room on the pages of api.user_api_key_usage"],
    (f"ALTER TABLE {USAGE} RENAME uses TO number", f"ALTER TABLE {USAGE} ENABLE ROW LEVEL SECURITY",
     f"ALTER TABLE {USAGE} ADD FOREIGN KEY (api_key_id) REFERENCES api.user_api_key"):
        ["lacks column uses", "row security hides rows of api.user_api_key_usage", "no key with counts can be deleted"],
    (f"DROP TABLE {USAGE} CASCADE", f"CREATE VIEW {USAGE} AS SELECT 1 AS one"): ["is not a table"],
}


@pytest.mark.slow
def test_what_the_check_finds(db):
    """Each says what to do, and a deploy mends what is missing."""
    assert not checked(db, **COUNTS) and not checked(db)
    for place, (statements, expected) in enumerate(FOUND.items()):
        for sql in statements:
            db.run(sql)
        found = checked(db, status=1, **COUNTS)
        for what in expected:
            assert any(what in line and to_do for line, to_do in found.items()), (what, found)
        if place >= 2:
            db.run(f"DROP {'VIEW' if 'VIEW' in statements[-1] else 'TABLE'} {USAGE} CASCADE; DROP TABLE api.apikeyd_ledger")
        deploy(db, "--part", "usage", **COUNTS)
        assert not checked(db, **COUNTS), statements


@pytest.mark.slow
def test_partitions_are_made_and_dropped(db):
    """A table that had none becomes the first; whatever comes while nobody looks after them is kept, in one more."""
    add(db, MONTH.format(0), 5)
    assert "nothing is done" in maintain(db)
    assert any("which usage.retention needs" in what for what in checked(db, status=1, **MONTHLY))
    deploy(db, "--part", "usage", **MONTHLY)
    assert not checked(db, **MONTHLY) and total(db) == 5
    found = partitions(db)
    assert found.pop("before") == (None, 1) and found.pop("default") == (None, None)
    assert sorted(found.values()) == [(1, 2), (2, 3), (3, 4)]
    assert "All partitions are there" in maintain(db)

    # Nobody has maintained them for long.
    db.run(f"DROP TABLE {USAGE}_before; " + "; ".join(f"DROP TABLE {USAGE}_{name}" for name in found))
    for month in (-3, -2, 0):
        add(db, MONTH.format(month), 10)
    assert any(what.startswith("partition of api.user_api_key_usage for") for what in checked(db, status=1, **MONTHLY))
    said = maintain(db)
    assert said.count("made ") == 4 and "of what was in" in said, said
    found = partitions(db)
    assert sorted(found.values(), key=str) == sorted([(-3, 1), (1, 2), (2, 3), (3, 4), (None, None)], key=str)
    assert total(db) == 30 and not checked(db, **MONTHLY)

    # A month that is over, and one whose rows come late.
    db.run(f"CREATE TABLE api.old PARTITION OF {USAGE} FOR VALUES FROM ('2020-01-01Z') TO ('2020-02-01Z')")
    add(db, "'2020-01-02Z'")
    add(db, "'2019-01-02Z'")
    # Of a run whose counts are of such months; and of one whose first counts may be kept.
    db.run(f"INSERT INTO api.apikeyd_ledger VALUES (gen_random_uuid(), 1, '2019-01-02Z'), "
           f"(gen_random_uuid(), 2, {MONTH.format(0)})")
    assert any("older than usage.retention" in what for what in checked(db, **MONTHLY))
    said = maintain(db)
    assert "dropped api.old" in said and "dropped api.user_api_key_usage_2019_01" in said
    assert total(db) == 30 and partitions(db) == found
    assert "deleted from api.apikeyd_ledger: 1 rows" in said, said
    assert db.run("SELECT number FROM api.apikeyd_ledger") == [(2,)]

    # Rows of a host whose clock is wrong are kept, and told; those that are too old go all the same.
    add(db, "now() + interval '9 years'", 7)
    add(db, "'2019-01-02Z'")
    assert "stay in api.user_api_key_usage_default" in maintain(db)
    assert total(db) == 37 and partitions(db) == found
    assert any("held counts that no partition" in what for what in checked(db, **MONTHLY))


def test_who_may_maintain_partitions(db):
    """The daemon's role, by a function of the owner's, which takes nothing from it; not everyone, and no other function."""
    db.run(f"DROP FUNCTION {USAGE}_maintain()")
    deploy(db, "--part", "usage", **MONTHLY)
    db.run("CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA api TO reader")
    try:
        dsn = db.dsn.replace("user=apikeyd", "user=reader")
        refused = ctl("usage", "maintain", "--dsn", dsn, status=1, **MONTHLY)
        assert "permission denied for function user_api_key_usage_maintain" in refused.stderr
        with psycopg.connect(db.dsn, autocommit=True) as role, pytest.raises(psycopg.errors.InsufficientPrivilege):
            role.execute(f"DROP TABLE {USAGE}_default")
        refused = ctl("usage", "--dsn", dsn, status=77, **COUNTS)
        assert "permission denied for table user_api_key_usage; name a role" in refused.stderr
        db.run(f"DROP FUNCTION {USAGE}_maintain(); GRANT CREATE ON SCHEMA api TO reader")
        with psycopg.connect(dsn, autocommit=True) as reader:
            reader.execute(f"CREATE FUNCTION {USAGE}_maintain() RETURNS text LANGUAGE sql AS 'SELECT current_user::text'")
        refused = ctl("usage", "maintain", "--dsn", db.dsn, status=1, **MONTHLY)
        assert "of the owner of api.user_api_key_usage is missing" in refused.stderr
    finally:
        db.run("DROP OWNED BY reader; DROP ROLE reader")


@pytest.mark.slow
def test_counts_go_on_meanwhile(db):
    """Under a writer that repeats what fails, no use is lost or counted twice while partitions are made under it."""
    stop, added = threading.Event(), 0
    buckets = [db.one(f"SELECT {MONTH.format(month)}") for month in (-2, 0)]

    def write():
        nonlocal added
        keys = [uuid.uuid4() for _ in range(20)]
        with psycopg.connect(db.dsn, autocommit=True) as role:
            while not stop.is_set():
                try:
                    with role.transaction():
                        role.cursor().executemany(UPSERT, rows := [(key, bucket, 1) for key in keys for bucket in buckets])
                    added += len(rows)
                    time.sleep(0.005)  # locks are to be had in between, however slow the host is
                except psycopg.errors.InsufficientPrivilege:  # on the table that takes the other's place
                    time.sleep(0.01)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        wait_until(lambda: added > 1000, "the writer")
        deploy(db, "--part", "usage", **MONTHLY)
        buckets.append(db.one(f"SELECT {MONTH.format(1)}"))
        for _ in range(3):
            so_far = added
            wait_until(lambda: added > so_far + 1000, "the writer")
            # Neglected: what is in the partition of the next month goes to the default's.
            with db.connect(autocommit=False) as session:
                name = next(name for name, months in partitions(db).items() if months[0] == 1)
                session.execute(f"LOCK TABLE {USAGE}; ALTER TABLE {USAGE} DETACH PARTITION {USAGE}_{name}; "
                                f"INSERT INTO {USAGE} SELECT * FROM {USAGE}_{name}; DROP TABLE {USAGE}_{name}")
                session.commit()
            wait_until(lambda: added > so_far + 1500, "the writer")
            assert "of what was in" in maintain(db)
    finally:
        stop.set()
        writer.join()
    assert total(db) == added


@pytest.mark.slow
def test_a_daemon_counts_into_partitions(db, start):
    """Also while the table gets them, into the default one, and into one that is made of that."""
    db.add_key("good")
    daemon = start({"usage.counts": "hour", "redis.url": ""})
    client = daemon.client()

    def counted(uses):
        for _ in range(10):
            assert check(client, "good")[0] == "ALLOW"
        flush(daemon)
        wait_until(lambda: total(db) == uses, "the counts")
    counted(10)
    deploy(db, "--part", "usage", **MONTHLY)
    counted(20)
    with db.connect(autocommit=False) as session:
        session.execute(f"LOCK TABLE {USAGE}; ALTER TABLE {USAGE} DETACH PARTITION {USAGE}_before; "
                        f"INSERT INTO {USAGE} SELECT * FROM {USAGE}_before; DROP TABLE {USAGE}_before")
        session.commit()
    counted(30)
    assert "of what was in" in maintain(db)
    counted(40)
    assert db.one(f"SELECT sum(uses) FROM ONLY {USAGE}_default") is None


# Read.


@pytest.fixture
def counted(db):
    """Three keys of two users, one of which is deleted, and one without a use."""
    db.ids = {name: db.add_key(name, key_name=name) for name in ("busy", "calm", "gone", "idle")}
    db.other_user = uuid.uuid4()
    db.run('INSERT INTO api."user" (user_id) VALUES (%s)', db.other_user)
    db.run("UPDATE api.user_api_key SET user_id = %s WHERE key_id = 'calm'", db.other_user)
    hour = "date_trunc('hour', now())"
    add(db, f"{hour} - interval '2 days'", 4000, db.ids["busy"])
    add(db, hour, 90, db.ids["busy"])
    add(db, hour, 10, db.ids["busy"], "expired")
    add(db, hour, 6, db.ids["calm"], "inactive")
    add(db, hour, 50, db.ids["gone"])
    add(db, f"{hour} - interval '100 days'", 7, db.ids["busy"], "early")
    db.run("DELETE FROM api.user_api_key WHERE key_id = 'gone'")
    return db


def usage(db, *args, status=0, dsn=None, **env):
    return ctl("usage", "--dsn", dsn or db.admin_dsn, *args, status=status, **{**COUNTS, **env})


@pytest.mark.builds("release", "debug", "asan")
def test_uses_by_time_and_by_key(counted):
    db = counted
    rows = json.loads(usage(db, "--json").stdout)
    assert len(rows) == 31 and sum(row["total"] for row in rows) == 4156
    assert rows[-1] == {"time": db.one("SELECT to_char(now(), 'YYYY-MM-DD')"), "allow": 140, "inactive": 6, "expired": 10,
                        "early": 0, "total": 156}
    assert rows[-3]["allow"] == 4000
    rows = json.loads(usage(db, "--by", "month", "--since", "200d", "--key", db.ids["busy"], "--json").stdout)
    assert sum(row["total"] for row in rows) == 4107 and sum(row["early"] for row in rows) == 7
    rows = list(csv.DictReader(io.StringIO(usage(db, "--by", "hour", "--since", "1h", "--csv").stdout)))
    assert len(rows) == 2 and rows[1]["total"] == "156" and rows[1]["time"].endswith("Z")
    assert sum(row["total"] for row in json.loads(usage(db, "--user", db.other_user, "--json").stdout)) == 6

    rows = json.loads(usage(db, "--top", 2, "--json").stdout)
    assert [(row["api_key_id"], row["name"], row["user_id"], row["deleted"], row["total"]) for row in rows] == [
        (str(db.ids["busy"]), "busy", str(db.user_id), False, 4100), (str(db.ids["gone"]), None, None, True, 50)]
    assert [row["api_key_id"] for row in json.loads(usage(db, "--top", 9, "--user", db.other_user, "--json").stdout)] == [
        str(db.ids["calm"])]
    table = usage(db, "--top", 9).stdout
    assert "1 of these keys is deleted: api.user_api_key has no row of it." in table and "█" not in table
    # Keys that follow each other.
    db.run("ALTER TABLE api.user_api_key ADD successor_of uuid")
    for key, of in ("calm", "busy"), ("idle", "calm"):
        db.run("UPDATE api.user_api_key SET successor_of = %s WHERE api_key_id = %s", db.ids[of], db.ids[key])
    linked = {"APIKEYD_POSTGRES_SUCCESSOR_OF_COLUMN": "successor_of"}
    for key in "busy", "calm", "idle":
        rows = json.loads(usage(db, "--key", db.ids[key], "--rotated", "--json", **linked).stdout)
        assert sum(row["total"] for row in rows) == 4106
    assert sum(row["total"] for row in json.loads(usage(db, "--key", db.ids["calm"], "--json", **linked).stdout)) == 6
    rows = json.loads(usage(db, "--key", db.ids["gone"], "--rotated", "--json", **linked).stdout)
    assert sum(row["total"] for row in rows) == 50
    assert "successor_of_column" in usage(db, "--key", db.ids["busy"], "--rotated", status=78).stderr
    assert "--key names" in usage(db, "--user", db.user_id, "--rotated", status=64, **linked).stderr
    # The daemon's role may not read names.
    rows = json.loads(usage(db, "--top", 1, "--json", dsn=db.dsn).stdout)
    assert rows[0]["name"] is None and rows[0]["user_id"] == str(db.user_id)
    assert db.run("SELECT key_name, allow, expired FROM api.user_api_key_usage_daily ORDER BY allow DESC LIMIT 3") == [
        ("busy", 4000, 0), ("busy", 90, 10), (None, 50, 0)]


@pytest.mark.builds("release", "debug", "asan")
def test_a_sentence_where_there_is_nothing(counted):
    db = counted
    assert usage(db, "--key", db.ids["idle"]).stdout.startswith("No uses were counted since 20")
    assert f"Key {db.ids['gone']} is deleted" in usage(db, "--key", db.ids["gone"]).stderr
    nobody = uuid.uuid4()
    assert f"no key with ID {nobody}" in usage(db, "--key", nobody, status=1).stderr
    assert f"user {nobody} has no key" in usage(db, "--user", nobody, status=1).stderr
    assert "usage.counts is off" in usage(db, APIKEYD_USAGE_COUNTS="off").stdout
    assert "usage.retention is 0s" in ctl("usage", "maintain", **COUNTS).stdout
    for args, what in ((("--key", "x"), "a UUID is expected"), (("--by", "week"), "hour, day or month is expected"),
                       (("--top", "0"), "from 1 to 10000"), (("--top", "3", "--by", "day"), "--top shows keys"),
                       (("--since", "100w", "--by", "hour"), "at most 10000 rows"), (("--since", "month"), "a time is expected"),
                       (("--json", "--csv"), "not both"), (("--key", nobody, "--user", nobody), "only one of them")):
        status = 65 if "UUID" in what else 64
        assert what in usage(db, *args, status=status).stderr
    assert "there are no hours" in usage(db, "--by", "hour", status=64, APIKEYD_USAGE_COUNTS="day").stderr
    db.run(f"TRUNCATE {USAGE}")
    assert usage(db, "--top", 3).stdout.startswith("No uses were counted") and usage(db, "--top", 3, "--json").stdout == "[]\n"
    db.run(f"DROP TABLE {USAGE}")
    assert "table api.user_api_key_usage is missing: make it with apikeyctl" in usage(db, status=1).stderr


def in_terminal(argv, width, **env):
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(env)
        os.execv("/bin/sh", ["sh", "-c", f"stty cols {width}; exec \"$0\" \"$@\"", *argv])
    shown = b""
    while True:
        try:
            more = os.read(master, 65536)
        except OSError:  # it ended
            break
        if not more:
            break
        shown += more
    os.close(master)
    assert os.waitpid(pid, 0)[1] == 0, shown
    return [line.rstrip() for line in shown.decode().splitlines()]


@pytest.mark.builds("release", "debug", "asan")
def test_bars_in_a_terminal(counted):
    """They fill the width that is left, to an eighth of a column; not where the locale or the terminal has no room."""
    argv = [str(BUILD / "apikeyctl"), "usage", "--config", "/dev/null", "--dsn", counted.admin_dsn, "--since", "3d"]
    utf8 = in_terminal(argv, 100, LC_ALL="C.UTF-8", **COUNTS)
    assert max(map(len, utf8)) == 100
    bars = [line for line in utf8 if set(line) & set("▏▎▍▌▋▊▉█")]
    assert len(bars) == 2 and bars[0].endswith("█" * 50) and bars[1][-1] in "▏▎▍▌▋▊▉█"
    plain = in_terminal(argv, 80, LC_ALL="C", **COUNTS)
    assert max(map(len, plain)) == 80 and plain[2].endswith("####") and plain[-1].endswith("  #"), plain
    narrow = in_terminal(argv, 50, LC_ALL="C.UTF-8", **COUNTS)
    assert max(map(len, narrow)) <= 50 and not any("█" in line for line in narrow)
