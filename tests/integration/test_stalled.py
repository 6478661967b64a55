"""The back thread stands still, by which nobody shall wait longer than the deadline that the front has."""

import pytest
from conftest import check
from harness.servers import wait_until
from harness.standstill import Standstill


@pytest.fixture
def still(scratch, db):
    return Standstill(scratch / f"{db.name}.still")


def test_hits_go_on(db, start, still):
    api_key_id = str(db.add_key("good"))
    daemon = start(env=still.env)
    client = daemon.client()
    assert check(client, "good")[1] == api_key_id
    with still.stand("main", "epoll_wait"):
        wait_until(still.stands, "the back thread to stand still")
        assert [check(client, "good")[1] for _ in range(100)] == [api_key_id] * 100
