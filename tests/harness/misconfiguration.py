"""Every way to misconfigure apikeyd, and what it says: makes docs/misconfiguration.md.

    /usr/bin/python3 tests/harness/misconfiguration.py > docs/misconfiguration.md

tests/integration/test_misconfiguration.py plays the same cases, also as reloads.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("APIKEYD_BUILD", ROOT / "build" / "release"))
HANG = int(os.environ.get("APIKEYD_HANG", "60"))
SHOWN_AS = "/srv"  # the folder of the cases, in the table

# What stands in the folder, for options to name.
FILES = {"secret": "s" * 32, "again": "s" * 32 + "\n", "empty": "", "newlines": "\n\n", "long": "x" * 2000, "file": "some",
         "shared": "some"}
LONG = "x" * 300

# Right values, in a folder that is there.
RIGHT = {
    "listen.check": "{folder}/check.sock",
    "listen.admin": "{folder}/admin.sock",
    "listen.metrics": "{folder}/metrics.sock",
    "redis.url": "",
    "postgres.dsn": "host={folder} dbname=none",
    "usage.ledger": "{folder}/usage.ledger",
    "usage.spill": "{folder}/usage.spill",
}

NOT_DURATIONS = ["", "20", "20 ms", "-1s", "1.5s", "soon", "9999999999999h"]
NOT_SIZES = ["", "64", "64MB", "-1KiB", "all", "99999999999GiB"]
NOT_COUNTS = ["", "-1", "1.5", "1e3", "10k", "many", "99999999999999999999"]
NOT_NAMES = ["", "x" * 64, "é" * 32]
NO_PATHS = ["run/apikeyd/x", "./x", "/", "{folder}/"]
NOT_PATHS = [*NO_PATHS, "/nonexistent/x", "{folder}/file/x"]
NOT_ADDRESSES = ["localhost:80", "127.0.0.1", ":80", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:http",
                 "[::1]", "::1:80", "300.0.0.1:80", "*:80", "8080"]
NOT_SECRETS = ["./secret", "{folder}", "{folder}/none", "{folder}/empty", "{folder}/newlines",
               "{folder}/long", "/dev/null", "redis-password", "hunter2", "{folder}/file/x"]
NOT_DSNS = ["host=a colour=red", "host=a prot=5", "host=a password=my hunter2", "host='a", "host=a port=0",
            "host=a port=65536", "host=a port=x", "host=a,b port=1,2,3", "host=a,b hostaddr=10.0.0.1",
            "host=a sslmode=yes", "host=a target_session_attrs=master", "host=a connect_timeout=5s",
            "postgres://u:hunter2@[::1/db", "postgres://u:hunter2%zz@h/db", "postgres://u:hunter2@h:99999/db",
            "postgres://u:hunter2@h/db?passwd=hunter2", "postgres://h/db?sslmode", "x=" + "y" * 16384,
            "host=a passfile={folder}/none", "host=a passfile={folder}/shared", "host=a passfile={folder}/empty",
            "host=a passfile={folder}/secret", "host=a sslrootcert={folder}/none",
            "host=a sslcert={folder}", "postgres://u:hunter2@h/db?sslkey={folder}/none"]

# Options, and values that they do not take.
WRONG = {
    "listen.check": ["", *NOT_PATHS, "127.0.0.1:80", "{folder}", "{folder}/file", "/" + "x" * 107],
    "listen.check_mode": ["", "rw", "0888", "01000", "-1", "0o660"],
    "listen.check_group": ["nosuchgroup", "a,b", "a b", LONG],
    "listen.admin": ["run/x", "/nonexistent/x", "127.0.0.1:80", "{folder}/file", "/" + "x" * 107],
    "listen.http": [*NOT_PATHS, *NOT_ADDRESSES, "{folder}/file", "/" + "x" * 107],
    "listen.metrics": ["/nonexistent/x", "localhost:9464", "127.0.0.1:0", "{folder}/file"],
    "listen.max_connections": [*NOT_COUNTS, "0", "1000001"],
    "listen.max_request": [*NOT_SIZES, "511B", "65KiB"],
    "listen.allow_uids": ["www-data", "1;2", "1 2", ",1", "1,,2", "-1", "4294967295", "1-5",
                          ",".join(map(str, range(65)))],
    "listen.allow_gids": ["www-data", "4294967296"],
    "listen.drain_timeout": [*NOT_DURATIONS, "99ms", "601s"],
    "listen.linger": ["5", "-1s", "601s", "forever"],
    "listen.cpu": ["first", "-1", "1.5", "8192", "00001", "2-3", "0,1", "8191"],
    "cache.memory": [*NOT_SIZES, "4095B", "65GiB"],
    "cache.negative_memory": ["8", "4095B", "9GiB"],
    "cache.attribute_memory": ["16", "63KiB", "65GiB"],
    "cache.ttl": ["60", "99ms", "25h"],
    "cache.ttl_unlinked": ["5", "99ms", "25h"],
    "cache.negative_ttl": ["30", "99ms", "25h"],
    "cache.stale_max": ["300", "25h", "never"],
    "keys.form": ["", "prefix", "none"],
    "keys.prefix": ["", "acme-live", "acme_", "a" * 17, "a, b, a", ",".join("abcdefghi")],
    "redis.url": ["localhost", "localhost:6379", "http://localhost", "redis:/localhost", "unix://run/redis.sock",
                  "unix:///run/redis.sock?database=1", "unix:///run/redis.sock?db=x", "unix:///" + "x" * 107,
                  "redis://", "redis://:6379", "redis://host:0", "redis://host:65536", "redis://host:port",
                  "redis://host/x", "redis://host/1000001", "redis://[::1", "rediss:///run/redis.sock",
                  "redis://:hunter2@host:port", "redis://:a@hunter2@host", "redis://:a/hunter2@host",
                  "redis://:hunter2%zz@host", "redis:/:hunter2@host", ":hunter2@host",
                  "redis://host?password=hunter2", "redis://" + "x" * 256, "unix://{folder}/check.sock",
                  "redis+sentinel://a,b", "redis+sentinel://:hunter2@a,,b/mymaster", "redis+sentinel://a/", "redis+sentinel://a/my master",
                  "redis+sentinel://a:0/mymaster", "redis+sentinel://a/mymaster/1", "redis+sentinel://a/mymaster?database=1",
                  "redis+sentinel://a,b,c,d,e,f,g,h,i/mymaster"],
    "redis.password_file": NOT_SECRETS,
    "redis.ca_file": ["./secret", "{folder}/"],
    "redis.cert_file": ["{folder}/", "{folder}/secret"],
    "redis.key_file": ["./secret", "{folder}/secret"],
    "redis.sentinel_user": ["a b"],
    "redis.sentinel_password_file": ["./secret", "{folder}/none"],
    "redis.server_name": ["redis.example:6379", ".example", "a b", "[::1]", "x" * 256],
    "redis.secret_file": ["./secret", "{folder}/none", "{folder}/empty"],
    "redis.prefix": ["a b", "x" * 129],
    "redis.timeout": ["20", "999us", "11s"],
    "feed.source": ["", "listen", "postgres,redis", "redis"],
    "feed.relay": ["", "maybe", "yes"],
    "postgres.dsn": ["", *NOT_DSNS],
    "postgres.listen_dsn": ["host=a prot=5", "host=a port=0"],
    "postgres.table": [*NOT_NAMES, "a.b.c", ".a", "a.", "x" * 64 + ".a"],
    "postgres.key_column": NOT_NAMES,
    "postgres.key_column_fallback": [*NOT_NAMES[1:], "key_id"],
    "postgres.key_transform": ["", "sha256", "yes"],
    "postgres.key_transform_secret_file": ["./secret", "{folder}/none", "{folder}/empty", "{folder}/secret,",
                                           "{folder}/secret,,{folder}/file", "{folder}/secret, {folder}/none",
                                           "{folder}/secret,{folder}/again", "{folder}/secret,hunter2",
                                           "/a,/b,/c,/d,/e"],
    "postgres.id_column": NOT_NAMES,
    "postgres.user_column": NOT_NAMES,
    "postgres.id_type": ["", "int", "varchar", "uuid,text"],
    "postgres.active_column": NOT_NAMES[1:],
    "postgres.last_used_column": NOT_NAMES,
    "postgres.updated_column": NOT_NAMES[1:],
    "postgres.created_column": NOT_NAMES[1:],
    "postgres.not_before_column": [*NOT_NAMES[1:], "last_used"],
    "postgres.expires_column": [*NOT_NAMES[1:], "updated_at"],
    "postgres.attribute_columns": ["plan,", "x" * 64, "plan,plan", "rate_limit,Rate-Limit", "id", "key_id", "updated_at",
                                   ",".join("abcdefghijklmnopq")],
    "postgres.quota_column": [*NOT_NAMES[1:], "quota", "last_used"],
    "postgres.successor_of_column": [*NOT_NAMES[1:], "api_key_id"],
    "postgres.name_column": NOT_NAMES[1:],
    "postgres.timestamp_zone": ["", "Asia Seoul", "Zürich", "x'", "UTC+9", "+09:00"],
    "postgres.usage_table": [*NOT_NAMES, "a.b.c"],
    "postgres.ledger_table": [*NOT_NAMES, "a.b.c"],
    "postgres.connections": ["0", "65", "two"],
    "postgres.connects_per_second": ["0", "101", "20/s"],
    "postgres.max_age": ["3600", "999ms", "8785h", "never"],
    "postgres.batch": ["0", "10001"],
    "postgres.timeout": ["500", "9ms", "61s"],
    "postgres.soft_timeout": ["50", "999us", "61s"],
    "postgres.max_pending": ["99", "1000001"],
    "usage.ledger": ["", *NO_PATHS, "{folder}/" + "x" * 128],
    "usage.spill": ["", "run/x", "{folder}/" + "x" * 128],
    "usage.flush_interval": ["5", "49ms", "61m"],
    "usage.flush_rows": ["0", "16000001"],
    "usage.batch": ["0", "10001"],
    "usage.touch_updated_at": ["", "2", "maybe"],
    "usage.resolution": ["5", "8785h"],
    "usage.counts": ["", "yes", "minute"],
    "usage.deleted_keys": ["", "cascade"],
    "usage.retention": ["400", "23h", "36601d", "ever"],
    "http.key_from": ["", "X-API-Key", "token", "header", "header:", "header:X API Key", "header:X-API-Key:", "header:Clé",
                      "header:" + "x" * 128, "bearer:x", "cookie:a;b", "cookie:", "query:a&b", "query:a@", "api_key",
                      "bearer,", "bearer bearer", "bearer, bearer", "header:X-Key, header:x-key",
                      "header:Authorization, bearer", "cookie:a, header:Cookie", "query:a@Cookie, cookie:b",
                      ",".join(f"header:{name}" for name in "abcdefghi")],
    "http.inactive_status": ["", "402", "four hundred"],
    "http.preflight": ["", "yes", "cors"],
    "http.timeout": ["10", "99ms", "3601s"],
    "aws.key_from": ["", "bearer", "apikey", "header:", "query:a@X-Original-URI", "api_key, api_key", "header, header"],
    "aws.usage_identifier_key": ["", "api_key", "yes"],
    "log.level": ["", "loud", "warn"],
    "log.target": ["", "syslog", "/var/log/apikeyd.log"],
    "log.format": ["", "logfmt", "journald", "json-lines"],
    "log.denials": ["", "yes", "each"],
}

# Options that are right, each by itself.
TOGETHER = [
    {"postgres.updated_column": "last_used"},
    {"postgres.last_used_column": "key_id"},
    {"listen.admin": "{folder}/check.sock"},
    {"listen.http": "{folder}//./admin.sock"},
    {"listen.http": "127.0.0.1:9464", "listen.metrics": "127.0.0.1:9464"},
    {"usage.spill": "{folder}/usage.ledger"},
    {"usage.ledger": "{folder}/check.sock"},
    {"redis.secret_file": "{folder}/usage.spill"},
    {"redis.url": "redis://:hunter2@host", "redis.password_file": "{folder}/secret"},
    {"redis.url": "redis://:hunter2@host", "redis.ca_file": "{folder}/secret"},
    {"redis.url": "redis://host", "redis.server_name": "redis.example"},
    {"redis.url": "redis://host", "redis.sentinel_password_file": "{folder}/secret"},
    {"redis.url": "redis+sentinel://host/mymaster", "redis.sentinel_user": "me"},
    {"redis.url": "rediss://host", "redis.ca_file": "{folder}/none"},
    {"redis.url": "rediss://host", "redis.ca_file": "{folder}/secret"},
    {"redis.url": "rediss://host", "redis.ca_file": "redis-ca"},
    {"redis.url": "rediss://host", "redis.cert_file": "{folder}/secret", "redis.key_file": "{folder}/secret"},
    {"redis.url": "redis://host", "feed.source": "redis", "feed.relay": "yes"},
    {"postgres.key_transform": "hmac-sha256"},
    {"postgres.key_column": "key_id_hash", "postgres.key_column_fallback": "key_id"},
    {"postgres.key_column_fallback": "key_id", "postgres.key_transform": "hmac-sha256",
     "postgres.key_transform_secret_file": "{folder}/secret"},
    {"postgres.key_transform_secret_file": "{folder}/secret,{folder}/usage.spill"},
    {"usage.counts": "hour", "postgres.usage_table": "api.user_api_key"},
    {"usage.counts": "day", "postgres.ledger_table": "api.user_api_key_usage"},
    {"log.target": "journal", "log.format": "json"},
]

# Files, as text.
FORMS = {
    "an option before any section": "ttl = 5s\n",
    "an unknown section": "[caches]\nttl = 5s\n",
    "a section of another program": "[mysqld]\nuser = root\n",
    "an unknown option": "[cache]\ntll = 5s\n",
    "an option of another section": "[cache]\nprefix = x\n",
    "an option that nothing resembles": "[cache]\ncolour = red\n",
    "an option that is set twice": "[cache]\nttl = 5s\nttl = 6s\n",
    "a section that does not end": "[cache\nttl = 5s\n",
    "an option behind a section": "[cache] ttl = 5s\n",
    "a line that is neither": "[cache]\nttl\n",
    "an indented line": "[cache]\n  ttl = 5s\n",
    "a NUL byte": "[cache]\nttl = 5s\0\n",
    "a control character": "[redis]\nprefix = a\x1bb\n",
    "a line that is too long": "[redis]\nprefix = " + "x" * 16400 + "\n",
    "several errors": "[cache]\nttl = 5\nmemory = 5\n[log]\nlevel = loud\n",
}

# What the database may hold though each option is right by itself: statements that make {t} so, options, and what the log
# and `apikeyctl schema check` say ("": nothing). test_misconfiguration.py plays these against PostgreSQL.
HASHED = {"postgres.key_column": "hash", "postgres.key_transform": "hmac-sha256",
          "postgres.key_transform_secret_file": "{folder}/secret"}
BOTH = {**HASHED, "postgres.key_column_fallback": "key_id"}
ROW = "INSERT INTO {t} (api_key_id, key_name, user_id, is_active, key_id, hash) VALUES (gen_random_uuid(), 'n', gen_random_uuid(), true, "
NO_HASH = "holds no hash: 64 lower-case hexadecimal digits are expected"
ANOTHER = "the hash of another key than"
DATABASE = {
    "a column that is not there": (
        "SELECT", {"postgres.key_column": "no_such_column"}, "column {f}.no_such_column does not exist; see the options postgres.*_column",
        "column no_such_column"),
    "a table that is not there": (
        "DROP TABLE {t}", {}, 'relation "{t}" does not exist', "table {t}"),
    "a view in the table's place": (
        "ALTER TABLE {t} RENAME TO {n}_rows; CREATE VIEW {t} AS SELECT * FROM {t}_rows; GRANT SELECT ON {t} TO apikeyd", {},
        "postgres.table is not a table; its answers are not used", "{t} is not a table"),
    "IDs of a type that is none of the three": (
        "ALTER TABLE {t} ADD number numeric DEFAULT 1", {"postgres.id_column": "number"},
        "postgres.id_column is not of the type that postgres.id_type names: its type is numeric; its answers are not used",
        "column number is of type numeric, not uuid"),
    "keys of a type that is no text": (
        "ALTER TABLE {t} ADD number bigint", {"postgres.key_column": "number"},
        "operator does not exist: bigint pg_catalog.= text; the columns of keys have to be of type text",
        "column number is of type int8, and keys are text"),
    "a stored hash that is not hex, is upper case or of another length": (
        ROW + "'key', repeat('X', 64))", HASHED, "", f"no key finds 1 of 1 rows: column hash {NO_HASH}"),
    "no stored hash, and no `key_column_fallback`": (
        ROW + "'key', NULL)", HASHED, "", "no key finds 1 of 1 rows: column hash is empty"),
    "such a hash beside a raw key": (
        ROW + "'key', repeat('X', 64))", BOTH,
        'key_column "hash" of the row of fp:{f}: it is no hash: 64 lower-case hexadecimal digits are expected; '
        "the row counts for no key (logged once)", f"no key finds 1 of 1 rows: column hash {NO_HASH}"),
    "two key columns that disagree": (
        ROW + "'key', repeat('a', 64))", BOTH,
        f'key_column "hash" of the row of fp:{{f}}: it holds {ANOTHER} its key_column_fallback, or by a secret that is not in '
        "key_transform_secret_file; the row counts for no key (logged once)",
        f"no key finds 1 of 1 rows: column hash holds {ANOTHER} key_column_fallback, or by a secret that is not in "
        "key_transform_secret_file"),
    "a stored hash in the column of raw keys": (
        ROW + "repeat('a', 64), NULL)", BOTH, "", "no key finds 1 of 1 rows: column hash is empty, and key_column_fallback holds 64 "
        "hexadecimal digits, which may be a stored hash"),
}

# Variables of the environment.
VARIABLES = {
    "APIKEYD_CACHE_TTL": "5",
    "APIKEYD_CACHE_TLL": "5s",
    "APIKEYD_POSTGRES_DSN": "host=a prot=5",
    "APIKEYD_LISTEN_ADMIN": "{folder}/check.sock",
}


class Case:
    """One configuration that is not right: options, a whole file (text), or variables."""

    def __init__(self, name, options=None, text="", env=None):
        self.name, self.options, self.text, self.env = name, options or {}, text, env or {}

    def file(self, folder):
        """What stands in apikeyd.conf."""
        sections = {}
        for name, value in {**RIGHT, **self.options}.items():
            section, option = name.split(".")
            sections.setdefault(section, []).append(f"{option} = {value}\n")
        right = "".join(f"[{name}]\n{''.join(lines)}" for name, lines in sections.items())
        return self.text + right.replace("{folder}", str(folder))

    def variables(self, folder):
        return {name: value.replace("{folder}", str(folder)) for name, value in self.env.items()}


def short(text):
    """Without most of what is only there to be long."""
    text = re.sub(r"([xy])\1{40,}", r"\1…\1", text)
    return re.sub(r"(0,1,2,3,)[0-9,]{40,}", r"\1…", text)


def cases():
    """(heading, its cases)."""
    by_section = {}
    for option, values in WRONG.items():
        for value in values:
            case = Case(f"`{f'{option} = {short(value)}'.rstrip()}`", {option: value})
            by_section.setdefault(f"[{option.partition('.')[0]}]", []).append(case)
    yield from by_section.items()
    yield "Options together", [Case("<br>".join(f"`{name} = {value}`" for name, value in options.items()),
                                    options) for options in TOGETHER]
    yield "The file", [Case(name, text=text) for name, text in FORMS.items()]
    yield "The environment", [Case(f"`{name}={value}`", env={name: value})
                              for name, value in VARIABLES.items()]


def all_cases():
    return [case for _, group in cases() for case in group]


class Stage:
    """A folder with what the cases name."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.config = self.folder / "apikeyd.conf"
        for name, text in FILES.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o644 if name == "shared" else 0o600)

    def write(self, case):
        self.config.write_text(case.file(self.folder))

    def run(self, case, *args):
        """What the program says, a sentence a line, and its exit status. None: it goes on."""
        self.write(case)
        env = {name: value for name, value in os.environ.items()
               if name not in ("CREDENTIALS_DIRECTORY", "LISTEN_FDS")} | case.variables(self.folder)
        try:
            done = subprocess.run([BUILD / "apikeyd", "-c", self.config, *args], env=env, timeout=HANG,
                                  capture_output=True, text=True, check=False)
        except subprocess.TimeoutExpired:
            return [], None
        return self.shown(done.stderr).splitlines(), done.returncode

    def shown(self, text):
        """As in the table, whatever the folder's name and the host's processors."""
        text = re.sub(r"(the daemon may use) [0-9,-]+", r"\1 0-3", text)
        return text.replace(str(self.config), "apikeyd.conf").replace(str(self.folder), SHOWN_AS)


@contextlib.contextmanager
def stage():
    with tempfile.TemporaryDirectory(prefix="apikeyd-") as folder:
        yield Stage(folder)


INTRODUCTION = """\
# Every way to misconfigure apikeyd

`apikeyd --check-config`, a start and a reload check the configuration in the same way. Each error is a line
with the place (file and line, or the environment's variable), the option, its value and what is expected. All
errors are reported, not only the first. Passwords are never shown.

| | output | exit status |
| --- | --- | --- |
| `apikeyd --check-config` | the errors, on stderr | 78 (`EX_CONFIG` of sysexits(3)) |
| a start | the same errors, on stderr | 78; systemd tries again when a client waits on one of its sockets |
| a reload (SIGHUP, RELOAD) | the same errors, in the log and in RELOAD's reply | the daemon goes on with the old configuration |

Some facts may change while the configuration stays right. They are no configuration errors:

| what | what happens |
| --- | --- |
| PostgreSQL or Redis is down, refuses the login, or its host does not resolve | the daemon starts, logs it, and connects later |
| a `service=` of a DSN is not in the service file | the same |
| the directory of ledger or spill file does not exist, or the file cannot be used | the daemon starts and logs it; usage stays in memory, and the daemon tries again (but a ledger on a read-only file system is a configuration error) |
| the table or a column does not exist, or is not of the kind that is expected | checks get UNAVAILABLE, and the log says why ([The database](#the-database)) |
| a secret file is readable by every user of the host | the daemon starts and warns, and so does `--check-config`: `postgres.key_transform_secret_file: every user of this host may read /srv/open; take that right away (chmod o-r), and change the secret if others may have read it` |
| ledger or spill file is locked by another daemon, or another process listens on a socket or port | the start fails with exit status 1 and the reason in the log |
| an address is on no interface of the host, or the daemon may not make a socket in its directory | the same |
| out of memory, file descriptors or threads at the start | exit status 71 (`EX_OSERR`) |

The directory of a socket must exist, also for sockets that systemd hands over. The package, systemd or an
administrator makes it; the daemon does not. A secret that is named without a slash is a credential of systemd's.
`--check-config` finds it only with `CREDENTIALS_DIRECTORY` set, as in `systemd-run --pipe --wait
-p LoadCredential=redis-password:/etc/credstore/apikeyd.redis-password apikeyd --check-config`. Run the check as the
daemon's user, since it checks that files can be read.

`tests/harness/misconfiguration.py` makes the tables from the cases that
`tests/integration/test_misconfiguration.py` plays. `/srv` is a directory with the files `secret`, `again` (the same), `empty`,
`newlines`, `long` (2,000 bytes), `file`, and `shared`, the only one that group and others can read. "…" stands for more of the same.
The host has four processors.

## The database

The daemon starts, since the owner may mend this while it runs. The log names each fault once. `apikeyctl schema check`
finds it before, with what to do, and exits with 1. "Nothing" stands where no lookup meets the row: its key is `DENY
unknown`, as if there were no row.

| fault | the log says | `apikeyctl schema check` says |
| --- | --- | --- |
"""


def as_shown(text):
    return f"`{text.format(t='api.user_api_key', f='…')}`" if text else "nothing"


INTRODUCTION += "".join(f"| {fault} | {as_shown(logged)} | {as_shown(checked)} |\n"
                        for fault, (_, _, logged, checked) in DATABASE.items())


def cell(text):
    return text.replace("|", "\\|").replace("{folder}", SHOWN_AS)


def said(lines):
    return cell("<br>".join(f"`` {short(line)} ``" if "`" in line else f"`{short(line)}`" for line in lines))


def document(results):
    """The page; `results` tells (said, status) of --check-config and of a start for each case."""
    text = INTRODUCTION
    for heading, group in cases():
        text += (f"\n## {heading}\n\n| configuration | `--check-config` says | a start says | exit status |\n"
                 "| --- | --- | --- | --- |\n")
        for case in group:
            checked, started = results[case.name]
            same = "the same" if started == checked else f"{said(started[0])} ({started[1]})"
            text += f"| {cell(case.name)} | {said(checked[0])} | {same} | {checked[1]} |\n"
    return text


def play(place):
    """What --check-config and a start say in each case."""
    return {case.name: (place.run(case, "--check-config"), place.run(case)) for case in all_cases()}


def main():
    with stage() as place:
        sys.stdout.write(document(play(place)))


if __name__ == "__main__":
    main()
