"""./dev migrate DSN [ARGS]: apply the migrations to the database that a libpq connection string names.

Without ARGS sqitch deploys and verifies, and what has gone since an earlier deploy is made again; with ARGS sqitch runs
that command ("status", "revert -y"). The migrations are those of the default configuration."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

from psycopg.conninfo import conninfo_to_dict

MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"


def sqitch_uri(dsn):
    """A libpq connection string or URI as sqitch's database URI."""
    parts = conninfo_to_dict(dsn)
    user, password = parts.pop("user", None), parts.pop("password", None)
    port, database = parts.pop("port", None), parts.pop("dbname", "")
    host = parts.pop("host", "")
    if host.startswith("/"):
        parts["host"], host = host, ""
    login = quote(user, safe="") if user else ""
    if password:
        login += ":" + quote(password, safe="")
    return (f"db:pg://{login}{'@' if login else ''}{host}{':' + str(port) if port else ''}"
            f"/{quote(database, safe='')}{'?' + urlencode(parts, quote_via=quote) if parts else ''}")


def migrate(uri, *args, folder=MIGRATIONS):
    """Run sqitch on the migrations; the completed process is returned."""
    return subprocess.run(
        ["sqitch", *(args or ("deploy", "--verify")), uri],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "SQITCH_USER_CONFIG": "/dev/null", "SQITCH_SYSTEM_CONFIG": "/dev/null",
             "SQITCH_FULLNAME": "apikeyd", "SQITCH_EMAIL": "apikeyd@localhost", "LC_ALL": "C.UTF-8"},
    )


def psql(dsn, *args):
    options = "-c client_min_messages=warning -c search_path=pg_catalog,pg_temp"
    return subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn, *args],
        capture_output=True, text=True, check=False, env={**os.environ, "PGOPTIONS": options},
    )


# The arguments of our triggers are the columns whose keys they announce.
OTHER_COLUMNS = """SELECT DISTINCT trim(replace(encode(tgargs, 'escape'), '\\000', ' ')) FROM pg_trigger
    WHERE tgrelid = to_regclass('api.user_api_key') AND tgfoid = to_regprocedure('apikeyd.notify_key_change()')
        AND tgargs <> 'key_id\\000'::bytea"""


def refuse_other_columns(dsn):
    """These migrations would put triggers for the default column in the place of those of another configuration."""
    done = psql(dsn, "-At", "-c", OTHER_COLUMNS)
    if done.returncode == 0 and done.stdout:
        done.returncode = 1
        done.stderr = ("the triggers on api.user_api_key announce the columns of another configuration "
                       f"({done.stdout.strip()}); nothing is changed; deploy what `apikeyctl schema sql` prints for it\n")
        done.stdout = ""
    return done


def repair(dsn):
    """sqitch deploys nothing twice. These scripts change nothing where nothing is missing."""
    scripts = [MIGRATIONS / "deploy" / f"{name}.sql" for name in ("role", "triggers", "index")]
    return psql(dsn, *(arg for script in scripts for arg in ("-f", script)))


def main():
    runs = [lambda: migrate(sqitch_uri(sys.argv[1]), *sys.argv[2:])]
    if len(sys.argv) == 2:
        runs = [lambda: refuse_other_columns(sys.argv[1]), *runs, lambda: repair(sys.argv[1])]
    for run in runs:
        done = run()
        sys.stdout.write(done.stdout)
        sys.stderr.write(done.stderr)
        if done.returncode != 0:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
