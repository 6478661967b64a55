"""Real Redis clients as clients of the check socket."""

import os
import re
import subprocess
from pathlib import Path

import redis
import pytest
from conftest import check
from harness.servers import BUILD

HERE = Path(__file__).resolve().parent


def run(argv, **options):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=120,
                          check=True, **options).stdout


def test_redis_cli(db, daemon):
    api_key_id = db.add_key("good")
    assert run(["redis-cli", "-s", daemon.check, "CHECK", "good"]).split() == [
        "ALLOW", str(api_key_id), str(db.user_id)]
    assert run(["redis-cli", "-s", daemon.check], input="PING\nCHECK none\n").split() == [
        "PONG", "DENY", "unknown"]
    # -3 asks for RESP3 first and goes on when it is refused.
    assert "DENY" in run(["redis-cli", "-3", "-s", daemon.check, "CHECK", "none"])


def test_redis_py(db, daemon):
    api_key_id = db.add_key("good")
    client = redis.Redis(unix_socket_path=str(daemon.check), client_name="gateway",
                         health_check_interval=1)
    assert check(client, "good")[1] == str(api_key_id).encode()
    with client.pipeline(transaction=False) as pipeline:
        for _ in range(3000):
            pipeline.execute_command("CHECK", "good")
        assert {reply[0] for reply in pipeline.execute()} == {b"ALLOW"}


def test_hiredis(db, daemon):
    api_key_id = db.add_key("good")
    out = run([BUILD / "tests" / "integration" / "hiredis_client", daemon.check, "good", "none"])
    assert out.splitlines() == [f"ALLOW {api_key_id} {db.user_id}", "DENY unknown"]


@pytest.mark.slow
@pytest.mark.needs("nodejs", "node-redis")
def test_node_redis(db, daemon):
    api_key_id = db.add_key("good")
    out = run(["/usr/bin/nodejs", HERE / "node_client.js", daemon.check, "good", "none"],
              env={**os.environ, "NODE_PATH": "/usr/share/nodejs"})
    assert out.splitlines() == [f"ALLOW {api_key_id} {db.user_id}", "DENY unknown"]


def test_redis_benchmark(db, daemon):
    db.add_key("good")
    out = run(["redis-benchmark", "-s", daemon.check, "-n", "20000", "-c", "20", "-P", "16", "-q",
               "CHECK", "good"])
    assert re.search(r"CHECK good: [0-9.]+ requests per second", out)
    assert db.last_used("good") is None
    assert daemon.admin_client().execute_command("FLUSH") == 1
    assert db.last_used("good") is not None
