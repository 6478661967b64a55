"""The way from keys in the table to hashes of them: a fallback column, several secrets, and each step while
the daemon runs. docs/operations.md, "Moving to hashed keys", is what the walk follows."""

import contextlib
import hashlib
import hmac
import json
import os
import random
import subprocess
import threading
import time
import uuid

import psycopg
import pytest
from coherence import TTL_ONLY
from conftest import check, explain, info, let_redis_be_fresh
from harness.bound_judge import BoundJudge
from harness.judged_load import INACTIVE, UNKNOWN, Load
from harness.servers import BUILD, wait_until
from wire import Wire, command

OLD, NEW = "old pepper", "new pepper"
about_sql = pytest.mark.builds("release")  # the statements alone


def hash_of(key, secret=OLD):
    return hmac.new(secret.encode(), key.encode(), hashlib.sha256).hexdigest()


def announce(db, key_column, fallback=""):
    """What `apikeyctl schema sql` makes for these key columns."""
    env = {**os.environ, "APIKEYD_POSTGRES_KEY_COLUMN": key_column, "APIKEYD_POSTGRES_KEY_COLUMN_FALLBACK": fallback,
           "APIKEYD_POSTGRES_KEY_TRANSFORM": "hmac-sha256" if fallback else "none",
           "APIKEYD_POSTGRES_KEY_TRANSFORM_SECRET_FILE": "/dev/null" if fallback else ""}
    for part in ("role", "functions", "triggers"):
        db.run(subprocess.run([BUILD / "apikeyctl", "schema", "sql", "--config", "/dev/null", "--part", part],
                              capture_output=True, text=True, check=True, env=env).stdout)


@pytest.fixture
def hashed(db):
    """The table with a column for hashes, and rows that need not have a key in either."""
    db.run("ALTER TABLE api.user_api_key ADD COLUMN key_id_hash text")
    db.run("ALTER TABLE api.user_api_key ALTER COLUMN key_id DROP NOT NULL")
    db.run("CREATE INDEX ON api.user_api_key (key_id_hash)")
    announce(db, "key_id_hash", "key_id")
    return db


@pytest.fixture
def options(scratch, db):
    """options(secret, …, fallback=True): of a daemon that finds hashes by these secrets."""
    def make(*secrets, fallback=True):
        files = [scratch / f"{db.name}-{secret.partition(' ')[0]}" for secret in secrets]
        for file, secret in zip(files, secrets):
            file.write_text(secret + "\n")
            file.chmod(0o600)
        return {"postgres.key_column": "key_id_hash", "postgres.key_transform": "hmac-sha256",
                "postgres.key_transform_secret_file": ", ".join(map(str, files)),
                "postgres.key_column_fallback": "key_id" if fallback else ""}
    return make


def ctl(daemon, db, *arguments, env=None):
    return subprocess.run([BUILD / "apikeyctl", *arguments, "--config", daemon.config, "--dsn", db.admin_dsn],
                          capture_output=True, text=True, check=False, env={**os.environ, **(env or {})})


def rows_checked(daemon, db, env=None, role="apikeyd"):
    """(state, sentence) of what `apikeyctl schema check` tells of the rows, and its exit status."""
    done = ctl(daemon, db, "schema", "check", "--json", "--role", role, env=env)
    assert done.returncode in (0, 1), done.stderr
    return [(row["state"], row["what"]) for row in json.loads(done.stdout) if " rows" in row["what"]], done.returncode


def reload(daemon, options):
    daemon.options.update(options)
    daemon.write_config()
    assert daemon.admin_client().execute_command("RELOAD") == "OK"


def test_what_the_two_columns_may_hold(hashed, start, options):
    """A row is a key's if each column that holds something agrees; a stored hash is never a key."""
    rows = {
        "hash only": (None, hash_of("hash only")),
        "older secret": (None, hash_of("older secret", NEW)),
        "raw only": ("raw only", None),
        "raw and empty": ("raw and empty", ""),
        "both": ("both", hash_of("both")),
        "hash and empty": ("", hash_of("hash and empty")),
        "copied": (hash_of("copied"), hash_of("copied")),
        "torn": ("torn", hash_of("another")),
        "no secret of ours": ("no secret of ours", hash_of("no secret of ours", "pepper of nobody")),
        "upper": ("upper", hash_of("upper").upper()),
        "raw is a hash": (hash_of("raw is a hash"), None),
    }
    ids = {key: str(hashed.add_key(raw, key_id_hash=stored)) for key, (raw, stored) in rows.items()}
    daemon = start(options(OLD, NEW))
    client = daemon.client()
    found = [*rows][:7]
    for key in rows:
        expected = ["ALLOW", ids[key], str(hashed.user_id)] if key in found else ["DENY", "unknown"]
        assert check(client, key) == check(client, key) == expected, key
        assert explain(daemon, key)["verdict"] == (expected[0] if key in found else "DENY unknown"), key
    assert check(client, "another") == ["DENY", "unknown"]
    for stored in {text for row in rows.values() for text in row if text and len(text) == 64}:
        assert check(client, stored) == ["DENY", "unknown"]
    counts = info(daemon)
    assert counts["found_by_fallback"] == 4 and counts["found_by_older_secret"] == 2  # asked, and explained
    log = daemon.log()
    assert log.count("it holds the hash of another key than its key_column_fallback") == 1
    assert log.count("64 lower-case hexadecimal digits are expected") == 1
    assert log.count("which may be a stored hash") == 1
    told, status = rows_checked(daemon, hashed)
    assert status == 1 and {(state, *what.partition(": ")[::2]) for state, what in told} == {
        ("in the way", f"no key finds {count} of 11 rows", f"column key_id_hash {fault} (the first: {ids[first]})")
        for count, first, fault in (
            (1, "upper", "holds no hash: 64 lower-case hexadecimal digits are expected"),
            (2, "torn", "holds the hash of another key than key_column_fallback, or by a secret that is not in "
                        "key_transform_secret_file"),
            (1, "raw is a hash", "is empty, and key_column_fallback holds 64 hexadecimal digits, which may be a stored hash"))}


@about_sql
def test_rows_that_no_key_finds_are_told(hashed, start, options):
    """Without a fallback the daemon never sees such a row. A check looks at all of them, within bounds."""
    daemon = start(options(OLD, fallback=False), wait=False)
    daemon.write_config()
    assert rows_checked(daemon, hashed) == ([("ok", "each of 0 rows holds what a check can find")], 0)
    stored = hash_of("key")
    for text in (stored, hash_of("other", "not ours"), stored.upper(), stored[1:], stored + "0", "x" * 64, "", None):
        hashed.add_key(None, key_id_hash=text)
    told, status = rows_checked(daemon, hashed)
    assert status == 1 and [(state, what.partition(" (")[0]) for state, what in told] == [
        ("in the way", "no key finds 4 of 8 rows: column key_id_hash holds no hash: 64 lower-case hexadecimal digits are expected"),
        ("in the way", "no key finds 2 of 8 rows: column key_id_hash is empty")]
    hashed.run("DELETE FROM api.user_api_key WHERE key_id_hash !~ '^[0-9a-f]{64}$'")
    told, status = rows_checked(daemon, hashed, {"APIKEYD_POSTGRES_KEY_COLUMN_FALLBACK": "key_id"})
    assert (told, status) == ([("advice", f"no key finds 1 of 3 rows: column key_id_hash is empty, and so is key_column_fallback "
                                f"(the first: {hashed.one('SELECT api_key_id FROM api.user_api_key WHERE key_id_hash IS NULL')})")], 0)
    # An ID of text is cut where a character ends.
    hashed.run("UPDATE api.user_api_key SET key_name = repeat('x', 62) || 'é' WHERE key_id_hash IS NULL")
    told, _ = rows_checked(daemon, hashed, {"APIKEYD_POSTGRES_ID_COLUMN": "key_name"})
    assert [what.rpartition(": ")[2] for _, what in told] == ["x" * 62 + ")"]
    # Partitions are read too. Without the secret only forms are judged.
    hashed.run("DELETE FROM api.user_api_key WHERE key_id_hash IS NULL; ALTER TABLE api.user_api_key RENAME TO low; "
               "ALTER TABLE api.low DROP CONSTRAINT user_api_key_pkey; DROP INDEX api.user_api_key_key_id_idx; "
               "CREATE TABLE api.user_api_key (LIKE api.low INCLUDING DEFAULTS) PARTITION BY LIST (is_active); "
               "ALTER TABLE api.user_api_key ATTACH PARTITION api.low FOR VALUES IN (true); "
               "CREATE TABLE api.off PARTITION OF api.user_api_key FOR VALUES IN (false)")
    hashed.add_key("raw", active=False, key_id_hash=stored)
    env = {"APIKEYD_POSTGRES_KEY_COLUMN_FALLBACK": "key_id"}
    assert "no key finds 1 of 3 rows: column key_id_hash holds the hash of another key" in rows_checked(daemon, hashed, env)[0][0][1]
    env["APIKEYD_POSTGRES_KEY_TRANSFORM_SECRET_FILE"] = "/nonexistent"
    done = ctl(daemon, hashed, "schema", "check", env=env)
    assert "key_transform_secret_file: No such file or directory; hashes are not compared with keys" in done.stdout, done.stdout
    # A statement that takes long is given up: here, since a cast of the owner's sleeps.
    hashed.run("CREATE TYPE api.k AS (a text); CREATE FUNCTION api.f(api.k) RETURNS text LANGUAGE sql VOLATILE AS "
               "$$ SELECT 'x' FROM pg_sleep(60) $$; CREATE CAST (api.k AS text) WITH FUNCTION api.f(api.k); "
               "ALTER TABLE api.user_api_key ADD slow api.k DEFAULT ROW('x')::api.k")
    told, _ = rows_checked(daemon, hashed, {"APIKEYD_POSTGRES_KEY_COLUMN": "slow"})
    assert told == [("advice", "only 0 rows were read: canceling statement due to statement timeout")]


@about_sql
def test_a_new_key_where_the_raw_column_is_still_there(hashed, start, options):
    """And NOT NULL, though it is no fallback any more: the refusal says what to do, and each of that helps."""
    hashed.run("ALTER TABLE api.user_api_key ALTER key_id SET NOT NULL")
    daemon = start(options(OLD, fallback=False), wait=False)
    daemon.write_config()
    create = ["keys", "create", "--user", str(hashed.user_id), "--name", "new"]
    refused = ctl(daemon, hashed, *create)
    assert refused.returncode == 1, refused.stderr
    for part in ('null value in column "key_id"', "ALTER TABLE api.user_api_key ALTER COLUMN key_id DROP NOT NULL",
                 "name it in postgres.key_column_fallback"):
        assert part in refused.stderr, refused.stderr
    made = ctl(daemon, hashed, *create, env={"APIKEYD_POSTGRES_KEY_COLUMN_FALLBACK": "key_id"})
    assert made.returncode == 0 and "The table holds the key itself too" in made.stderr
    hashed.run("ALTER TABLE api.user_api_key ALTER COLUMN key_id DROP NOT NULL")
    made = ctl(daemon, hashed, *create, "--json")
    key = json.loads(made.stdout)["key_id"]
    assert hashed.run("SELECT key_id FROM api.user_api_key WHERE key_id_hash = %s", hash_of(key)) == [(None,)]


def test_a_key_found_twice(hashed, start, options):
    """By a row with its hash and by one with the key itself: all rows must be active."""
    hashed.add_key(None, key_id_hash=hash_of("twice"), created_at="2020-01-01")
    oldest = hashed.add_key("mixed", created_at="2020-01-01")
    other = hashed.add_key(None, key_id_hash=hash_of("mixed", NEW))
    hashed.add_key("twice", active=False)
    daemon = start(options(OLD, NEW))
    assert check(daemon.client(), "twice") == ["DENY", "inactive"]
    assert check(daemon.client(), "mixed")[:2] == ["ALLOW", str(oldest)]
    assert info(daemon)["duplicate_key_ids"] == 2
    hashed.run("UPDATE api.user_api_key SET is_active = false WHERE api_key_id = %s", other)
    wait_until(lambda: check(daemon.client(), "mixed") == ["DENY", "inactive"], "the other row")


def test_a_change_counts_by_whichever_digest_announces_it(hashed, start, options):
    """Memory holds a verdict by the first digest; rows are announced by what they hold."""
    holds = {"raw": ("raw", None), "old": (None, hash_of("old")), "new": (None, hash_of("new", NEW)),
             "both": ("both", hash_of("both"))}
    for key, (raw, stored) in holds.items():
        hashed.add_key(raw, key_id_hash=stored)
    daemon = start({**options(NEW, OLD), "cache.ttl": "1h", "cache.negative_ttl": "1h", "cache.ttl_unlinked": "1h"})
    client = daemon.client()
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the triggers of both columns to count")
    for key in holds:
        assert check(client, key)[0] == check(client, key)[0] == "ALLOW"
        assert check(client, f"later {key}") == check(client, f"later {key}") == ["DENY", "unknown"]
    selects = info(daemon)["postgres_keys_read"]
    assert check(client, "raw")[0] == "ALLOW" and info(daemon)["postgres_keys_read"] == selects
    hashed.run("UPDATE api.user_api_key SET is_active = false")
    for key, stored in (("raw", None), ("old", hash_of("later old")), ("new", hash_of("later new", NEW)),
                        ("both", hash_of("later both"))):
        hashed.add_key(None if key in ("old", "new") else f"later {key}", key_id_hash=stored)
    for key in holds:
        wait_until(lambda k=key: check(client, k) == ["DENY", "inactive"], f"{key} to be revoked")
        wait_until(lambda k=key: check(client, f"later {k}")[0] == "ALLOW", f"{key} to be created")
    # A pipeline is looked up ahead of its turn.
    hashed.run("UPDATE api.user_api_key SET is_active = true")

    def pipeline():
        with client.pipeline(transaction=False) as commands:
            for key in holds:
                commands.execute_command("CHECK", key)
            return [answer[0] for answer in commands.execute()]
    wait_until(lambda: pipeline() == ["ALLOW"] * 4, "the pipeline's keys")
    # The operator names the key, whatever the table holds.
    hashed.silence()
    hashed.run("UPDATE api.user_api_key SET is_active = false")
    for key in holds:
        assert daemon.admin_client().execute_command("INVALIDATE", key) == "OK"
        assert check(client, key) == ["DENY", "inactive"]


def test_a_text_that_the_database_cannot_hold(postgres, start, options):
    """The key itself cannot stand in the fallback column, but its hash is found."""
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
        admin.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING win1252 LOCALE 'C'")
    with psycopg.connect(postgres.dsn("latin"), autocommit=True) as db:
        db.execute("CREATE SCHEMA api")
        db.execute("CREATE TABLE api.user_api_key (api_key_id text DEFAULT gen_random_uuid(), user_id text, is_active bool, "
                   "key_id text, key_id_hash text, created_at timestamptz, last_used timestamptz, updated_at timestamptz)")
        db.execute("GRANT USAGE ON SCHEMA api TO apikeyd")
        db.execute("GRANT SELECT, UPDATE ON api.user_api_key TO apikeyd")
        for user, key, stored in (("x", None, hash_of("½ №")), ("x", "é", None), ("\x81", None, hash_of("ü")), ("\x81", "ö", None)):
            db.execute("INSERT INTO api.user_api_key (user_id, is_active, key_id, key_id_hash) "
                       "VALUES (convert_from(%s, 'win1252'), true, %s, %s)", [user.encode("latin1"), key, stored])
    daemon = start({**options(OLD), "postgres.dsn": postgres.dsn("latin", "apikeyd"), "postgres.id_type": "text"})
    assert check(daemon.client(), "½ №")[0] == check(daemon.client(), "é")[0] == "ALLOW"
    assert check(daemon.client(), "№ №") == ["DENY", "unknown"]
    # Rows that PostgreSQL cannot send, as a byte of them is no character: they are there.
    for key in ("ü", "ö"):
        with pytest.raises(Exception, match="UNAVAILABLE postgres error"):
            check(daemon.client(), key)
    assert check(daemon.client(), "é")[0] == "ALLOW"
    daemon.stop()
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
        admin.execute("DROP DATABASE latin WITH (FORCE)")


def test_secrets_and_columns_change_while_it_runs(hashed, start, options):
    hashed.add_key(None, key_id_hash=hash_of("old"))
    hashed.add_key(None, key_id_hash=hash_of("new", NEW))
    hashed.add_key("raw")
    daemon = start({"cache.ttl": "1h", "cache.negative_ttl": "1h"})
    client = daemon.client()
    held = {}

    def allowed():
        held.update({key: check(client, key)[0] == "ALLOW" for key in ("raw", "old", "new")})
        return {key for key in held if held[key]}
    assert allowed() == {"raw"}
    for secrets, fallback, expected in (((OLD,), True, {"raw", "old"}), ((OLD, NEW), True, {"raw", "old", "new"}),
                                        ((NEW, OLD), False, {"old", "new"}), ((NEW,), False, {"new"})):
        reload(daemon, options(*secrets, fallback=fallback))
        assert allowed() == allowed() == expected
    # A reload that changes nothing forgets nothing.
    wait_until(daemon.settled, "the triggers to be inspected")
    allowed()
    asked = info(daemon)["postgres_keys_read"]
    reload(daemon, {})
    assert allowed() == {"new"} and info(daemon)["postgres_keys_read"] == asked
    # The file changes, and its name does not.
    path = daemon.options["postgres.key_transform_secret_file"]
    with open(path, "w", encoding="utf-8") as file:
        file.write(OLD)
    reload(daemon, {})
    assert allowed() == {"old"}
    # A file that says nothing changes nothing.
    with open(path, "w", encoding="utf-8"):
        pass
    with pytest.raises(Exception, match="nothing changed.*key_transform_secret_file.*a secret of 1 to"):
        daemon.admin_client().execute_command("RELOAD")
    assert allowed() == {"old"}


def test_a_stored_hash_that_is_asked_for_during_the_switch(hashed, postgres, start, options):
    """As a key it has the digest that its key has from then on: its lookup must not answer for that."""
    row = str(hashed.add_key(None, key_id_hash=hash_of("key")))
    daemon = start({"cache.ttl": "1h", "cache.negative_ttl": "1h"})
    with Wire(daemon.check) as asks_hash, Wire(daemon.check) as asks_key:
        postgres.pause()
        try:
            asks_hash.send(command("CHECK", hash_of("key")))
            wait_until(lambda: info(daemon)["lookups_pending"] == 1, "the lookup")
            reload(daemon, options(OLD, fallback=False))
            asks_key.send(command("CHECK", "key"))
            wait_until(lambda: info(daemon)["lookups_pending"] == 2, "another lookup")
        finally:
            postgres.resume()
        assert asks_key.reply() == [b"ALLOW", row.encode(), str(hashed.user_id).encode()]
        assert asks_hash.reply() == [b"DENY", b"unknown"]
    assert check(daemon.client(), "key")[0] == "ALLOW"
    assert check(daemon.client(), hash_of("key")) == ["DENY", "unknown"]


def test_sidecars_in_different_steps_share_no_verdict(hashed, start, options):
    """By Redis one would tell the other what only itself can find."""
    hashed.add_key("raw")
    hashed.add_key(None, key_id_hash=hash_of("old"))
    hashed.add_key(None, key_id_hash=hash_of("new", NEW))
    steps = {(OLD, NEW, True): {"raw", "old", "new"}, (OLD, NEW, False): {"old", "new"}, (OLD, True): {"raw", "old"},
             (OLD, False): {"old"}}
    daemons = {step: start(options(*step[:-1], fallback=step[-1])) for step in steps}
    other = start(options(OLD, NEW))
    deaf = start({**options(OLD, NEW), "postgres.listen_dsn": "host=/nonexistent", "cache.ttl_unlinked": "1h"},
                 settled=False)
    let_redis_be_fresh()
    for step, daemon in daemons.items():
        allowed = {key for key in ("raw", "old", "new") if check(daemon.client(), key)[0] == "ALLOW"}
        assert allowed == steps[step], step
        wait_until(lambda d=daemon, n=len(allowed): info(d)["redis_fills"] == n, "Redis to be filled")
    # Those in one step share them, and a tombstone by whichever digest: one hears of no change itself.
    assert explain(other, "raw")["redis"] == "fresh"
    first = daemons[OLD, NEW, True].client()
    hashed.set_active("raw", False)
    wait_until(lambda: check(first, "raw") == ["DENY", "inactive"], "the change")
    assert check(deaf.client(), "raw") == ["DENY", "inactive"]


def test_the_fallback_column_is_dropped_too_early(hashed, start, options):
    """Nothing can be told of a key then. It is a matter of a reload."""
    hashed.add_key("both", key_id_hash=hash_of("both"))
    daemon = start({**options(OLD), "cache.ttl": "100ms", "cache.stale_max": "0s"})
    assert check(daemon.client(), "both")[0] == "ALLOW"
    announce(hashed, "key_id_hash")
    hashed.run("ALTER TABLE api.user_api_key DROP COLUMN key_id")

    def answer():
        try:
            return check(daemon.client(), "both")[0]
        except Exception as error:  # noqa: BLE001
            return str(error)
    wait_until(lambda: "UNAVAILABLE" in answer(), "the column to be missed")
    assert ".key_id does not exist" in daemon.log()
    reload(daemon, options(OLD, fallback=False))
    wait_until(lambda: answer() == "ALLOW", "the daemon to do without the column")


class Application:
    """Keys that come, go and change, stored as the present step of the migration has it."""

    def __init__(self, db, names, rng):
        self.db, self.rng, self.judge = db.connect(), rng, None
        self.user = db.user_id
        self.rows = {}
        self.raw, self.secret = True, None  # what a new row holds: the key itself, its hash by this secret
        self.lock = threading.Lock()
        self.stopping = False
        self.names_ = names
        self.changes = 0
        for name in names:
            self.create(name)
        # Stored hashes, sent as keys.
        self.stolen = [hash_of(name, secret) for name in names[:4] for secret in (OLD, NEW)]

    def names(self):
        return [*self.names_, *self.stolen]

    def answer(self, name):
        if name not in self.rows:
            return UNKNOWN
        row, active = self.rows[name]
        return ("ALLOW", str(row), str(self.user)) if active else INACTIVE

    def answers(self):
        return {name: self.answer(name) for name in self.names()}

    @contextlib.contextmanager
    def changing(self, name):
        if self.judge:
            self.judge.histories[name].change(time.monotonic(), self.answer(name))
        yield
        if self.judge:
            self.judge.histories[name].changed(time.monotonic())

    def create(self, name):
        self.rows[name] = (uuid.uuid4(), True)
        columns = {"api_key_id": self.rows[name][0], "user_id": self.user, "key_name": "walk", "is_active": True}
        if self.raw:
            columns["key_id"] = name
        if self.secret:
            columns["key_id_hash"] = hash_of(name, self.secret)
        with self.changing(name):
            self.db.execute(f"INSERT INTO api.user_api_key ({', '.join(columns)}) "
                            f"VALUES ({', '.join(['%s'] * len(columns))})", [*columns.values()])

    def toggle(self, name):
        row, active = self.rows[name]
        self.rows[name] = (row, not active)
        with self.changing(name):
            self.db.execute("UPDATE api.user_api_key SET is_active = %s WHERE api_key_id = %s", [not active, row])

    def delete(self, name):
        row, _ = self.rows.pop(name)
        with self.changing(name):
            self.db.execute("DELETE FROM api.user_api_key WHERE api_key_id = %s", [row])

    def write(self, raw, secret):
        with self.lock:
            self.raw, self.secret = raw, secret

    def rewrite(self, old=None, new=OLD):
        """The backfill: each key that is stored by `old` (None: only as itself) is hashed by `new`."""
        for name in self.names_:
            with self.lock:
                if name in self.rows:
                    self.db.execute("UPDATE api.user_api_key SET key_id_hash = %s WHERE api_key_id = %s AND "
                                    "key_id_hash IS NOT DISTINCT FROM %s",
                                    [hash_of(name, new), self.rows[name][0], old and hash_of(name, old)])

    def run(self):
        while not self.stopping:
            name = self.rng.choice(self.names_)
            with self.lock:
                act = self.rng.choice([self.toggle] * 4 + [self.delete]) if name in self.rows else self.create
                act(name)
                self.changes += 1
            time.sleep(0.004)

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()
        self.db.close()


def test_the_walk(db, start, options):
    """The guide's steps, in its order, on a table that changes all the time, by two daemons that share a Redis and take
    each step one after the other. No answer is wrong, by the bound that INFO states, and that is notification in each
    step: triggers of the step before or after announce enough."""
    app = Application(db, [f"key-{i}" for i in range(24)], random.Random(1))
    common = {"cache.ttl": "1s", "cache.negative_ttl": "1s", "cache.ttl_unlinked": "1s"}
    daemons = [start(common), start(common)]
    with contextlib.ExitStack() as stack:
        judge = app.judge = stack.enter_context(BoundJudge(app.answers(), daemons))
        loads = [stack.enter_context(Load(daemon, app, judge, clients=2)) for daemon in daemons]
        stack.enter_context(app)

        def let_run(changes=25):
            """Each key is asked for and changed meanwhile, under triggers that count."""
            until, judged = app.changes + changes, judge.judged + 200
            for daemon, load in zip(daemons, loads):
                load.wait(lambda d=daemon: judge.texts(d)[-1:] == ["notification"], "the triggers to count")
                load.wait(lambda: app.changes >= until and judge.judged >= judged, "changes and answers")

        def reconfigure(new):
            for daemon in daemons:
                reload(daemon, new)
                let_run(10)

        def each_finds(counter, keep=lambda: None):
            """Not at once: a daemon finds in Redis what the other one has looked up, until that has expired."""
            for daemon, load in zip(daemons, loads):
                load.wait(lambda d=daemon: keep() or info(d)[counter] > 0, f"{counter} of each daemon")

        def without_hash():
            """Some rows. The application gives them hashes again, one by one."""
            with app.lock:
                db.run("UPDATE api.user_api_key SET key_id_hash = NULL WHERE key_id < 'key-2'")

        let_run()
        db.run("ALTER TABLE api.user_api_key ADD COLUMN key_id_hash text")                   # 1
        let_run()
        app.write(raw=True, secret=OLD)                                                      # 2: dual write
        let_run()
        app.rewrite()                                                                        # 3: backfill, of some rows only
        without_hash()
        db.run("CREATE UNIQUE INDEX CONCURRENTLY ON api.user_api_key (key_id_hash)")
        announce(db, "key_id_hash", "key_id")                                                # 4: the schema, …
        let_run()
        reconfigure(options(OLD))                                                            # … then the daemons
        each_finds("found_by_fallback", keep=without_hash)
        app.rewrite()
        db.run("ALTER TABLE api.user_api_key ALTER COLUMN key_id DROP NOT NULL")             # 5: no raw keys any more
        app.write(raw=False, secret=OLD)
        let_run()
        db.run("ALTER TABLE api.user_api_key ALTER COLUMN key_id_hash SET NOT NULL")
        reconfigure(options(OLD, fallback=False))                                            # 6: the daemons, …
        announce(db, "key_id_hash")                                                          # … then the schema
        let_run()
        db.run("ALTER TABLE api.user_api_key DROP COLUMN key_id")                            # 7
        let_run()
        reconfigure(options(NEW, OLD, fallback=False))                                       # another pepper
        each_finds("found_by_older_secret")
        app.write(raw=False, secret=NEW)
        let_run()
        app.rewrite(old=OLD, new=NEW)
        reconfigure(options(NEW, fallback=False))
        let_run()
    assert not judge.wrong, "\n".join(judge.wrong[:3])
    assert judge.judged > 1000
    for daemon in daemons:
        assert check(daemon.client(), app.stolen[0]) == ["DENY", "unknown"]


@about_sql
def test_triggers_for_more_columns_count_while_these_are_there(hashed, start, options):
    """They announce all that is needed. A column of theirs that is gone makes each change one of all keys: then it is told."""
    quick = {"redis.url": "", "cache.ttl_unlinked": "1s"}  # with its heartbeats
    daemon, plain = start({**options(OLD, fallback=False), **quick}), start(quick)
    assert info(daemon)["revocation_bound"] == info(plain)["revocation_bound"] == "notification"
    hashed.run("ALTER TABLE api.user_api_key RENAME key_name TO label")  # nobody's
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the inspection")
    hashed.run("ALTER TABLE api.user_api_key DROP key_id")
    wait_until(lambda: info(daemon)["revocation_bound"] == TTL_ONLY, "it to be told")
    assert "of another version or configuration" in daemon.log()
    # One that compares too little does not count, whatever the columns are that it announces.
    hashed.run("ALTER TABLE api.user_api_key ADD key_id text")
    announce(hashed, "key_id_hash", "key_id")
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the triggers")
    body, name = hashed.run("SELECT prosrc, proname FROM pg_proc JOIN pg_trigger ON tgname = 'apikeyd_notify_update' JOIN "
                            "pg_depend ON objid = pg_trigger.oid AND refobjid = pg_proc.oid WHERE prosrc LIKE 'SELECT ROW%'")[0]
    for wrong in (body.replace(', $1."is_active"', "").replace(', $2."is_active"', ""), body.replace('$2."is_active"', '$1."is_active"')):
        assert wrong != body
        for text, bound in ((wrong, TTL_ONLY), (body, "notification")):
            hashed.run(f"CREATE OR REPLACE FUNCTION apikeyd.{name}(anyelement, anyelement) RETURNS boolean LANGUAGE sql "
                       f"IMMUTABLE AS $f${text}$f$")
            wait_until(lambda b=bound: info(daemon)["revocation_bound"] == b, f"the bound to be {bound}")
