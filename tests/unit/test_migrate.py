"""./dev migrate: sqitch is given the database that the connection string names."""

import pytest
from migrate import sqitch_uri

URIS = {
    "dbname=app": "db:pg:///app",
    "host=db.example port=5433 user=owner dbname=app": "db:pg://owner@db.example:5433/app",
    "postgresql://owner:p%40ss@db.example/app?sslmode=require":
        "db:pg://owner:p%40ss@db.example/app?sslmode=require",
    # A path is no host of a URI.
    "host=/run/postgresql user=owner dbname=app": "db:pg://owner@/app?host=%2Frun%2Fpostgresql",
    "dbname='a b' user='o/r'": "db:pg://o%2Fr@/a%20b",
}


@pytest.mark.parametrize("dsn", URIS)
def test_a_connection_string_as_sqitch_takes_it(dsn):
    assert sqitch_uri(dsn) == URIS[dsn]
