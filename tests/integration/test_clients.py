"""Redis client libraries as clients of the check socket, each with its defaults.

What they do is in `clients`, a program for each library; docs/gateways.md lists their versions. Node.js is the one in
/usr/bin, whichever comes first in PATH; `./dev clients` installs the packages that `clients/package.json` names."""

import os
import re
import subprocess

import pytest
from coherence import LONG
from harness.servers import BUILD, HANG, ROOT

HERE = ROOT / "tests" / "integration" / "clients"
pytestmark = pytest.mark.builds("release")
STEPS = {"defaults", "pipeline", "transaction", "again"}
NODE = ["/usr/bin/node"]
GO_CLIENT = ROOT / "build" / "go" / "go_redis"
# The library, its program, and what it does beyond STEPS.
CLIENTS = {
    "node-redis 4": ([*NODE, HERE / "node_redis.js", "redis-4"], {"password"}),
    "node-redis 5": ([*NODE, HERE / "node_redis.js", "redis-5"], {"password", "pool"}),
    "node-redis 6": ([*NODE, HERE / "node_redis.js", "redis-6"], {"password", "pool"}),
    "ioredis": ([*NODE, HERE / "ioredis.js", "ioredis"], {"password", "pool"}),
    "iovalkey": ([*NODE, HERE / "ioredis.js", "iovalkey"], {"password", "pool"}),
    "redis-py": (["/usr/bin/python3", HERE / "redis_py.py"],
                 {"url", "pool", "watch", *(f"asyncio{step}" for step in ("", "-transaction", "-pool", "-url", "-again"))}),
    "phpredis": (["/usr/bin/php", HERE / "php.php"], {"password"}),
    "redis-rb": (["/usr/bin/ruby", HERE / "ruby.rb"], {"url", "pool"}),
    "Redis.pm": (["/usr/bin/perl", HERE / "perl.pl"], {"password"}),
    "lua-redis": (["/usr/bin/lua5.1", HERE / "lua.lua"], {"url"}),
    "go-redis": ([GO_CLIENT], {"pool"}),
    "hiredis": ([BUILD / "tests" / "integration" / "hiredis_client"], set()),
}


def build_go_client():
    """With Debian's libraries alone, which have no modules."""
    subprocess.run(["/usr/bin/go", "build", "-o", GO_CLIENT, HERE / "go_redis.go"], check=True, timeout=600,
                   env={**os.environ, "GO111MODULE": "off", "GOPATH": "/usr/share/gocode",
                        "GOCACHE": str(GO_CLIENT.parent / "cache")})


class Client:
    """One of the programs. It prints a line a step, and waits for the daemon's restart at "ready"."""

    def __init__(self, argv, daemon):
        self.child = subprocess.Popen(
            ["/usr/bin/timeout", str(HANG), *map(str, argv), daemon.check, "good", "none"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
            env={**os.environ, "NODE_PATH": str(ROOT / "build" / "clients" / "node_modules")})
        self.lines = []

    def read(self, end=None):
        """Its lines until `end` or, as one that has failed says no such line, its end."""
        for line in self.child.stdout:
            if line.strip() == end:
                return
            self.lines.append(line.strip())

    def go_on(self):
        try:
            self.child.stdin.write("\n")
            self.child.stdin.flush()
        except BrokenPipeError:
            pass

    def stop(self):
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()


@pytest.mark.slow
@pytest.mark.needs("nodejs", "php-cli", "php-redis", "ruby", "ruby-redis", "libredis-perl", "lua5.1", "lua-redis",
                   "golang-go", "golang-gopkg-redis.v5-dev")
def test_libraries(db, start):
    """All of them on one daemon, which is restarted once under them."""
    expected = f"ALLOW {db.add_key('good')} {db.user_id} DENY unknown"
    versions = dict(re.findall(r"^\| ([\w.-]+(?: \d)?) \| ([\d.]+) \|", (ROOT / "docs" / "gateways.md").read_text(),
                               re.MULTILINE))
    subprocess.run([ROOT / "dev", "clients"], check=True, timeout=600)
    build_go_client()
    daemon = start(LONG)
    clients = {name: Client(argv, daemon) for name, (argv, _) in CLIENTS.items()}
    try:
        for client in clients.values():
            client.read("ready")
        assert daemon.stop() == 0
        daemon.start()
        for client in clients.values():
            client.go_on()
        failed = []
        for name, client in clients.items():
            client.read()
            wanted = {"version": versions[name], **dict.fromkeys(STEPS | CLIENTS[name][1], expected)}
            steps = [line.split(" ", 1) for line in client.lines if " " in line]
            found = {step: answers for step, answers in steps if step in wanted}
            if client.child.wait(HANG) != 0 or found != wanted:
                failed += [f"{name}:", *client.lines]
        assert not failed, "\n".join(failed)
    finally:
        for client in clients.values():
            client.stop()


def run(argv, **options):
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=120,
                          check=True, **options).stdout


def test_redis_cli(db, daemon):
    api_key_id = db.add_key("good")
    assert run(["redis-cli", "-s", daemon.check, "CHECK", "good"]).split() == [
        "ALLOW", str(api_key_id), str(db.user_id)]
    assert run(["redis-cli", "-s", daemon.check], input="PING\nCHECK none\n").split() == [
        "PONG", "DENY", "unknown"]
    for options in (["-3"], ["-2", "-a", "any"], ["--user", "default", "--pass", "any"]):
        assert "DENY" in run(["redis-cli", *options, "-s", daemon.check, "CHECK", "none"])


def test_redis_benchmark(db, daemon):
    db.add_key("good")
    out = run(["redis-benchmark", "-s", daemon.check, "-n", "20000", "-c", "20", "-P", "16", "-q",
               "CHECK", "good"])
    assert re.search(r"CHECK good: [0-9.]+ requests per second", out)
    assert db.last_used("good") is None
    assert daemon.admin_client().execute_command("FLUSH") == 1
    assert db.last_used("good") is not None
