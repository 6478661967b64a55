"""Lookups and the change feed reach different databases: what is heard says nothing about what is read.

Then ttl_unlinked is the bound, and INFO says so; until both agree again."""

import itertools

import psycopg
import pytest
from conftest import drop_database, info
from harness.judged_load import Keys, judged_load
from harness.replication import TABLE, Bouncer
from harness.servers import migrate, wait_until

numbers = itertools.count(1)
OPTIONS = {"cache.ttl": "1h", "cache.negative_ttl": "1h", "cache.ttl_unlinked": "1s", "cache.stale_max": "0s"}
NAMES = [f"key-{i}" for i in range(12)]
UNLINKED = "cache.ttl_unlinked: "


@pytest.fixture(params=["migrated by itself", "copied"])
def other(db, postgres, request):
    """Another database of the same server. In a copy the table has the same OID."""
    name = f"other{next(numbers)}"
    with psycopg.connect(postgres.dsn("postgres"), autocommit=True) as admin:
        if request.param == "copied":
            admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{db.name}"')
        else:
            admin.execute(f'CREATE DATABASE "{name}"')
    if request.param != "copied":
        done = migrate(postgres.uri(name))
        assert done.returncode == 0, done.stdout + done.stderr
    yield name
    drop_database(postgres, name)


@pytest.fixture
def bouncer(scratch):
    pooler = Bouncer(scratch / f"store-bouncer{next(numbers)}")
    yield pooler
    pooler.stop()


def bound(daemon):
    return info(daemon)["revocation_bound"]


def store(postgres, name):
    with psycopg.connect(postgres.dsn(name)) as db:
        return db.execute(f"SELECT format('%s/1/%s/%s', system_identifier, (SELECT oid FROM pg_database WHERE "
                          f"datname = current_database()), '{TABLE}'::regclass::oid) FROM pg_control_system()"
                          ).fetchone()[0]


def test_the_store_is_named(db, postgres, start):
    daemon = start()
    wait_until(lambda: info(daemon).get("store") == store(postgres, db.name), "the store")


def test_the_feed_hears_of_another_database(db, postgres, other, start):
    keys = Keys(db.admin_dsn, NAMES)
    daemon = start({**OPTIONS, "postgres.listen_dsn": postgres.dsn(other, "apikeyd")})
    with judged_load(daemon, keys) as load:
        load.all_known()
        load.revoke("key-1")
        load.wait(lambda: bound(daemon).startswith(UNLINKED), "ttl_unlinked to be stated")
        load.revoke("key-2")
        assert bound(daemon).startswith(UNLINKED)
        keys.set_active("key-1", True)
        load.all_known()
        assert load.judge.stores(daemon) == [store(postgres, other)]


def test_lookups_are_led_to_another_database(db, postgres, other, bouncer, start):
    """And back. PgBouncer does it, while the daemon's sessions with PgBouncer live on."""
    keys = Keys(db.admin_dsn, NAMES)
    copy = Keys(postgres.dsn(other), [])
    with copy.connect() as there:
        there.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [keys.user])
        copy.user, copy.rows = keys.user, dict(keys.rows)
        for name in NAMES:
            copy.insert(there, name)
    bouncer.start(postgres, db.name)
    daemon = start({**OPTIONS, "postgres.dsn": bouncer.dsn(), "postgres.listen_dsn": db.dsn})
    with judged_load(daemon, copy) as load:
        load.all_known()
        wait_until(lambda: bound(daemon) == "notification", "agreement")
        # Both databases say the same until now, so nobody can be wrong.
        bouncer.point_to(postgres, other)
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
        bouncer.point_to(postgres, db.name)
        load.wait(lambda: bound(daemon) == "notification", "agreement")
        load.revoke("key-3")
        load.all_known()
