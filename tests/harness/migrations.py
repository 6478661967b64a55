"""migrations.py: write sqitch's scripts from what `apikeyctl schema sql` prints for the default configuration, and
those of the project in migrations/rotation, for whoever rotates keys, for postgres.successor_of_column = successor_of.

tests/meta/test_repo.py checks that they are that.
"""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"

ROTATION = {"APIKEYD_POSTGRES_SUCCESSOR_OF_COLUMN": "successor_of"}

HEAD = "-- {0} apikeyd:{1} {2} pg\n-- Made by tests/harness/migrations.py. {3}\n\n"
PATH = "SET LOCAL search_path = pg_catalog, pg_temp;\n"
# Statements that cannot stand in a transaction, and psql's conditions around them.
MAKE_INDEX = """
SELECT
    relkind <> 'p' AND NOT EXISTS (
        SELECT FROM pg_index
        JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
        WHERE indrelid = c.oid AND indisvalid AND indpred IS NULL AND attname = 'key_id'
    ) AS wanted
FROM pg_class AS c
WHERE oid = 'api.user_api_key'::regclass \\gset
\\if :wanted
    SELECT EXISTS (SELECT FROM api.user_api_key GROUP BY key_id HAVING count(*) > 1) AS twice \\gset
    -- It keeps no writer away, but waits for transactions that have changed the table.
    SET lock_timeout = '60s';
    \\if :twice
        \\warn Key IDs stand in more than one row: a plain index is made. A key passes if all of its rows are active.
        CREATE INDEX CONCURRENTLY user_api_key_key_id_idx ON api.user_api_key (key_id);
    \\else
        CREATE UNIQUE INDEX CONCURRENTLY user_api_key_key_id_idx ON api.user_api_key (key_id);
    \\endif
    COMMENT ON INDEX api.user_api_key_key_id_idx IS 'made by apikeyd';
\\endif
"""

# On a partitioned table it is made by hand.
MAKE_LINK_INDEX = """
SET search_path = pg_catalog, pg_temp;
SELECT relkind <> 'p' AS whole FROM pg_class WHERE oid = 'api.user_api_key'::regclass \\gset
\\if :whole
    -- It keeps no writer away, but waits for transactions that have changed the table.
    SET lock_timeout = '60s';
    {}
\\endif
"""


def printed(*args):
    """For the defaults, whatever the environment says."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("APIKEYD_")} | ROTATION
    return subprocess.run([BUILD / "apikeyctl", "schema", "sql", "--config", "/dev/null", *args],
                          capture_output=True, text=True, check=True, env=env).stdout


def part(name, *args):
    return printed("--part", name, *args)


def in_transaction(text):
    return f"BEGIN;\n{PATH}\n{text}\nCOMMIT;\n"


def scripts():
    """Each file's path and text."""
    rotation, index = part("rotation").split("\n-- The index finds")
    index = index[index.index("\nCREATE INDEX"):].strip()
    block = "\n".join(line for line in part("index").splitlines() if not line.startswith("CREATE "))
    return {ROOT / "migrations" / name: text for name, text in {
        "deploy/role.sql":
            HEAD.format("Deploy", "role", "to", "It may run again at any time.") + in_transaction(part("role")),
        "revert/role.sql":
            HEAD.format("Revert", "role", "from", "The role stays where another database needs it.")
            + in_transaction(part("role", "--undo")),
        "deploy/triggers.sql":
            HEAD.format("Deploy", "triggers", "to", "It may run again at any time, and repairs what is missing.")
            + in_transaction(part("functions") + part("triggers")),
        "revert/triggers.sql":
            HEAD.format("Revert", "triggers", "from", "Also where a part is missing.")
            + in_transaction(part("triggers", "--undo") + part("functions", "--undo")),
        "deploy/index.sql":
            HEAD.format("Deploy", "index", "to", "An index that begins with the column is kept, whatever its name is.")
            + "SET search_path = pg_catalog, pg_temp;\n\n" + block + "\n" + MAKE_INDEX,
        "deploy/usage.sql":
            HEAD.format("Deploy", "usage", "to", "It may run again at any time.") + in_transaction(part("usage")),
        "revert/usage.sql":
            HEAD.format("Revert", "usage", "from", "A table that holds counts stays.")
            + in_transaction(part("usage", "--undo")),
        "rotation/deploy/rotation.sql":
            HEAD.format("Deploy", "rotation", "to", "It may run again at any time.").replace(":", "_rotation:", 1)
            + in_transaction(rotation) + MAKE_LINK_INDEX.format(index),
    }.items()}


def main():
    for path, text in scripts().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
