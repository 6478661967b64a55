"""Usage is written to the store that it belongs to; what merely cannot be seen is not deleted."""

import psycopg
import pytest
from conftest import check, drop_database, info
from harness.servers import migrate, wait_until
from test_usage import flush

TABLE = "api.user_api_key"


@pytest.fixture
def other(db, postgres):
    """Another migrated database of the same server."""
    name = f"{db.name}_other"
    postgres.create_database(name)
    done = migrate(postgres.uri(name))
    assert done.returncode == 0, done.stdout + done.stderr
    yield name
    drop_database(postgres, name)


def restart(daemon, **options):
    """Killed, so that what is pending stays in its files, and started again."""
    daemon.kill()
    daemon.options.update(options)
    daemon.start()
    wait_until(lambda: info(daemon)["link_up"] and info(daemon)["postgres_connections_up"] == 2,
               "the daemon to be connected")


@pytest.mark.parametrize("where", ["ledger", "spill"])
def test_a_wrong_dsn_for_one_start_loses_no_usage(db, postgres, other, start, where):
    api_key_id = db.add_key("good")
    daemon = start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    if where == "spill":
        with db.connect(autocommit=False) as lock:
            lock.execute(f"SELECT FROM {TABLE} FOR UPDATE")
            flush(daemon)
            assert daemon.spill.exists() and info(daemon)["usage_spill_bytes"] > 0
            restart(daemon, **{"postgres.dsn": postgres.dsn(other, "apikeyd")})
    else:
        restart(daemon, **{"postgres.dsn": postgres.dsn(other, "apikeyd")})
    wait_until(lambda: info(daemon)["usage_keys_set_aside"] == 1, "the usage to be set aside")
    assert "belongs to store" in daemon.log() and "set aside" in daemon.log()
    flush(daemon)
    assert info(daemon)["usage_pending"] == 0
    assert db.last_used("good") is None
    restart(daemon, **{"postgres.dsn": db.dsn})
    wait_until(lambda: db.last_used("good") is not None, "the usage")
    assert db.row("good")[0] == api_key_id
    flush(daemon)
    assert [path.name for path in daemon.folder.glob("usage.spill.*")
            if not path.name.endswith(".lock")] == []


def test_usage_of_both_stores_is_kept_apart(db, postgres, other, start):
    """While it runs, behind a name that leads elsewhere from then on."""
    db.add_key("good")
    with psycopg.connect(postgres.dsn(other), autocommit=True) as there:
        there.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [db.user_id])
        there.execute(f"INSERT INTO {TABLE} (api_key_id, key_name, key_id, user_id) "
                      "VALUES (gen_random_uuid(), 'n', 'there', %s)", [db.user_id])
        daemon = start()
        assert check(daemon.client(), "good")[0] == "ALLOW"
        restart(daemon, **{"postgres.dsn": postgres.dsn(other, "apikeyd")})
        assert check(daemon.client(), "there")[0] == "ALLOW"
        daemon.kill()
        daemon.options["postgres.dsn"] = db.dsn
        daemon.start()
        wait_until(lambda: db.last_used("good") is not None, "its usage")
        assert there.execute(f"SELECT last_used FROM {TABLE}").fetchone() == (None,)
        restart(daemon, **{"postgres.dsn": postgres.dsn(other, "apikeyd")})
        wait_until(lambda: there.execute(f"SELECT last_used FROM {TABLE}").fetchone()[0],
                   "the other's usage")


HIDDEN = {
    "row security": (f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY",
                     f"ALTER TABLE {TABLE} DISABLE ROW LEVEL SECURITY"),
    "grants lost": (f"REVOKE ALL ON {TABLE} FROM apikeyd",
                    f"GRANT SELECT ON {TABLE} TO apikeyd; "
                    f"GRANT UPDATE (last_used, updated_at) ON {TABLE} TO apikeyd"),
    "a column renamed": (f"ALTER TABLE {TABLE} RENAME last_used TO used",
                         f"ALTER TABLE {TABLE} RENAME used TO last_used"),
    "a view in its place": (
        f"ALTER TABLE {TABLE} RENAME TO hidden; CREATE VIEW {TABLE} AS SELECT * FROM api.hidden "
        f"WHERE false; GRANT SELECT, UPDATE ON {TABLE} TO apikeyd",
        f"DROP VIEW {TABLE}; ALTER TABLE api.hidden RENAME TO user_api_key"),
}


@pytest.mark.parametrize("way", HIDDEN)
def test_usage_of_rows_that_are_hidden_is_kept(db, start, way):
    hide, show = HIDDEN[way]
    db.add_key("good")
    daemon = start()
    assert check(daemon.client(), "good")[0] == "ALLOW"
    db.run(hide)
    try:
        flush(daemon)
    except Exception as error:  # pylint: disable=broad-except
        assert "stays pending" in str(error)
    assert info(daemon)["usage_pending"] == 1
    db.run(show)
    wait_until(lambda: info(daemon)["postgres_connections_up"] == 2, "lookups")
    flush(daemon)
    assert db.last_used("good") is not None
