"""Configuration as people meet it: files, mistakes, the environment."""

import os
import subprocess

import pytest
import redis
from conftest import check
from harness.servers import BUILD, VERSION


def run(*args, env=None):
    return subprocess.run([BUILD / "apikeyd", *map(str, args)], capture_output=True, text=True,
                          timeout=30, check=False, env={**os.environ, **(env or {})})


def test_the_sample_file_is_fine(tmp_path):
    sample = run("--sample-config")
    assert sample.returncode == 0
    path = tmp_path / "apikeyd.conf"
    path.write_text(sample.stdout)
    # The directories that the package makes.
    env = {"APIKEYD_LISTEN_CHECK": f"{tmp_path}/check", "APIKEYD_LISTEN_ADMIN": f"{tmp_path}/admin",
           "APIKEYD_USAGE_LEDGER": f"{tmp_path}/ledger", "APIKEYD_USAGE_SPILL": f"{tmp_path}/spill"}
    done = run("-c", path, "--check-config", env=env)
    assert done.returncode == 78 and done.stderr.startswith("postgres.dsn (the default): the database has to be named")
    done = run("-c", path, "--check-config", env={**env, "PGSERVICE": "app"})
    assert (done.returncode, done.stdout) == (0, f"{path}: fine\n")
    done = run("-c", path, "--check-config", env={**env, "APIKEYD_POSTGRES_DSN": "dbname=app"})
    assert (done.returncode, done.stdout) == (0, f"{path}: fine\n")
    # So is what it shows, once the comment signs are gone.
    uncommented = "\n".join(line[1:] if line.startswith("#") and not line.startswith("# ") else line
                            for line in sample.stdout.splitlines())
    path.write_text(uncommented + "\n")
    assert run("-c", path, "--check-config", env={**env, "PGSERVICE": "app"}).returncode == 0


def test_mistakes_exit_78_and_name_the_place(tmp_path):
    path = tmp_path / "apikeyd.conf"
    path.write_text("[redis]\ntimeout = 20\nfoo = bar\n")
    for args in (["-c", path], ["-c", path, "--check-config"]):
        done = run(*args)
        assert done.returncode == 78
        assert f"{path}:2: redis.timeout \"20\": a duration needs a unit" in done.stderr
        assert f"{path}:3: redis.foo: there is no such option" in done.stderr


def test_a_configuration_that_could_be_read_once_only_is_not_taken_for_an_empty_one(start):
    """`apikeyd -c <(decrypt …)`: a reload finds the pipe at its end, and must not go on with the defaults."""
    daemon = start({"listen.allow_uids": os.getuid()},
                   inside=["bash", "-c", 'exec "${@:1:$#-1}" <(cat "${!#}")', "bash"])
    with pytest.raises(redis.ResponseError, match="nothing changed: .* the configuration cannot be read: No data"):
        daemon.admin_client().execute_command("RELOAD")
    assert daemon.admin_client().config_get("listen.allow_uids") == {"listen.allow_uids": str(os.getuid())}


def test_missing_file(tmp_path):
    done = run("-c", tmp_path / "none.conf")
    assert done.returncode == 78
    assert done.stderr == f"{tmp_path}/none.conf: the configuration cannot be read: No such file or directory\n"


def test_bad_command_line():
    assert run("--nonsense").returncode == 64
    assert run("stray").returncode == 64
    assert run("--help").returncode == 0
    assert run("--version").stdout == f"apikeyd {VERSION}\n"


def test_environment_overrides_the_file(start):
    daemon = start({"cache.ttl": "10s"}, env={"APIKEYD_CACHE_TTL": "20s"})
    assert daemon.admin_client().config_get("cache.ttl") == {"cache.ttl": "20s"}
    assert check(daemon.client(), "none") == ["DENY", "unknown"]


def test_a_deprecated_name_works_and_is_warned_about_once(start):
    daemon = start({"postgres.patience": "70ms"})
    warning = "postgres.patience is deprecated; its name is postgres.soft_timeout now"
    assert daemon.log().count(warning) == 1
    admin = daemon.admin_client()
    assert admin.config_get("postgres.soft_timeout") == {"postgres.soft_timeout": "70ms"}
    assert admin.config_get("postgres.patience") == {"postgres.patience": "70ms"}
    assert "postgres.patience" not in admin.config_get("*")
    done = run("-c", daemon.config, "--check-config")
    assert done.returncode == 0 and done.stderr.count(warning) == 1
    assert "patience" not in run("--sample-config").stdout
    admin.execute_command("RELOAD")
    assert daemon.log().count("reload: ") == 1 and daemon.log().count(warning) == 2


def test_a_deprecated_name_beside_an_error(tmp_path):
    """The start is refused for the error alone, and leaves nothing behind."""
    path = tmp_path / "a.conf"
    sockets = f"[listen]\ncheck = {tmp_path}/check.sock\nadmin = {tmp_path}/admin.sock\n"
    path.write_text(f"{sockets}[postgres]\ndsn = dbname=none\npatience = 70ms\ntimeout = never\n")
    done = run("-c", path)
    assert done.returncode == 78 and done.stderr.count("\n") == 1 and "postgres.timeout" in done.stderr


def test_a_deprecated_variable_that_is_spelled_wrong_is_refused(tmp_path):
    path = tmp_path / "a.conf"
    path.touch()
    done = run("-c", path, "--check-config", env={"APIKEYD_POSTGRES_PATIENC": "70ms"})
    assert done.returncode == 78 and "did you mean APIKEYD_POSTGRES_SOFT_TIMEOUT?" in done.stderr
