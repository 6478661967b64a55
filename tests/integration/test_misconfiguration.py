"""Every way to misconfigure: --check-config, a start and a reload say the same."""

import os
import shutil
import subprocess

import pytest
import redis
from conftest import check
from harness.misconfiguration import DATABASE, RIGHT, TOGETHER, WRONG, Case, all_cases, document, play, stage
from harness.servers import BUILD, ROOT, Apikeyd, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.builds("release")]


@pytest.fixture(scope="module")
def place():
    with stage() as made:
        yield made


@pytest.fixture(scope="module")
def results(place):
    return play(place)


@pytest.fixture
def running(place):
    """A daemon that was started with a right configuration; no store is there."""
    daemon = Apikeyd(place.folder, {name: value.replace("{folder}", str(place.folder))
                                    for name, value in RIGHT.items()})
    daemon.start()
    yield daemon
    assert daemon.stop() == 0


def test_check_and_start_agree(results):
    assert len(results) == len(all_cases()) > 250
    for name, (checked, started) in results.items():
        assert checked[0] and checked[1] == 78, name
        assert started == checked, name


def test_no_password_is_told(results):
    assert sum("hunter2" in name for name in results) > 10
    for name, (checked, _) in results.items():
        assert not any("hunter2" in line for line in checked[0]), name


def test_each_option_has_a_case():
    done = subprocess.run([BUILD / "apikeyd", "--list", "options"], capture_output=True, text=True,
                          check=True)
    options = {line.split("`")[1] for line in done.stdout.splitlines()[2:]}
    assert set(WRONG) == options
    assert all(set(options_) <= options for options_ in TOGETHER)


def test_the_page_is_up_to_date(results):
    """/usr/bin/python3 tests/harness/misconfiguration.py > docs/misconfiguration.md"""
    assert (ROOT / "docs" / "misconfiguration.md").read_text() == document(results)


def test_a_reload_says_the_same(place, running, results):
    admin = running.admin_client()
    before = admin.config_get("*")
    logged = []
    for case in all_cases():
        if case.env:
            continue
        place.write(case)
        with pytest.raises(redis.ResponseError) as refused:
            admin.execute_command("RELOAD")
        sentences = results[case.name][0][0]
        assert place.shown(str(refused.value)) == "nothing changed: " + "; ".join(sentences), case.name
        logged += [f"apikeyd: error: reload: {line}" for line in sentences]
    wait_until(lambda: not set(logged) - set(place.shown(running.log()).splitlines()), "the lines")
    assert admin.config_get("*") == before
    place.write(Case("right", {"cache.ttl": "77s"}))
    assert admin.execute_command("RELOAD") == "OK"
    assert admin.config_get("cache.ttl") == {"cache.ttl": "77s"}


def test_what_may_come_later_is_no_error(place):
    """A host that does not resolve, a server that is down, a service that is not defined yet."""
    later = Case("later", {"redis.url": "redis://:hunter2@redis.invalid:6379/0",
                           "postgres.dsn": "service=not_there_yet", "listen.http": "192.0.2.1:8080"})
    assert place.run(later, "--check-config") == ([], 0)


def test_what_the_database_may_hold(db, start, place):
    """The daemon starts and says so, and so does apikeyctl; a mended table needs no restart."""
    daemons = {}
    for number, (fault, (statements, options, *_)) in enumerate(DATABASE.items()):
        name = f"case{number}"
        db.run(f"CREATE TABLE api.{name} (LIKE api.user_api_key INCLUDING ALL, hash text); GRANT ALL ON api.{name} TO apikeyd")
        db.run(statements.format(t=f"api.{name}", n=name))
        daemons[fault] = start({"redis.url": "", "postgres.table": f"api.{name}", "postgres.connections": "1", **{
            option: value.replace("{folder}", str(place.folder)) for option, value in options.items()}}, settled=False)
    for fault, (_, _, logged, checked) in DATABASE.items():
        daemon, table = daemons[fault], daemons[fault].options["postgres.table"]

        def says(text, heard, t=table):
            return all(part in heard for part in text.format(t=t, f="{f}").split("{f}"))
        done = subprocess.run([BUILD / "apikeyctl", "schema", "check", "--config", daemon.config, "--dsn", db.admin_dsn, "--role",
                               "apikeyd"], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and says(checked, done.stdout), (fault, done.stdout + done.stderr)

        def told(d=daemon, text=logged):
            try:
                answer = check(d.client(), "key")
            except redis.ResponseError as error:
                answer = str(error)
            return says(text, d.log()) if text else answer == ["DENY", "unknown"]
        wait_until(told, f"{fault} to be told")


def test_an_exposed_secret_is_warned_of(place):
    secret = place.folder / "open"
    secret.write_text("s" * 32)
    secret.chmod(0o644)
    said, status = place.run(Case("open", {"postgres.key_transform": "hmac-sha256",
                                           "postgres.key_transform_secret_file": "{folder}/open"}), "--check-config")
    assert status == 0 and len(said) == 1
    assert f"`{said[0][said[0].index('postgres.key_transform'):]}`" in (ROOT / "docs" / "misconfiguration.md").read_text()


def test_what_the_user_may_not_read(place):
    """The check is made with the rights of the user that makes it."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    program = place.folder / "apikeyd"
    shutil.copy(BUILD / "apikeyd", program)
    place.folder.chmod(0o755)
    secret = place.folder / "guarded"
    secret.write_text("s" * 32)
    secret.chmod(0o600)
    place.write(Case("guarded", {"redis.secret_file": "{folder}/guarded"}))

    def run(*args):
        done = subprocess.run([program, "-c", place.config, *args], user="nobody", group="nogroup",
                              extra_groups=[], capture_output=True, text=True, timeout=60, check=False)
        return place.shown(done.stderr), done.returncode

    refusal = ('apikeyd.conf:7: redis.secret_file "/srv/guarded": Permission denied\n', 78)
    assert run("--check-config") == run() == refusal
    place.config.chmod(0o600)
    refusal = ("apikeyd.conf: the configuration cannot be read: Permission denied\n", 78)
    assert run("--check-config") == run() == refusal
    place.config.chmod(0o644)
    program.unlink()
