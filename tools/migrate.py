"""./dev migrate DSN [ARGS]: apply the migrations to the database that a libpq connection string names.

Without ARGS sqitch deploys and verifies; with ARGS it runs that command ("status", "revert -y")."""

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


def migrate(uri, *args):
    """Run sqitch on the migrations; the completed process is returned."""
    return subprocess.run(
        ["sqitch", *(args or ("deploy", "--verify")), uri],
        cwd=MIGRATIONS, capture_output=True, text=True, check=False,
        env={**os.environ, "SQITCH_USER_CONFIG": "/dev/null", "SQITCH_SYSTEM_CONFIG": "/dev/null",
             "SQITCH_FULLNAME": "apikeyd", "SQITCH_EMAIL": "apikeyd@localhost", "LC_ALL": "C.UTF-8"},
    )


def main():
    done = migrate(sqitch_uri(sys.argv[1]), *sys.argv[2:])
    sys.stdout.write(done.stdout)
    sys.stderr.write(done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
