"""apikeyctl, as people and programs call it."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import time
import uuid

import psycopg
import pytest
from conftest import check
from harness.servers import BUILD, HANG, ROOT, VERSION, wait_until

pytestmark = pytest.mark.builds("release", "debug", "asan")

CTL = BUILD / "apikeyctl"


def run(*arguments, text=None, env=None, **options):
    return subprocess.run([str(CTL), *map(str, arguments)], input=text, capture_output=True,
                          text=True, timeout=60, check=False, env={**os.environ, **(env or {})},
                          **options)


@pytest.fixture
def good(db):
    """A key that is there before the daemon, which so hears of no change of it later on."""
    return db.add_key("good")


@pytest.fixture
def ctl(daemon):
    """Asks the daemon; keys are changed as the database's owner."""
    def ask(*arguments, **options):
        return run("--socket", daemon.admin, "--config", daemon.config, *arguments, **options)
    ask.daemon = daemon
    return ask


def parsed(done, status=0):
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_check_tells_by_its_exit_status(db, ctl, redis_server, postgres):
    api_key_id = db.add_key("good")
    db.add_key("off", active=False)
    assert parsed(ctl("check", "good", "--json")) == {
        "verdict": "ALLOW", "api_key_id": str(api_key_id), "user_id": str(db.user_id)}
    assert parsed(ctl("check", "none", "--json"), 2) == {"verdict": "DENY", "why": "unknown"}
    assert parsed(ctl("check", "off", "--json"), 3) == {"verdict": "DENY", "why": "inactive"}
    assert ctl("check", "k" * 256).returncode == 4  # cannot tell
    postgres.pause()
    redis_server.stop()
    done = ctl("check", "other", "--within", "50")
    assert done.returncode == 4 and "UNAVAILABLE" in done.stdout


def test_a_key_need_not_stand_on_the_command_line(db, ctl):
    db.add_key("good")
    assert "ALLOW" in ctl("check", text="good\n").stdout
    assert "ALLOW" in ctl("check", "-", text="good\n").stdout
    assert "ALLOW" in ctl("check", "-", text="good\r\n").stdout
    assert ctl("check", text="").returncode == 66
    assert ctl("check", text="\n").returncode == 65


def test_explain_flush_invalidate(good, ctl):
    check(ctl.daemon.client(), "good")
    found = parsed(ctl("explain", "good", "--json"))
    assert found["verdict"] == "ALLOW" and found["tier"] == "memory"
    assert "within its ttl" in ctl("explain", "good").stdout
    assert ctl("flush").stdout == "1 row written\n"
    assert parsed(ctl("flush", "--json")) == {"rows": 0}
    assert ctl("invalidate", "good").returncode == 0
    assert parsed(ctl("explain", "good", "--json"))["tier"] == "postgres"
    assert ctl("invalidate", "--all").returncode == 0
    assert ctl("invalidate", "--all", "good").returncode == 64


def test_config_reload_clients(ctl):
    assert parsed(ctl("config", "cache.ttl", "--json")) == {"cache.ttl": "1m"}
    assert "listen.max_connections" in ctl("config").stdout
    assert ctl("config", "no.such").returncode == 1
    assert ctl("reload").stdout == "OK\n"
    client = ctl.daemon.client(client_name="somebody")
    client.ping()
    found = parsed(ctl("clients", "--json"))
    mine, = [one for one in found if one["name"] == "somebody"]
    assert mine["socket"] == "check" and mine["pid"] == os.getpid()
    lines = ctl("clients").stdout.splitlines()
    assert lines[0].split()[:3] == ["ID", "SOCKET", "NAME"] and "somebody" in "".join(lines)
    client.close()


def test_stats_are_status_json(db, ctl):
    db.add_key("good")
    check(ctl.daemon.client(), "good")
    found = parsed(ctl("stats", "--json"))
    assert found["checks"]["total"]["allow"] == 1 and found["ready"] is True
    text = ctl("stats").stdout
    for line in (f"apikeyd {VERSION}, up for", "PostgreSQL    up    2 of 2 connections",
                 "Redis         up", "change feed   up", "usage         1 keys pending"):
        assert line in text, text


def test_stats_watched_is_a_line_each(ctl):
    argv = [str(CTL), "--socket", str(ctl.daemon.admin), "stats", "--json", "--watch=0.2"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as watching:
        first, second = (json.loads(watching.stdout.readline()) for _ in range(2))
        watching.terminate()
    assert second["uptime_seconds"] > first["uptime_seconds"] + 0.15
    assert run("stats", "--watch=soon").returncode == 64


def test_health_by_exit_status(ctl, postgres, redis_server):
    assert ctl("health").returncode == 0
    postgres.stop()
    redis_server.stop()
    wait_until(lambda: ctl("health").returncode == 1, "the stores to be seen as down")
    found = parsed(ctl("health", "--json"), 1)
    assert found["ready"] is False and "PostgreSQL is down" in found["readiness"]
    ctl.daemon.stop()
    assert ctl("health").returncode == 69


def test_failures_say_what_to_do(ctl, scratch):
    done = run("--socket", scratch / "none.sock", "stats")
    assert done.returncode == 69 and "Is apikeyd running" in done.stderr and "--socket" in done.stderr
    done = run("--socket", ctl.daemon.check, "flush")
    assert done.returncode == 1 and "admin socket" in done.stderr
    ctl.daemon.kill()
    done = ctl("stats")
    assert done.returncode == 69 and "not running" in done.stderr
    done = run("--config", scratch / "none.conf", "stats")
    assert done.returncode == 78 and "none.conf" in done.stderr


def test_a_daemon_is_asked_whose_file_has_errors(start):
    """It read the file when that was right."""
    daemon = start()
    with open(daemon.config, "a", encoding="ascii") as file:
        file.write("[cache]\nttl = 5\nnonsense\n")
    done = run("--config", daemon.config, "health", "--json")
    assert parsed(done)["ready"] is True
    assert "has errors (see apikeyd --check-config)" in done.stderr and str(daemon.admin) in done.stderr
    done = run("--config", daemon.config, "reload")
    assert done.returncode == 78 and "nothing changed: " in done.stderr and 'cache.ttl "5"' in done.stderr


def test_without_permission(ctl):
    """Root may everything, so it becomes somebody else; others lock themselves out."""
    copy = ctl.daemon.folder / "apikeyctl"
    shutil.copy(CTL, copy)
    copy.chmod(0o755)
    other = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
    if not other:
        ctl.daemon.admin.chmod(0)
    done = subprocess.run([copy, "--socket", ctl.daemon.admin, "stats"], capture_output=True,
                          text=True, timeout=60, check=False, **other)
    assert done.returncode == 77 and "sudo" in done.stderr, done.stderr


def test_bad_usage(ctl):
    for arguments in ((), ("nonsense",), ("keys",), ("keys", "nonsense"), ("flush", "now"),
                      ("flush", "--user", "x"), ("--nonsense",), ("keys", "create"),
                      ("keys", "create", "--user", str(uuid.uuid4()), "--name", "x", "--active", "on")):
        assert ctl(*arguments).returncode == 64, arguments
    assert "usage:" in run("--help").stdout
    assert "--watch[=SECONDS]" in run("stats", "--help").stdout
    assert run("--version").stdout == f"apikeyctl {VERSION}\n"


@pytest.fixture
def keys(db, ctl):
    """As the owner of the table: the daemon's own role may only read it."""
    owner = {"APIKEYCTL_DSN": db.dsn.replace("user=apikeyd", "user=postgres")}

    def ask(*arguments, **options):
        return ctl("keys", *arguments, env=owner, **options)
    return ask


def test_a_new_key_works_at_once_and_is_shown_once(db, ctl, keys):
    done = keys("create", "--user", db.user_id, "--name", "Production Key", "--json")
    made = parsed(done)
    assert re.fullmatch(r"key_[A-Za-z0-9]{30}", made["key_id"])
    assert made["active"] is True and made["last_used"] is None and made["name"] == "Production Key"
    assert check(ctl.daemon.client(), made["key_id"]) == ["ALLOW", made["api_key_id"], str(db.user_id)]
    for arguments in (("list",), ("list", "--json"), ("show", made["api_key_id"]),
                      ("rename", made["api_key_id"], "New")):
        shown = keys(*arguments)
        assert shown.returncode == 0, shown.stderr
        assert made["key_id"] not in shown.stdout + shown.stderr
        assert made["fingerprint"] in shown.stdout
    assert parsed(ctl("explain", made["key_id"], "--json"))["key"] == made["fingerprint"]


def test_keys_made_differ(db, keys):
    made = [parsed(keys("create", "--user", db.user_id, "--name", "x", "--json")) for _ in range(5)]
    assert len({one["key_id"] for one in made}) == len({one["api_key_id"] for one in made}) == 5
    assert all(uuid.UUID(one["api_key_id"]).version == 4 for one in made)


def test_a_given_key_inactive_at_first(db, ctl, keys):
    done = keys("create", "--user", db.user_id, "--name", "x", "--key-id", "-", "--active", "no",
                "--json", text="hand-made key\n")
    assert parsed(done)["key_id"] == "hand-made key"
    assert check(ctl.daemon.client(), "hand-made key") == ["DENY", "inactive"]
    again = keys("create", "--user", db.user_id, "--name", "x", "--key-id", "hand-made key")
    assert again.returncode == 1 and "in the table already" in again.stderr
    assert keys("create", "--user", db.user_id, "--name", "x", "--key-id", "k" * 256).returncode == 65
    assert keys("create", "--user", db.user_id, "--name", "x", "--key-id", b"\xff\xfe".decode(
        "latin1").encode("latin1").decode("utf-8", "surrogateescape")).returncode == 65


def test_list_is_newest_first_with_inactive_ones(db, keys):
    other = db.add_user(uuid.uuid4())
    for name, user in (("first", db.user_id), ("second", db.user_id), ("theirs", other)):
        keys("create", "--user", user, "--name", name)
    oldest, = [one for one in parsed(keys("list", "--json")) if one["name"] == "first"]
    assert parsed(keys("deactivate", oldest["api_key_id"], "--json"))["active"] is False
    assert [one["name"] for one in parsed(keys("list", "--json"))] == ["theirs", "second", "first"]
    mine = parsed(keys("list", "--user", db.user_id, "--json"))
    assert [(one["name"], one["active"]) for one in mine] == [("second", True), ("first", False)]
    lines = keys("list", "--user", db.user_id).stdout.splitlines()
    assert len(lines) == 3 and lines[0].startswith("API_KEY_ID") and " no " in lines[2]


def test_deactivate_activate_delete_take_effect(db, ctl, keys):
    made = parsed(keys("create", "--user", db.user_id, "--name", "x", "--json"))
    client, key, row = ctl.daemon.client(), made["key_id"], made["api_key_id"]
    assert check(client, key)[0] == "ALLOW"
    assert keys("deactivate", row).returncode == 0
    wait_until(lambda: check(client, key) == ["DENY", "inactive"], "the deactivation")
    assert keys("activate", row).returncode == 0
    wait_until(lambda: check(client, key)[0] == "ALLOW", "the activation")
    before = parsed(keys("show", row, "--json"))
    renamed = parsed(keys("rename", row, "y", "--json"))
    assert renamed["updated_at"] > before["updated_at"]
    assert {**renamed, "name": "x", "updated_at": before["updated_at"]} == before
    assert keys("delete", row).returncode == 0
    wait_until(lambda: check(client, key) == ["DENY", "unknown"], "the deletion")
    assert keys("show", row).returncode == 1


def test_a_key_belongs_to_its_user(db, keys):
    other = db.add_user(uuid.uuid4())
    row = parsed(keys("create", "--user", db.user_id, "--name", "x", "--json"))["api_key_id"]
    for arguments in (("show", row), ("rename", row, "y"), ("deactivate", row), ("delete", row)):
        done = keys(*arguments, "--user", other)
        assert done.returncode == 1 and "there is no key" in done.stderr
    assert parsed(keys("show", row, "--user", db.user_id, "--json"))["name"] == "x"


def test_the_database_refuses(db, ctl, keys):
    assert "there is no user" in keys("create", "--user", uuid.uuid4(), "--name", "x").stderr
    row = parsed(keys("create", "--user", db.user_id, "--name", "x", "--json"))["api_key_id"]
    done = ctl("keys", "delete", row)  # as the daemon's role
    assert done.returncode == 77 and "--dsn" in done.stderr
    done = ctl("keys", "list", "--dsn", "host=/nonexistent")
    assert done.returncode == 69 and "--dsn" in done.stderr


def test_an_id_that_is_no_uuid_is_told_before_the_database_is_asked(db, ctl, keys):
    good = str(uuid.uuid4())
    for arguments in (("show", "nonsense"), ("show", good[:-1]), ("rename", good + "0", "x"), ("delete", ""),
                      ("list", "--user", good.replace("-", "")), ("show", good, "--user", "g" + good[1:]),
                      ("create", "--user", f"{{{good}}}", "--name", "x")):
        done = ctl("keys", *arguments, "--dsn", "host=/nonexistent")
        assert done.returncode == 65 and "a UUID is expected" in done.stderr, (arguments, done.stderr)
    assert keys("list", "--user", str(db.user_id).upper()).returncode == 0


def test_with_a_transformed_column(db, start, scratch):
    secret = scratch / f"pepper-{db.name}"
    secret.write_text("pepper\n")
    daemon = start({"postgres.key_transform": "hmac-sha256",
                    "postgres.key_transform_secret_file": secret})
    owner = db.dsn.replace("user=apikeyd", "user=postgres")
    made = parsed(run("--config", daemon.config, "keys", "create", "--user", db.user_id, "--name", "x",
                      "--dsn", owner, "--json"))
    assert check(daemon.client(), made["key_id"])[0] == "ALLOW"
    stored = db.one("SELECT key_id FROM api.user_api_key")
    assert re.fullmatch("[0-9a-f]{64}", stored) and made["key_id"] not in stored


def test_timestamp_columns_are_shown_in_utc(db, keys):
    row = parsed(keys("create", "--user", db.user_id, "--name", "x", "--json"))["api_key_id"]
    db.run("ALTER TABLE api.user_api_key ALTER last_used TYPE timestamp")
    db.run("UPDATE api.user_api_key SET last_used = '2026-01-02 03:04:05'")
    shown = subprocess.run([str(CTL), "keys", "show", row, "--json", "--dsn",
                            db.dsn.replace("user=apikeyd", "user=postgres")], capture_output=True,
                           text=True, timeout=60, check=True,
                           env={**os.environ, "PGTZ": "America/New_York", "TZ": "Asia/Tokyo"})
    assert json.loads(shown.stdout)["last_used"] == "2026-01-02T03:04:05.000000Z"


def test_names_cannot_steer_the_terminal(db, keys):
    keys("create", "--user", db.user_id, "--name", "\x1b[2Jevil\x9b2J\rname")
    shown = keys("list").stdout
    assert "\x1b" not in shown and "\x9b" not in shown and "\r" not in shown
    assert "?[2Jevil??2J?name" in shown


def in_terminal(argv, when, act):
    """What the program draws on a terminal of 100 columns, and its status. Once it has drawn `when`,
    act() is called, and what that returns is typed."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(TERM="xterm", COLUMNS="100", LINES="40")
        os.execv(argv[0], argv)
    drawn, begin = b"", time.monotonic()
    try:
        while True:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    drawn += os.read(master, 65536)
                except OSError:  # it ended
                    break
            if act and when in drawn:
                os.write(master, act() or b"")
                act = None
            assert time.monotonic() - begin < HANG, drawn
    finally:
        os.close(master)
    return drawn.decode(errors="replace"), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_top_shows_the_busiest_clients(db, ctl):
    db.add_key("good")
    client = ctl.daemon.client(client_name="busybee")
    check(client, "good")
    drawn, status = in_terminal([str(CTL), "--socket", str(ctl.daemon.admin), "top"],
                                b"busybee", lambda: b"q")
    assert status == 0
    for text in ("checks", "PostgreSQL", "Redis", "REQUESTS/S", "busybee"):
        assert text in drawn, drawn
    assert ctl("top").returncode == 64  # no terminal
    client.close()


def test_top_leaves_the_screen_when_the_daemon_goes(ctl):
    os.environ["APIKEYCTL_SOCKET"] = str(ctl.daemon.admin)
    try:
        drawn, status = in_terminal([str(CTL), "top"], b"checks", ctl.daemon.stop)
    finally:
        del os.environ["APIKEYCTL_SOCKET"]
    assert status == 69
    assert "apikeyctl: " in drawn.rsplit("\x1b[?1049l", 1)[-1], "said on the screen that stays"


def test_a_key_is_not_echoed(db, ctl):
    db.add_key("good-secret")
    drawn, status = in_terminal([str(CTL), "--socket", str(ctl.daemon.admin), "check"],
                                b"key: ", lambda: b"good-secret\n")
    assert status == 0 and "ALLOW" in drawn and "good-secret" not in drawn


def completions(line):
    """What bash would offer at the end of the line."""
    script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))\n'
              "_apikeyctl; printf '%s\\n' \"${COMPREPLY[@]}\"")
    done = subprocess.run(["bash", "-c", script, "bash", ROOT / "ctl" / "apikeyctl.bash", *line.split(" ")],
                          capture_output=True, text=True, timeout=30, check=True,
                          env={**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}"})
    return set(done.stdout.split())


def test_completion():
    assert {"check", "explain", "keys", "health", "top"} <= completions("apikeyctl ")
    assert completions("apikeyctl st") == {"stats"}
    assert completions("apikeyctl keys d") == {"deactivate", "delete"}
    assert "--watch" in completions("apikeyctl stats --")
    assert "--watch" not in completions("apikeyctl flush --")
    assert completions("apikeyctl keys create --a") == {"--active"}
    assert completions("apikeyctl keys create --active ") == {"yes", "no"}


def test_keys_need_the_daemon_for_nothing(db):
    owner = db.dsn.replace("user=apikeyd", "user=postgres")
    assert parsed(run("keys", "list", "--json", "--dsn", owner)) == []
    with psycopg.connect(owner) as connection:
        assert connection.execute("SELECT count(*) FROM api.user_api_key").fetchone() == (0,)
