"""Deploys the schema that `apikeyctl schema sql` prints for a configuration."""

import os
import subprocess

from harness.servers import BUILD


def deploy(dsn, **options):
    """deploy(dsn, expires_column="ends"): options of [postgres]."""
    env = {f"APIKEYD_POSTGRES_{name.upper()}": str(value) for name, value in options.items()}
    if "quota_column" in options:
        env["APIKEYD_USAGE_COUNTS"] = "hour"
    made = subprocess.run([BUILD / "apikeyctl", "schema", "sql", "--config", "/dev/null"], capture_output=True,
                          text=True, check=False, env={**os.environ, **env})
    assert made.returncode == 0, made.stderr
    done = subprocess.run(["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn], input=made.stdout,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
