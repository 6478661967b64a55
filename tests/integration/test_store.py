"""Lookups and the change feed reach different databases: what is heard says nothing about what is read.

Then ttl_unlinked is the bound, and INFO says so; until both agree again."""

import itertools
import time
from typing import NamedTuple

import psycopg
import pytest
from coherence import cut, deaf_role
from conftest import answer, check, drop_database, info, known, let_redis_be_fresh
from harness.judged_load import Keys, judged_load
from harness.replication import DATABASE, STORE, Bouncer, template
from harness.servers import Postgres, migrate, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.needs("faketime", "pgbouncer"), pytest.mark.builds("release")]

numbers = itertools.count(1)
OPTIONS = {"cache.ttl": "1h", "cache.negative_ttl": "1h", "cache.ttl_unlinked": "1s", "cache.stale_max": "0s",
           "postgres.timeout": "500ms"}
NAMES = [f"key-{i}" for i in range(12)]
UNLINKED = "cache.ttl_unlinked: "


class Place(NamedTuple):
    """A database."""

    server: Postgres
    name: str

    def dsn(self, user="postgres"):
        return self.server.dsn(self.name, user)

    def store(self):
        with psycopg.connect(self.dsn()) as db:
            return db.execute(STORE).fetchone()[0]


@pytest.fixture
def here(db, postgres):
    return Place(postgres, db.name)


@pytest.fixture(params=["migrated by itself", "copied", "of another server"])
def other(here, scratch, request):
    """Another database. In a copy the table has the same OID."""
    name = f"other{next(numbers)}"
    if request.param == "of another server":
        server = template(scratch / name)
        server.start()
        yield Place(server, DATABASE)
        server.stop()
        return
    copied = f'TEMPLATE "{here.name}"' if request.param == "copied" else ""
    with psycopg.connect(here.server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" {copied}')
    if not copied:
        done = migrate(here.server.uri(name))
        assert done.returncode == 0, done.stdout + done.stderr
    yield Place(here.server, name)
    drop_database(here.server, name)


@pytest.fixture
def bouncer(scratch):
    pooler = Bouncer(scratch / f"store-bouncer{next(numbers)}")
    yield pooler
    pooler.stop()


def bound(daemon):
    return info(daemon)["revocation_bound"]


def test_the_store_is_named(here, start):
    daemon = start()
    wait_until(lambda: info(daemon).get("store") == here.store(), "the store")


def test_databases_that_share_a_redis_share_no_verdict(here, other, redis_server, start):
    """Same prefix, same keys, and in a copy the same IDs: each daemon answers what its own database says."""
    keys, copy = Keys(here.dsn(), NAMES[:2]), Keys(other.dsn(), [])
    with copy.connect() as there:
        there.execute("INSERT INTO api.\"user\" (user_id) VALUES (%s)", [keys.user])
        copy.user, copy.rows = keys.user, dict(keys.rows)
        copy.insert(there, "key-0")
        there.execute("UPDATE api.user_api_key SET is_active = false")
    daemons = [start({**OPTIONS, "postgres.dsn": place.dsn("apikeyd")}) for place in (here, other)]
    let_redis_be_fresh()
    expected = {"key-0": ("ALLOW", "inactive"), "key-1": ("ALLOW", "unknown")}
    for _ in range(2):
        for key, answers in expected.items():
            for daemon, expected_word in zip(daemons, answers):
                assert expected_word in known(daemon.client(), key)
        for daemon in daemons:
            daemon.admin_client().execute_command("INVALIDATE", "ALL")
    wait_until(lambda: len(set(redis_server.client().scan_iter("apikeyd:1:*"))) == 3, "what both have filled in")


def test_key_columns_that_share_a_redis_share_no_verdict(db, start):
    """Of one table, say a raw and a hashed one: who knows what one column holds has no key by the other."""
    db.add_key("raw", key_name="hash")
    db.run("GRANT SELECT (key_name) ON api.user_api_key TO apikeyd")
    raw, hashed = start(), start({"postgres.key_column": "key_name"}, settled=False)
    wait_until(lambda: info(hashed)["link_up"] and info(hashed)["redis_up"], "the daemon to be connected")
    let_redis_be_fresh()
    assert check(hashed.client(), "hash")[0] == check(raw.client(), "raw")[0] == "ALLOW"
    wait_until(lambda: info(raw)["redis_fills"] == info(hashed)["redis_fills"] == 1, "the fills")
    assert check(raw.client(), "hash") == check(hashed.client(), "raw") == ["DENY", "unknown"]


def test_the_feed_hears_of_another_database(here, other, start):
    keys = Keys(here.dsn(), NAMES)
    daemon = start({**OPTIONS, "postgres.listen_dsn": other.dsn("apikeyd")})
    with judged_load(daemon, keys) as load:
        load.all_known()
        load.revoke("key-1")
        load.wait(lambda: bound(daemon).startswith(UNLINKED), "ttl_unlinked to be stated")
        load.revoke("key-2")
        assert bound(daemon).startswith(UNLINKED)
        keys.set_active("key-1", True)
        load.all_known()
        assert load.judge.stores(daemon) == [other.store()]


def test_lookups_are_led_to_another_database(here, other, bouncer, start):
    """And back. PgBouncer does it, while the daemon's sessions with PgBouncer live on."""
    keys = Keys(here.dsn(), NAMES)
    copy = Keys(other.dsn(), [])
    with copy.connect() as there:
        there.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [keys.user])
        copy.user, copy.rows = keys.user, dict(keys.rows)
        for name in NAMES:
            copy.insert(there, name)
    bouncer.start(*here)
    daemon = start({**OPTIONS, "postgres.dsn": bouncer.dsn(), "postgres.listen_dsn": here.dsn("apikeyd")})
    with judged_load(daemon, copy) as load:
        load.all_known()
        wait_until(lambda: bound(daemon) == "notification", "agreement")
        # Both databases say the same until now, so nobody can be wrong.
        bouncer.point_to(*other)
        daemon.admin_client().execute_command("INVALIDATE", "ALL")
        load.all_known()
        load.revoke("key-1")
        load.wait(lambda: bound(daemon).startswith(UNLINKED), "ttl_unlinked to be stated")
        load.revoke("key-2")
        assert bound(daemon).startswith(UNLINKED)
        copy.set_active("key-1", True)
        copy.set_active("key-2", True)
        load.all_known()
    with judged_load(daemon, keys) as load:
        bouncer.point_to(*here)
        load.wait(lambda: bound(daemon) == "notification", "agreement")
        load.revoke("key-3")
        load.all_known()


@pytest.mark.parametrize("back", [False, True], ids=["still elsewhere", "back here"])
def test_what_was_read_elsewhere_is_not_served_stale(back, db, here, other, bouncer, start):
    """A revocation is heard of, and a later lookup elsewhere does not know of it. When lookups fail
    then, that answer is no stale one either: not now, and not when lookups have led here again."""
    deaf_role(db)
    keys, copy = Keys(here.dsn(), NAMES), Keys(other.dsn(), [])
    with copy.connect() as there:
        there.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [keys.user])
        copy.user, copy.rows = keys.user, dict(keys.rows)
        for name in NAMES:
            copy.insert(there, name)
    bouncer.start(*here)
    daemon = start({**OPTIONS, "cache.stale_max": "1h", "redis.url": "", "postgres.dsn": bouncer.dsn(),
                    "postgres.listen_dsn": here.dsn("deaf")})  # which may not read keys
    client = daemon.client()
    assert known(client, "key-1")[0] == "ALLOW"
    keys.set_active("key-1", False)
    wait_until(lambda: answer(client, "key-1")[0] == "DENY", "the revocation")
    bouncer.point_to(*other)
    daemon.admin_client().execute_command("INVALIDATE", "ALL")
    wait_until(lambda: answer(client, "key-1")[0] == "ALLOW", "the other database to be asked")
    bouncer.stop()

    wait_until(lambda: info(daemon)["postgres_connections_up"] == 0, "lookups to fail")
    if back:
        bouncer.start(*here)
        wait_until(lambda: bound(daemon) == "notification", "agreement")
        bouncer.stop()
        wait_until(lambda: info(daemon)["postgres_connections_up"] == 0, "lookups to fail")
    cut(db)
    wait_until(lambda: info(daemon)["feed_up"] == 0, "the feed to be down")
    time.sleep(1.1)  # ttl_unlinked: only then is the last heartbeat of no account
    wait_until(lambda: answer(client, "key-1")[0] == "UNAVAILABLE" or info(daemon)["checks_stale"],
               "ttl_unlinked to pass")
    assert info(daemon)["checks_stale"] == 0
