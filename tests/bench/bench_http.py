"""./dev bench http [ROUNDS]: nginx with auth_request, to apikeyd and to an nginx that says yes.

One nginx serves one small file at two addresses. At the first auth_request goes to apikeyd, at the
second to another nginx, which answers every subrequest with `return 204`, also over a Unix socket with
keepalive: the baseline for any authorizer. wrk asks them in turn with 1,000 keys, all of them cached.
"""

import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import Report  # noqa: E402
from harness.gateways import free_port  # noqa: E402
from harness.servers import (Apikeyd, Postgres, Process, Redis, Scratch, accepts, migrate,  # noqa: E402
                             wait_until)

KEYS, SECONDS = 1000, 3

COMMON = """daemon off; worker_processes 1; pid {folder}/pid; error_log stderr warn; events {{}}
http {{
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
    uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    {servers}
}}
"""
YES = "server {{ listen unix:{socket}; location / {{ return 204; }} }}"
ASKING = """
    upstream {name} {{ server unix:{socket}; keepalive 32; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{ auth_request /_ask; root {folder}; }}
        location = /_ask {{
            internal; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_pass_request_body off; proxy_set_header Content-Length "";
            proxy_pass http://{name}/authorize;
        }}
    }}"""

WRK = """
local n = 0
local requests = {{}}
init = function(args)
    for i = 0, {keys} - 1 do
        requests[i] = wrk.format("GET", "/file", {{["X-API-Key"] = "key-" .. i}})
    end
end
request = function()
    n = (n + 1) % {keys}
    return requests[n]
end
"""


def start_nginx(folder, servers):
    folder.mkdir()
    folder.chmod(0o755)
    (folder / "file").write_text("served\n")
    config = folder / "nginx.conf"
    config.write_text(COMMON.format(folder=folder, servers=servers.replace("FOLDER", str(folder))))
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    return Process([nginx, "-p", folder, "-e", "stderr", "-c", config], folder.with_suffix(".log"))


def prepare(postgres, redis_server, folder):
    postgres.start()
    redis_server.start()
    postgres.create_database("bench")
    assert migrate(postgres.uri("bench")).returncode == 0
    user = uuid.uuid4()
    with psycopg.connect(postgres.dsn("bench"), autocommit=True) as db:
        db.execute('INSERT INTO api."user" (user_id) VALUES (%s)', [user])
        db.execute("INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id) "
                   "SELECT gen_random_uuid(), 'bench', 'key-' || n, %s "
                   "FROM generate_series(0, %s) AS n", [user, KEYS - 1])
    daemon = Apikeyd(folder / "d", {
        "postgres.dsn": postgres.dsn("bench", "apikeyd"), "redis.url": redis_server.url(),
        "listen.http": folder / "http.sock", "listen.check_mode": "0666"})
    daemon.start()
    wait_until(daemon.settled, "the daemon")
    return daemon


def wrk(port, script):
    """Requests a second; every one must have been served."""
    done = subprocess.run(["wrk", "-t", "1", "-c", "32", "-d", f"{SECONDS}s", "-s", str(script),
                           f"http://127.0.0.1:{port}/file"], capture_output=True, text=True,
                          check=True)
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout).group(1))


def measure(ports, script, rounds):
    report = Report("http (requests a second)", rounds)
    for name, port in ports.items():
        wrk(port, script)  # warms up
    for i in range(rounds):
        for name in sorted(ports, reverse=i % 2):
            report.add(name, wrk(ports[name], script))
    return report


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    scratch = Scratch()
    folder = scratch.path
    folder.chmod(0o755)
    postgres, redis_server = Postgres(folder / "pg"), Redis(folder / "redis")
    running = [redis_server, postgres]
    try:
        daemon = prepare(postgres, redis_server, folder)
        running.insert(0, daemon)
        baseline = folder / "baseline.sock"
        running.insert(0, start_nginx(folder / "yes", YES.format(socket=baseline)))
        wait_until(lambda: accepts(baseline), "nginx")
        sockets = {"apikeyd": folder / "http.sock", "nginx, return 204": baseline}
        ports = {name: free_port() for name in sockets}
        asking = "".join(ASKING.format(name=f"authorizer{i}", socket=sockets[name], port=port,
                                       folder="FOLDER")
                         for i, (name, port) in enumerate(ports.items()))
        running.insert(0, start_nginx(folder / "asks", asking))
        script = folder / "keys.lua"
        script.write_text(WRK.format(keys=KEYS))
        wait_until(lambda: subprocess.run(["wrk", "-d", "1s", "-c", "1", "-t", "1", "-s", str(script),
                                           f"http://127.0.0.1:{ports['apikeyd']}/file"],
                                          capture_output=True, check=False).returncode == 0, "nginx")
        report = measure(ports, script, rounds)
        counts = daemon.admin_client().info()
        report.print()
        report.judge("apikeyd", "nginx, return 204", 0.9)
        print(f"{counts['http_requests']:,} asked of apikeyd, {counts['checks_from_memory']:,} "
              "answered from memory")
        report.save()
    finally:
        for server in running:
            if isinstance(server, Process) or server.process:
                server.stop()
        scratch.remove()


if __name__ == "__main__":
    main()
