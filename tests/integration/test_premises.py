"""What other roles and the table's owner can do to it: each is impossible, or bounded and told."""

import os
import re
import subprocess
import threading
import time

import psycopg
import pytest
import redis
from coherence import LONG, TABLE, TTL_ONLY, Ear, becomes, cut, deaf_role, digest
from conftest import check, flush, info, known
from harness.servers import BUILD, wait_until
from harness.proxy import Proxy
from wire import Wire

pytestmark = pytest.mark.builds("release", "debug", "asan")
about_sql = pytest.mark.builds("release")

ALLOWED, INACTIVE, UNKNOWN = "ALLOW", ["DENY", "inactive"], ["DENY", "unknown"]
WAITING = "cache.ttl: transactions that were open when the triggers changed may still commit"


@pytest.fixture
def mallory(db):
    """A role that owns nothing and may create in schema public, as in clusters from before
    PostgreSQL 15."""
    name = f"mallory_{db.name}"
    db.run(f"CREATE ROLE {name} LOGIN")
    db.run("GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC")
    yield name
    db.run(f"DROP OWNED BY {name} CASCADE")
    db.run(f"DROP ROLE {name}")


def statements(db, start):
    """What the daemon and apikeyctl send, from a run that makes them do everything."""
    db.reset_statements()
    db.add_key("watched")
    daemon = start({"usage.flush_interval": "100ms"})
    assert check(daemon.client(), "watched")[0] == ALLOWED
    flush(daemon)
    beats = info(daemon)["feed_heartbeats"]
    wait_until(lambda: info(daemon)["feed_heartbeats"] > beats + 1, "heartbeats")
    found = db.run("SELECT query FROM pg_stat_statements AS s JOIN pg_roles AS r ON r.oid = s.userid "
                   "WHERE r.rolname = 'apikeyd' AND dbid = (SELECT oid FROM pg_database "
                   "WHERE datname = current_database())")
    return daemon, [query for query, in found]


def overloads(db, texts):
    """SQL that makes, in schema public, a twin of every function and operator of pg_catalog whose
    name stands in the statements (aggregates aside). A twin tells who called it."""
    words = sorted({word for text in texts for word in re.findall(r"[a-z_][a-z0-9_]*", text)})
    made = db.run("""
        SELECT format('CREATE FUNCTION public.%%I(%%s) RETURNS %%s LANGUAGE plpgsql AS '
                      '$f$ BEGIN PERFORM public.called(%%L); RETURN%%s; END $f$',
                      p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
                      p.oid::regprocedure,
                      CASE WHEN p.proretset OR p.proallargtypes IS NOT NULL THEN '' ELSE ' NULL' END)
        FROM pg_proc AS p
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
            AND p.proname = ANY (%s)
            AND p.prorettype <> ALL ('{internal,cstring,trigger,event_trigger}'::regtype[])
            AND 'internal'::regtype <> ALL (p.proargtypes) AND 'cstring'::regtype <> ALL (p.proargtypes)
            AND '"any"'::regtype <> ALL (p.proargtypes)""", words)
    operators = db.run("""
        SELECT format('CREATE FUNCTION public.%I(%s, %s) RETURNS %s LANGUAGE plpgsql AS '
                      '$f$ BEGIN PERFORM public.called(%L); RETURN NULL; END $f$; '
                      'CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.%I)',
                      'op' || o.oid, o.oprleft::regtype, o.oprright::regtype, o.oprresult::regtype,
                      o.oid::regoperator, o.oprname, o.oprleft::regtype, o.oprright::regtype,
                      'op' || o.oid)
        FROM pg_operator AS o
        WHERE o.oprname = ANY ('{=,<>,<,>,>=,-,||,&}') AND o.oprkind = 'b'
            AND o.oprleft = ANY (TYPES::regtype[]) AND o.oprright = ANY (TYPES::regtype[])
        """.replace("TYPES", "'{text,name,oid,uuid,timestamptz,timestamp,interval,int2,int4,int8,"
                                 "float8,bytea,bool,\"char\",xid8}'"))
    # Of functions that take anything, twins with the very types that are given.
    given = ("text, oid, xid", "text, int2, xid", "text, oid, oid, xid", "text, oid, xid, oid, xid, xid",
             "text, oid, xid, oid, xid, xid, text", "text, text, text, text, text, text")
    variadic = [f"CREATE FUNCTION public.{name}({types}) RETURNS text LANGUAGE plpgsql AS "
                f"$f$ BEGIN PERFORM public.called('{name}'); RETURN 'always the same'; END $f$"
                for name in ("concat", "concat_ws") for types in given]
    return [sql for sql, in made] + variadic, [sql for sql, in operators]


# What apikeyctl calls besides.
OF_APIKEYCTL = """array_to_string clock_timestamp concat convert_to date_part encode extract has_column_privilege json_build_object
    jsonb_each_text left make_interval now quote_ident set_config sha256 string_to_array timezone to_char to_jsonb to_timestamp
    unnest"""


def ask_all(db, key):
    """What people ask of apikeyctl, as the owner, in a session that looks in public first."""
    options = {"APIKEYD_POSTGRES_EXPIRES_COLUMN": "expires_at", "APIKEYD_POSTGRES_SUCCESSOR_OF_COLUMN": "successor_of"}
    path = "-c search_path=public,pg_catalog"
    for arguments in (("keys", "rotate", key, "--overlap", "1h"), ("keys", "show", key), ("keys", "report", "--expiring", "1d"),
                      ("keys", "report", "--idle", "1d"), ("keys", "list"), ("schema", "check", "--role", "apikeyd")):
        done = subprocess.run([str(BUILD / "apikeyctl"), *arguments, "--config", "/dev/null"], capture_output=True, text=True,
                              check=False, env={**os.environ, **options, "APIKEYCTL_DSN": f"{db.admin_dsn} options='{path}'"})
        # (The role may not read the new columns; the triggers do not announce them.)
        assert done.returncode == (arguments[0] == "schema") and "advice" not in done.stdout, (done.stdout, done.stderr)


@about_sql
@pytest.mark.slow
def test_overloads_of_another_role_are_not_called(db, start, mallory):
    """Twins of all that is called, first in everybody's path: nothing calls them, all goes on."""
    db.run(f"ALTER TABLE {TABLE} ADD expires_at timestamp, ADD successor_of uuid")
    daemon, texts = statements(db, start)
    assert len(texts) >= 5, texts
    with psycopg.connect(db.server.dsn(db.name, mallory), autocommit=True,
                         options="-c search_path=pg_catalog") as evil:
        evil.execute("CREATE TABLE public.loot (who text, what text)")
        evil.execute("GRANT ALL ON public.loot TO PUBLIC")
        evil.execute("CREATE FUNCTION public.called(text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN "
                     "INSERT INTO public.loot VALUES (session_user, $1); END $$")
        functions, operators = overloads(db, [*texts, OF_APIKEYCTL])
        assert len(functions) > 30 and len(operators) > 50
        for sql in functions + operators:
            evil.execute(sql)
        # The test bites: an unqualified call reaches a twin.
        evil.execute("SET search_path = public, pg_catalog")
        evil.execute("SELECT pg_is_in_recovery(), 1 = 1")
        assert evil.execute("SELECT count(*) FROM public.loot").fetchone()[0] == 2
        evil.execute("TRUNCATE public.loot")
    db.run(f"ALTER ROLE apikeyd IN DATABASE \"{db.name}\" SET search_path = public, pg_catalog")
    daemon.stop()
    daemon = start({**LONG, "usage.flush_interval": "100ms"})
    client = daemon.client()
    db.add_key("good")
    becomes(client, "good", ALLOWED)
    flush(daemon)
    wait_until(lambda: db.last_used("good") is not None, "usage")
    with psycopg.connect(db.admin_dsn, autocommit=True,
                         options="-c search_path=public,pg_catalog") as owner:
        owner.execute(f"UPDATE {TABLE} SET is_active = false")
    becomes(client, "good", INACTIVE)
    beats = info(daemon)["feed_heartbeats"]
    wait_until(lambda: info(daemon)["feed_heartbeats"] > beats + 1, "heartbeats")
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the bound")
    ask_all(db, str(db.add_key("rotated")))
    assert db.run("SELECT DISTINCT who, what FROM public.loot") == []


def test_a_flood_of_made_up_notifications_is_bounded(db, redis_server, start, mallory):
    """Digests of nobody, and * in a loop: one change of everything a second, no more, and a real
    change among them is enforced."""
    db.add_key("good")
    db.add_key("revoked")
    daemon = start(LONG)
    client = daemon.client()
    for key in ("good", "revoked"):
        assert check(client, key)[0] == ALLOWED
    stop = threading.Event()

    def flood():
        with psycopg.connect(db.server.dsn(db.name, mallory), autocommit=True) as evil:
            while not stop.is_set():
                evil.execute("SELECT count(pg_notify('apikeyd_key', md5(random()::text))) "
                             "FROM generate_series(1, 5000)")
                evil.execute("SELECT pg_notify('apikeyd_key', '*')")
    thread = threading.Thread(target=flood)
    losses = info(daemon)["feed_losses"]
    begin = time.monotonic()
    thread.start()
    try:
        wait_until(lambda: info(daemon)["feed_notifications"] > 100000, "the flood")
        assert check(client, "good")[0] == ALLOWED
        db.set_active("revoked", False)
        becomes(client, "revoked", INACTIVE)
    finally:
        stop.set()
        thread.join()
    seconds = time.monotonic() - begin
    counts = info(daemon)
    assert counts["feed_losses"] == losses and counts["redis_breaker_opened"] == 0
    # Taken one by one: 2,000 a second at most, and a change of everything a second.
    assert counts["invalidations"] <= 2001 * (seconds + 2)
    assert counts["feed_notifications_coalesced"] > 50000
    assert daemon.log().count("come faster than keys change") == 1


@pytest.mark.slow
def test_a_full_queue_prevents_no_revocation(db, start):
    """The trigger takes the queue for full: the change is found by the next heartbeat. (A real one
    takes 4 GB: ./dev chaos.)"""
    body = db.one("SELECT pg_get_functiondef('apikeyd.note_unannounced_change'::regproc)")
    db.run(body.replace("pg_notification_queue_usage() <= 0.5", "pg_notification_queue_usage() < 0"))
    db.add_key("good")
    db.add_key("other")
    daemon = start(LONG)
    client = daemon.client()
    assert check(client, "good")[0] == ALLOWED
    with Ear(db) as ear:
        db.set_active("good", False)
        assert ear.heard() == []
    becomes(client, "good", INACTIVE)
    counts = info(daemon)
    assert counts["feed_changes_unannounced"] == 1 and counts["feed_notifications"] == 0
    # Many in one transaction are one row; a change that is rolled back is none.
    rows = db.one("SELECT count(*) FROM apikeyd.unannounced_change")
    with db.connect(autocommit=False) as other:
        for _ in range(5):
            other.execute(f"UPDATE {TABLE} SET is_active = NOT is_active WHERE key_id = 'other'")
    assert db.one("SELECT count(*) FROM apikeyd.unannounced_change") == rows + 1
    with db.connect(autocommit=False) as other:
        other.execute(f"UPDATE {TABLE} SET is_active = NOT is_active")
        other.rollback()
    assert db.one("SELECT count(*) FROM apikeyd.unannounced_change") == rows + 1
    # One that began before a heartbeat and commits after it is found by a later one.
    with db.connect(autocommit=False) as other:
        other.execute(f"UPDATE {TABLE} SET is_active = true WHERE key_id = 'good'")
        beats = info(daemon)["feed_heartbeats"]
        wait_until(lambda: info(daemon)["feed_heartbeats"] > beats + 1, "heartbeats")
        assert check(client, "good") == INACTIVE
        other.commit()
    becomes(client, "good", ALLOWED)


CHANGES = "apikeyd.unannounced_change"
BY_HEARTBEAT = "notification: by heartbeat, as PostgreSQL's notification queue is more than half full"
UNREAD = f"cache.ttl: {CHANGES} cannot be read: "


def fill_the_queue(db):
    """For whoever asks how full it is in this database."""
    db.run("CREATE OR REPLACE FUNCTION pg_catalog.pg_notification_queue_usage() RETURNS float8 LANGUAGE sql "
           "AS 'SELECT 0.6::float8'")


def bound(operator):
    return operator.ask("INFO", "server").decode().partition("revocation_bound:")[2].partition("\r\n")[0]


@pytest.fixture
def group(db):
    """A role that the daemon's role is a member of."""
    name = f"group_{db.name}"
    db.run(f"CREATE ROLE {name}; GRANT {name} TO apikeyd")
    yield name
    db.run(f"DROP OWNED BY {name} CASCADE")
    db.run(f"DROP ROLE {name}")


UNREADABLE = {
    "rights by a membership": ("REVOKE {group} FROM apikeyd", "GRANT {group} TO apikeyd"),
    "another owner": (f"ALTER TABLE {CHANGES} OWNER TO {{group}};"
                      "ALTER FUNCTION apikeyd.note_unannounced_change() OWNER TO {group}",
                      f"ALTER TABLE {CHANGES} OWNER TO postgres;"
                      "ALTER FUNCTION apikeyd.note_unannounced_change() OWNER TO postgres;"
                      f"GRANT SELECT ON {CHANGES} TO {{group}}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", UNREADABLE)
def test_a_table_of_changes_that_cannot_be_read_is_told(db, start, group, way):
    """What could not be notified is not found then, so "notification" is no bound; the feed stays."""
    away, back = (sql.format(group=group) for sql in UNREADABLE[way])
    db.run(f"GRANT SELECT ON {CHANGES} TO {group}; REVOKE SELECT ON {CHANGES} FROM PUBLIC")
    db.add_key("good")
    fill_the_queue(db)
    daemon = start(LONG)
    wait_until(lambda: info(daemon)["revocation_bound"] == BY_HEARTBEAT, "the bound")
    assert check(daemon.client(), "good")[0] == ALLOWED
    losses = info(daemon)["feed_losses"]
    db.run(away)
    wait_until(lambda: info(daemon)["revocation_bound"] == UNREAD + "it is missing, or its owner or rights are wrong",
               "it to be told")
    assert info(daemon)["feed_trigger"] == 0 and UNREAD in daemon.log()
    db.run(f"UPDATE {TABLE} SET is_active = false")
    db.run(back)
    wait_until(lambda: info(daemon)["revocation_bound"] == BY_HEARTBEAT, "it to be read again")
    assert check(daemon.client(), "good") == INACTIVE
    assert info(daemon)["feed_losses"] == losses


@pytest.mark.slow
def test_a_table_of_changes_that_is_locked_is_told(db, start):
    """The feed does not wait for it, and what is noted there meanwhile is found when the lock is gone."""
    db.add_key("good")
    fill_the_queue(db)
    daemon = start(LONG)
    client = daemon.client()
    assert check(client, "good")[0] == ALLOWED
    losses = info(daemon)["feed_losses"]
    with db.connect(autocommit=False) as lock:
        lock.execute(f"LOCK TABLE {CHANGES} IN ACCESS EXCLUSIVE MODE")
        wait_until(lambda: info(daemon)["revocation_bound"] == UNREAD + "it is locked", "it to be told")
        beats = info(daemon)["feed_heartbeats"]
        wait_until(lambda: info(daemon)["feed_heartbeats"] > beats + 3, "heartbeats meanwhile")
        lock.execute(f"UPDATE {TABLE} SET is_active = false")
        assert check(client, "good")[0] == ALLOWED
        lock.commit()
    becomes(client, "good", INACTIVE)
    assert info(daemon)["feed_losses"] == losses and info(daemon)["feed_notifications"] == 0


def test_a_table_of_changes_that_was_never_read_is_told(db, start):
    """It is locked when the feed comes up: "notification" is not stated before a heartbeat has read it."""
    with db.connect(autocommit=False) as lock:
        lock.execute(f"LOCK TABLE {CHANGES} IN ACCESS EXCLUSIVE MODE")
        daemon, seen = start({**LONG, "cache.stale_max": "0s"}, settled=False), []
        with Wire(daemon.admin) as operator:
            def told():
                seen.append(bound(operator))
                return seen[-1] == UNREAD + "it is locked"
            wait_until(told, "it to be told")
            assert "notification" not in seen
            lock.rollback()
            wait_until(lambda: bound(operator) == "notification", "it to be read")


@pytest.mark.slow
def test_a_late_heartbeat_is_told(db, scratch, start):
    """The lease still runs, and the session is not given up yet: but what was verified is old."""
    with Proxy(scratch / f"proxy-{db.name}", db.server.folder) as proxy:
        daemon = start({**LONG, "postgres.dsn": db.dsn,
                        "postgres.listen_dsn": f"host={proxy.folder} user=apikeyd dbname={db.name}"})
        wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the feed")
        proxy.hold()
        wait_until(lambda: info(daemon)["revocation_bound"] == "cache.ttl_unlinked: a heartbeat is late", "it to be told")
        proxy.speak()
        wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the next one")


def test_the_queue_is_watched(db, start):
    daemon = start()
    assert info(daemon)["feed_queue_usage_ppm"] < 100000
    assert "feed_queue_usage_ratio" in daemon.admin_client().execute_command("METRICS")


@pytest.mark.parametrize("written", [True, False], ids=["has written", "has only begun"])
def test_a_function_replaced_and_restored_across_an_open_writer(db, start, written):
    """Its change is not notified, and its COMMIT comes when all looks well again."""
    db.add_key("good")
    daemon = start({"cache.ttl": "1h", "cache.ttl_unlinked": "1s"})
    client = daemon.client()
    assert check(client, "good")[0] == ALLOWED
    right = db.one("SELECT pg_get_functiondef('apikeyd.notify_key_change'::regproc)")
    head = right[:right.index("AS $function$")]
    db.run(head + "AS $$ BEGIN RETURN NULL; END $$")
    with db.connect(autocommit=False) as writer, db.connect() as lock:
        lock.execute("SELECT pg_advisory_lock(7)")
        # The session has the other function in its cache, and takes no notice while its statement runs.
        writer.execute(f"UPDATE {TABLE} SET is_active = is_active, key_name = 'warm'")
        writer.execute(f"UPDATE {TABLE} SET user_id = user_id WHERE is_active IS NULL")
        writer.commit()
        thread = threading.Thread(target=writer.execute, args=[
            f"UPDATE {TABLE} SET is_active = false WHERE key_id = 'good' "
            "AND pg_advisory_xact_lock_shared(7) IS NOT NULL"])
        if written:
            lock.execute("SELECT pg_advisory_unlock(7)")
        thread.start()
        wait_until(lambda: db.one("SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock' "
                                  f"AND relation = '{TABLE}'::regclass"), "the statement to begin")
        if written:
            thread.join()
        db.run(right)
        wait_until(lambda: info(daemon)["revocation_bound"] == WAITING, "the wait for it")
        beats = info(daemon)["feed_heartbeats"]
        wait_until(lambda: info(daemon)["feed_heartbeats"] > beats + 1, "heartbeats")
        assert info(daemon)["revocation_bound"] == WAITING
        assert check(client, "good")[0] == ALLOWED
        if not written:
            lock.execute("SELECT pg_advisory_unlock(7)")
            thread.join()
        writer.commit()
    becomes(client, "good", INACTIVE)
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "all to be well")


VIRTUAL = "SELECT virtualtransaction FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'virtualxid'"


def transaction_of(session):
    """Its session's place among all, and its number there."""
    return tuple(map(int, session.execute(VIRTUAL).fetchone()[0].split("/")))


def transaction_numbered(postgres, db, numbers):
    """A session whose open transaction has one of these virtual IDs."""
    last = dict(numbers)
    sessions = [psycopg.connect(postgres.dsn(db.name), autocommit=True) for _ in range(25)]
    session = next(one for one in sessions if transaction_of(one)[0] in last)
    for other in sessions:
        if other is not session:
            other.close()
    while transaction_of(session)[1] < last[transaction_of(session)[0]] - 10:
        pass
    session.autocommit = False
    while transaction_of(session) not in numbers:
        session.rollback()
    return session


@pytest.mark.slow
def test_the_wait_for_writers_begins_again_with_the_feed(db, postgres, start):
    """It goes on when the feed comes back, and a restart of PostgreSQL, which ended them all, ends it: even
    if a transaction of the new run has the number of one of them."""
    deaf_role(db)
    db.add_key("good")
    daemon = start({**LONG, "postgres.listen_dsn": db.server.dsn(db.name, "deaf")})
    right = db.one("SELECT pg_get_functiondef('apikeyd.notify_key_change'::regproc)")
    writers = [db.connect() for _ in range(8)]  # the daemon's sessions have the places of some of them later
    for writer in writers:
        for _ in range(200):
            writer.execute("SELECT 1")
        writer.execute(f"BEGIN; UPDATE {TABLE} SET key_name = 'other' WHERE key_id = 'none'")
    numbers = [transaction_of(writer) for writer in writers]
    db.run(right[:right.index("AS $function$")] + "AS $$ BEGIN RETURN NULL; END $$")
    db.run(right)
    wait_until(lambda: info(daemon)["revocation_bound"] == WAITING, "the wait for it")
    cut(db)
    wait_until(lambda: info(daemon)["feed_up"] == 0, "the feed's end")
    db.run("ALTER ROLE deaf CONNECTION LIMIT -1")
    wait_until(lambda: info(daemon)["revocation_bound"] == WAITING, "the wait to go on")
    cut(db)
    postgres.stop()
    postgres.start()
    with transaction_numbered(postgres, db, numbers):
        db.run("ALTER ROLE deaf CONNECTION LIMIT -1")
        wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the wait's end")


@about_sql
@pytest.mark.slow
@pytest.mark.parametrize("way", [
    "CREATE OR REPLACE TRIGGER apikeyd_notify_update AFTER UPDATE ON {t} FOR EACH ROW "
    "WHEN (OLD.key_name IS DISTINCT FROM NEW.key_name) {f}",
    "CREATE OR REPLACE TRIGGER apikeyd_notify_update AFTER UPDATE OF is_active ON {t} FOR EACH ROW {f}",
    "CREATE OR REPLACE TRIGGER apikeyd_notify_update BEFORE UPDATE ON {t} FOR EACH ROW {f}",
    "CREATE OR REPLACE TRIGGER apikeyd_notify_rows AFTER INSERT OR DELETE ON {t} FOR EACH ROW "
    "EXECUTE FUNCTION apikeyd.notify_key_change('key_name')",
    "ALTER FUNCTION apikeyd.notify_key_change() SET search_path = public",
    "ALTER FUNCTION apikeyd.notify_key_change() SECURITY DEFINER",
    "ALTER FUNCTION apikeyd.note_unannounced_change() SECURITY INVOKER",
    "REVOKE EXECUTE ON FUNCTION apikeyd.note_unannounced_change() FROM PUBLIC",
    "DROP TABLE apikeyd.unannounced_change",
    "REVOKE SELECT ON apikeyd.unannounced_change FROM PUBLIC",
    "ALTER TABLE apikeyd.unannounced_change ENABLE ROW LEVEL SECURITY",
    "SELECT 1; CREATE OR REPLACE FUNCTION apikeyd.lacks_columns(regclass, text[]) RETURNS boolean LANGUAGE plpgsql IMMUTABLE "
    "AS 'BEGIN RETURN false; END'",
    "DO $$ BEGIN EXECUTE format('CREATE OR REPLACE FUNCTION apikeyd.%I(anyelement, anyelement) RETURNS boolean "
    "LANGUAGE sql IMMUTABLE AS $f$SELECT false$f$', (SELECT proname FROM pg_proc "
    "WHERE proname LIKE 'verdict_changes%')); END $$",
], ids=lambda way: way[:60])
def test_triggers_count_only_as_what_they_should_be(db, start, way):
    daemon = start(LONG)
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the bound")
    function = "EXECUTE FUNCTION apikeyd.notify_key_change('key_id')"
    db.run(way.format(t=TABLE, f=function))
    if way.startswith("CREATE OR REPLACE"):
        name = way.split()[4]
        db.run(f"ALTER TABLE {TABLE} ENABLE ALWAYS TRIGGER {name}")
    wait_until(lambda: info(daemon)["revocation_bound"] == TTL_ONLY, "it to be noticed")
    assert info(daemon)["feed_up"] == 1


@about_sql
def test_the_triggers_are_for_the_configured_column(db, start):
    db.run(f"ALTER TABLE {TABLE} ADD COLUMN key_id_hash text")
    db.run(f"GRANT SELECT (key_id_hash) ON {TABLE} TO apikeyd")
    daemon = start({**LONG, "postgres.key_column": "key_id_hash"})
    assert info(daemon)["revocation_bound"] == TTL_ONLY
    assert "does not announce the columns of the configuration (key_id_hash)" in daemon.log()


@about_sql
@pytest.mark.slow
def test_partitions_and_children_are_all_looked_at(db, start):
    """TRUNCATE of a partition, or a trigger of one that is off, is seen."""
    db.run(f"ALTER TABLE {TABLE} RENAME TO plain")
    db.run(f"CREATE TABLE {TABLE} (LIKE api.plain INCLUDING DEFAULTS) PARTITION BY HASH (key_id)")
    for i in (0, 1):
        db.run(f"CREATE TABLE api.part{i} PARTITION OF {TABLE} FOR VALUES WITH (MODULUS 2, REMAINDER {i})")
    db.run(f"GRANT SELECT ON {TABLE} TO apikeyd; GRANT UPDATE (last_used, updated_at) ON {TABLE} TO apikeyd")
    call = "EXECUTE FUNCTION apikeyd.notify_key_change('key_id')"
    db.run(f"CREATE TRIGGER apikeyd_notify_rows AFTER INSERT OR DELETE OR UPDATE ON {TABLE} FOR EACH ROW {call}")
    for table in (TABLE, "api.part0", "api.part1"):
        db.run(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER apikeyd_notify_rows")
    daemon = start(LONG)
    by_heartbeat = "notification: by heartbeat after a TRUNCATE of a partition, which has no trigger for it"
    wait_until(lambda: info(daemon)["revocation_bound"] == by_heartbeat, "the bound")
    for i in (0, 1):
        db.run(f"CREATE TRIGGER apikeyd_notify_truncate AFTER TRUNCATE ON api.part{i} FOR EACH STATEMENT {call}")
        db.run(f"ALTER TABLE api.part{i} ENABLE ALWAYS TRIGGER apikeyd_notify_truncate")
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the partitions' triggers")
    client = daemon.client()
    db.add_keys(20)
    for i in range(20):
        becomes(client, f"key-{i}", ALLOWED)
    db.run("TRUNCATE api.part0, api.part1")
    for i in range(20):
        becomes(client, f"key-{i}", UNKNOWN)
    db.run("ALTER TABLE api.part1 DISABLE TRIGGER apikeyd_notify_rows")
    wait_until(lambda: info(daemon)["revocation_bound"] == TTL_ONLY, "a trigger that is off")
    db.run("ALTER TABLE api.part1 ENABLE ALWAYS TRIGGER apikeyd_notify_rows")
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "it to be back")
    db.run(f"CREATE TABLE api.part2 (LIKE {TABLE})")
    db.run(f"ALTER TABLE {TABLE} DETACH PARTITION api.part1")
    db.run(f"ALTER TABLE {TABLE} ATTACH PARTITION api.part2 FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
    wait_until(lambda: info(daemon)["revocation_bound"] == by_heartbeat, "a new partition")


@about_sql
def test_another_columns_rubbish_fails_no_change(db, start):
    """The trigger reads its column only: a user's own JSON cannot make his key unrevocable."""
    db.run(f"ALTER TABLE {TABLE} ADD COLUMN meta json")
    db.add_key("good")
    daemon = start(LONG)
    client = daemon.client()
    assert check(client, "good")[0] == ALLOWED
    db.run(f"UPDATE {TABLE} SET meta = '{{\"note\": \"\\u0000\"}}'")
    db.set_active("good", False)
    becomes(client, "good", INACTIVE)
    db.run(f"DELETE FROM {TABLE}")
    becomes(client, "good", UNKNOWN)


@about_sql
@pytest.mark.parametrize("trouble", [
    "ALTER TABLE api.user_api_key RENAME key_id TO renamed",
    "ALTER TABLE apikeyd.unannounced_change RENAME TO elsewhere",
    "SET apikeyd.announced = 'rubbish'",
    "SET apikeyd.announced = '2000000000'",
    "SET apikeyd.announced = '-5'",
])
def test_the_trigger_never_fails_a_change_nor_hides_it(db, trouble):
    db.add_key("a")
    with Ear(db) as ear, db.connect() as other:
        other.execute(trouble)
        other.execute(f"UPDATE {TABLE} SET is_active = false")
        heard = ear.heard()
    assert heard in ([digest("a")], ["*"])


@about_sql
@pytest.mark.slow
def test_bulk_changes_are_one_announcement(db, start):
    """Beyond a thousand keys in a transaction, in however many statements."""
    with Ear(db) as ear:
        db.add_keys(1000)
        assert len(ear.heard()) == 1000
        db.add_keys(1001, prefix="more-")
        heard = ear.heard()
        assert len(heard) == 1001 and heard[-1] == "*"
        with db.connect(autocommit=False) as other:
            for i in range(1100):
                other.execute(f"UPDATE {TABLE} SET is_active = false WHERE key_id = %s", [f"key-{i % 1000}"])
                other.execute(f"UPDATE {TABLE} SET is_active = true WHERE key_id = %s", [f"key-{i % 1000}"])
        assert "*" in ear.heard()
    daemon = start(LONG)
    client = daemon.client()
    assert check(client, "key-999")[0] == ALLOWED
    db.run(f"UPDATE {TABLE} SET is_active = false")
    becomes(client, "key-999", INACTIVE)


ABSENT = {
    "row security": (f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY", "row security hides rows"),
    "row security with a policy": (
        f"CREATE POLICY seen ON {TABLE} USING (key_id <> 'good'); "
        f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY", "row security hides rows"),
    "grants lost": (f"REVOKE ALL ON {TABLE} FROM apikeyd", "permission denied"),
    "one column's grant lost": (f"REVOKE SELECT (created_at) ON {TABLE} FROM apikeyd", "permission denied"),
    "the schema's grant lost": ("REVOKE USAGE ON SCHEMA api FROM apikeyd", "permission denied"),
    "a column dropped": (f"ALTER TABLE {TABLE} DROP COLUMN created_at", "does not exist"),
    "a column renamed": (f"ALTER TABLE {TABLE} RENAME key_id TO id", "does not exist"),
    "the table renamed": (f"ALTER TABLE {TABLE} RENAME TO elsewhere", "does not exist"),
    "a view in its place": (
        f"ALTER TABLE {TABLE} RENAME TO hidden; CREATE VIEW {TABLE} AS SELECT * FROM api.hidden "
        f"WHERE false; GRANT SELECT ON {TABLE} TO apikeyd", "is not a table"),
    "a materialized view": (
        f"ALTER TABLE {TABLE} RENAME TO hidden; CREATE MATERIALIZED VIEW {TABLE} AS SELECT * FROM "
        f"api.hidden WHERE false; GRANT SELECT ON {TABLE} TO apikeyd", "is not a table"),
}


@about_sql
@pytest.mark.slow
@pytest.mark.parametrize("way", ABSENT)
def test_absence_is_no_proof(db, start, way):
    """A key that exists and cannot be seen is UNAVAILABLE, and it is said why. Nobody is told that
    the daemon is ready when it is not."""
    hide, why = ABSENT[way]
    db.add_key("good")
    daemon = start({**LONG, "cache.stale_max": "1s", "redis.url": ""})
    client = daemon.client()
    assert check(client, "new") == UNKNOWN
    db.run(hide)
    daemon.admin_client().execute_command("INVALIDATE", "ALL")
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
        check(client, "good")
    wait_until(lambda: why in daemon.log(), "the reason")
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 0, "lookups to count as down")
    with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
        check(client, "good")


def test_a_row_without_a_user_fails_no_other_key(db, start):
    """Its own key is UNAVAILABLE, and it is said why, once."""
    db.add_keys(2)
    db.run(f"ALTER TABLE {TABLE} ALTER user_id DROP NOT NULL; UPDATE {TABLE} SET user_id = NULL WHERE key_id = 'key-0'")
    daemon = start({"redis.url": ""})
    for _ in range(2):
        pipeline = daemon.client().pipeline(transaction=False)
        for key in ("key-0", "key-1", "none"):
            pipeline.execute_command("CHECK", key)
        bad, good, none = pipeline.execute(raise_on_error=False)
        assert isinstance(bad, redis.ResponseError) and "ID or its user's" in str(bad)
        assert good[0] == ALLOWED and none == UNKNOWN
    assert daemon.log().count("ID or its user's") == 1, daemon.log()


def test_a_row_that_has_lost_its_user_is_not_served_stale(db, start):
    """PostgreSQL has answered, so an earlier ALLOW is out of date, though no trigger tells of the change."""
    db.add_keys(2)
    db.run(f"ALTER TABLE {TABLE} ALTER user_id DROP NOT NULL")
    db.silence()
    daemon = start({"cache.ttl": "200ms", "cache.ttl_unlinked": "200ms", "redis.url": ""})
    client, operator = daemon.client(), daemon.admin_client()
    assert check(client, "key-0")[0] == check(client, "key-1")[0] == ALLOWED
    db.run(f"UPDATE {TABLE} SET user_id = NULL")

    def lost():
        try:
            return check(client, "key-0") and False
        except redis.ResponseError as error:
            return "ID or its user's" in str(error)

    wait_until(lost, "the verdict from before to be dropped")
    assert info(daemon)["revocation_bound"].startswith("cache.ttl"), "PostgreSQL answers lookups"
    explained = operator.execute_command("EXPLAIN", "key-1")
    assert explained[explained.index("verdict") + 1] == "UNAVAILABLE", explained


@about_sql
def test_the_owners_type_runs_nothing_as_who_deployed(db, mallory):
    """The key column's type, and its cast to text, are the table owner's choice: they run as whoever
    changes a key, as any trigger of his would."""
    db.add_key("a")
    db.run(f"ALTER TABLE {TABLE} OWNER TO {mallory}")
    db.run(f"GRANT USAGE, CREATE ON SCHEMA api TO {mallory}")
    with psycopg.connect(db.server.dsn(db.name, mallory), autocommit=True) as evil:
        evil.execute("CREATE TABLE public.who (name text)")
        evil.execute("CREATE TYPE public.k AS (a text)")
        evil.execute("CREATE FUNCTION public.f(public.k) RETURNS text LANGUAGE plpgsql AS $$ BEGIN "
                     "INSERT INTO public.who VALUES (current_user); RETURN 'x'; END $$")
        evil.execute("CREATE CAST (public.k AS text) WITH FUNCTION public.f(public.k)")
        evil.execute(f"DROP TRIGGER apikeyd_notify_update ON {TABLE}")
        evil.execute(f"ALTER TABLE {TABLE} ALTER COLUMN key_id TYPE public.k USING ROW(key_id)::public.k")
        evil.execute(f"DELETE FROM {TABLE}")
        assert evil.execute("SELECT DISTINCT name FROM public.who").fetchall() in ([(mallory,)], [])
    db.run(f"ALTER TABLE {TABLE} OWNER TO postgres")


@about_sql
@pytest.mark.slow
def test_a_schema_of_another_role_is_not_read(db, start, mallory):
    """Where the migrations are not deployed, a role that may create makes a table that looks like
    theirs, whose column's type runs its code in whoever reads it."""
    db.run("DROP TABLE apikeyd.unannounced_change CASCADE")
    db.run(f"ALTER SCHEMA apikeyd OWNER TO {mallory}")
    with psycopg.connect(db.server.dsn(db.name, mallory), autocommit=True) as evil:
        evil.execute("CREATE TABLE public.loot (who text)")
        evil.execute("GRANT ALL ON public.loot TO PUBLIC")
        evil.execute("CREATE FUNCTION public.spy(xid8) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN "
                     "INSERT INTO public.loot VALUES (current_user); RETURN true; END $$")
        evil.execute("CREATE TABLE apikeyd.unannounced_change (xid xid8)")
        evil.execute("ALTER TABLE apikeyd.unannounced_change ENABLE ROW LEVEL SECURITY")
        evil.execute("CREATE POLICY spy ON apikeyd.unannounced_change USING (public.spy(xid))")
        evil.execute("INSERT INTO apikeyd.unannounced_change VALUES ('1')")
        evil.execute("GRANT SELECT ON apikeyd.unannounced_change TO PUBLIC")
        daemon = start()
        for security in ("ENABLE", "DISABLE"):
            evil.execute(f"ALTER TABLE apikeyd.unannounced_change {security} ROW LEVEL SECURITY")
            beats = info(daemon)["feed_heartbeats"]
            wait_until(lambda b=beats: info(daemon)["feed_heartbeats"] > b + 2, "heartbeats")
        assert info(daemon)["revocation_bound"] == TTL_ONLY
        assert evil.execute("SELECT count(*) FROM public.loot").fetchone() == (0,)
        reads = db.one("SELECT count(*) FROM pg_stat_statements WHERE query LIKE "
                       "'%%FROM apikeyd.unannounced_change AS x%%' AND dbid = (SELECT oid FROM "
                       "pg_database WHERE datname = current_database())")
        assert reads == 0
    db.run("ALTER SCHEMA apikeyd OWNER TO postgres")


def test_the_bound_is_told_while_lookups_fail(db, start):
    """Sessions are up and statements are refused: what is served stale is bounded by stale_max, and
    INFO says so before the first of it is."""
    db.add_key("good")
    daemon = start({"cache.ttl": "300ms", "cache.ttl_unlinked": "300ms", "cache.stale_max": "1h", "redis.url": ""})
    assert check(daemon.client(), "good")[0] == ALLOWED
    db.silence()
    db.run("REVOKE USAGE ON SCHEMA api FROM apikeyd")
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 0, "lookups to fail")
    assert info(daemon)["revocation_bound"].startswith("cache.stale_max")
    assert info(daemon)["checks_stale"] == 0


@pytest.mark.slow
def test_a_lock_takes_no_feed_and_no_hit_away(db, start):
    """Lookups queue behind it; the feed's session must not, and what memory holds goes on."""
    db.add_keys(20)
    db.add_key("cold")
    daemon = start({**LONG, "postgres.timeout": "300ms", "redis.url": ""})
    client = daemon.client()
    for i in range(20):
        assert known(client, f"key-{i}")[0] == ALLOWED
    losses = info(daemon)["feed_losses"]
    with db.connect(autocommit=False) as lock:
        lock.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        end = time.monotonic() + 5
        while time.monotonic() < end:
            with pytest.raises(redis.ResponseError, match="UNAVAILABLE"):
                check(client, "cold")
            for i in range(20):
                assert check(client, f"key-{i}")[0] == ALLOWED
            time.sleep(0.2)
    assert info(daemon)["feed_losses"] == losses
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 2, "lookups")
    assert known(client, "cold")[0] == ALLOWED


def test_a_lock_puts_the_inspection_off(db, start):
    """It cannot read the triggers of a table that is locked; the feed does without until it can."""
    with db.connect(autocommit=False) as lock:
        lock.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        daemon = start({**LONG, "cache.stale_max": "0s", "redis.url": ""}, settled=False)
        wait_until(lambda: info(daemon)["feed_heartbeats"] > 4, "heartbeats")
        assert info(daemon)["feed_losses"] == 0
        with Wire(daemon.admin) as operator:
            assert bound(operator) == "cache.ttl: the triggers are being inspected"
    wait_until(lambda: info(daemon)["revocation_bound"] == "notification", "the inspection")
