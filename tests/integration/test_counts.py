"""usage.counts: what the table of counts says is what clients were answered, whatever fails."""

import pytest
from conftest import check, info
from harness.servers import wait_until

pytestmark = pytest.mark.builds("release", "debug", "asan")


def make_tables(db, more=""):
    db.run(f"""CREATE TABLE IF NOT EXISTS api.user_api_key_usage (
                   api_key_id uuid {more}, bucket timestamptz, verdict text, uses bigint NOT NULL,
                   PRIMARY KEY (api_key_id, bucket, verdict)) WITH (fillfactor = 70)""")
    db.run("CREATE TABLE IF NOT EXISTS api.apikeyd_ledger (ledger_id uuid PRIMARY KEY, number bigint NOT NULL, "
           "updated_at timestamptz)")
    db.run("GRANT SELECT, INSERT, UPDATE ON api.user_api_key_usage, api.apikeyd_ledger TO apikeyd")


def counted(db):
    return dict(db.run("SELECT verdict, sum(uses)::int FROM api.user_api_key_usage GROUP BY 1"))


def flush(daemon):
    return daemon.admin_client().execute_command("FLUSH")


def test_each_answer_counts(db, start):
    make_tables(db)
    db.add_keys(3)
    db.add_key("gone", active=False)
    daemon = start({"usage.counts": "hour"})
    for i in range(30):
        assert check(daemon.client(), f"key-{i % 3}")[0] == "ALLOW"
    for _ in range(5):
        assert check(daemon.client(), "gone") == ["DENY", "inactive"]
        assert check(daemon.client(), "no such key") == ["DENY", "unknown"]
    flush(daemon)
    assert counted(db) == {"allow": 30, "inactive": 5}
    assert db.last_used("gone") is None
    assert db.one("SELECT count(*) FROM api.user_api_key_usage WHERE bucket = date_trunc('hour', now())") == 4
    for _ in range(7):
        check(daemon.client(), "key-0")
    flush(daemon)
    assert counted(db) == {"allow": 37, "inactive": 5}
    assert info(daemon)["usage_counts_pending"] == 0
    assert not list(daemon.folder.glob("*.counts"))
