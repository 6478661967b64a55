"""A cluster of two PostgreSQL servers under Patroni, with one etcd, on free ports of 127.0.0.1.

Debian's packages. Patroni takes over data directories that are there already (copies of a template's),
so nothing is made by initdb or pg_basebackup. Its times are short: a leader that died is replaced
within some ten seconds."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

import psycopg
import yaml
from harness.gateways import accepts, free_port
from harness.replication import DATABASE, SETTINGS, Node
from harness.servers import PG_BIN, Process, wait_until

SCOPE = "app"
NOISE = re.compile(r"(LOG: +(statement|execute|connection|replication connection|waiting for WAL)|DETAIL: +parameters|"
                   r"rejecting connections|database system is starting up|^\t)")
TIMES = {"ttl": 8, "loop_wait": 1, "retry_timeout": 3}  # seconds; ttl >= loop_wait + 2 * retry_timeout


class Etcd:
    """One member that keeps nothing for later."""

    def __init__(self, folder):
        self.folder = folder
        self.port, self.peer_port = free_port(), free_port()
        self.process = None

    def start(self):
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.port, self.peer_port))
        self.process = Process(
            ["etcd", "--name", "only", "--data-dir", self.folder / "data", "--listen-client-urls", client,
             "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", f"only={peer}"], self.folder.with_suffix(".log"))
        wait_until(lambda: accepts(self.port), "etcd")

    def stop(self):
        if self.process:
            self.process.stop()


class Member(Node):
    """A server and its Patroni."""

    def __init__(self, folder, cluster, etcd):
        self.etcd = etcd
        self.port, self.api_port = free_port(), free_port()
        self.config = folder / "patroni.yml"
        super().__init__(folder, cluster)

    def write_config(self):
        address, api = f"127.0.0.1:{self.port}", f"127.0.0.1:{self.api_port}"
        self.config.write_text(yaml.safe_dump({
            "scope": SCOPE, "name": self.folder.name, "restapi": {"listen": api, "connect_address": api},
            "etcd3": {"host": f"127.0.0.1:{self.etcd.port}"},
            "bootstrap": {"dcs": {**TIMES, "postgresql": {"use_pg_rewind": True, "use_slots": True}}},
            "postgresql": {
                "listen": address, "connect_address": address, "data_dir": str(self.data), "bin_dir": str(PG_BIN),
                "pgpass": str(self.folder / "pgpass"), "use_unix_socket": True,
                "pg_hba": ["local all all trust", "local replication all trust", "host all all 127.0.0.1/32 trust",
                           "host replication all 127.0.0.1/32 trust"],
                "authentication": {role: {"username": "postgres"} for role in ("superuser", "replication", "rewind")},
                "parameters": {"unix_socket_directories": str(self.folder), "fsync": "off", "max_connections": 60,
                               **dict(setting.split("=", 1) for setting in SETTINGS)}}}))

    def start(self):
        self.write_config()
        # It finds pg_rewind and the rest by bin_dir.
        self.process = Process(["patroni", self.config], self.folder.with_suffix(".log"), self.user,
                               env={**os.environ, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"})

    def api(self, page):
        """Whether Patroni's answer is 200."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/{page}", timeout=5):
                return True
        except OSError:  # HTTPError is one too
            return False

    def says(self, sql):
        with contextlib.suppress(psycopg.Error):
            return self.one(sql)
        return None

    def is_leader(self):
        """Which holds the lock, and has been promoted."""
        return self.api("primary") and self.says("SELECT NOT pg_is_in_recovery()")

    def is_replica(self):
        """One that streams."""
        return self.api("replica") and self.says("SELECT count(*) > 0 FROM pg_stat_wal_receiver "
                                                 "WHERE status = 'streaming'")

    def can_replace(self, leader):
        """Whether it streams, and has replayed what the leader has written. A replica whose leader died in the moment in
        which replication began was seen to come up no more: it waited for the WAL of the new timeline for ever."""
        with contextlib.suppress(psycopg.Error):
            return self.is_replica() and self.has_all_of(leader)
        return False

    def postmaster(self):
        """Patroni is not its parent. Its PID while it runs, or None."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            if str(self.data) in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
        return None

    def kill(self):
        """Patroni and the postmaster; its children end by themselves."""
        self.process.stop(signal.SIGKILL)
        self.process = None
        pid = self.postmaster()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.postmaster(), "the postmaster to end")

    def stop(self):
        """At once: Patroni would take its time to hand over."""
        if self.process:
            self.process.stop(signal.SIGKILL)
        self.process = None
        pid = self.postmaster()
        if pid:
            os.kill(pid, signal.SIGQUIT)
            wait_until(lambda: not self.postmaster(), "the postmaster to end")
        self.remove_shared_memory()

    def remove_shared_memory(self):
        """What a server left that was killed and not started again; shmget(2) outlives processes."""
        with contextlib.suppress(OSError, IndexError):
            segment = (self.data / "postmaster.pid").read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], check=False, stderr=subprocess.DEVNULL)

    def dsn(self, database, user="postgres"):
        return f"host={self.folder} port={self.port} user={user} dbname={database}"


class Cluster:
    """`a` and `b`; a is the leader at first."""

    def __init__(self, folder, template):
        folder.mkdir()
        folder.chmod(0o755)
        self.folder = folder
        self.etcd = Etcd(folder / "etcd")
        self.a, self.b = (Member(folder / name, template, self.etcd) for name in "ab")

    def start(self):
        self.etcd.start()
        self.a.start()
        wait_until(self.a.is_leader, "the first leader")
        self.b.start()
        wait_until(self.b.is_replica, "its replica")

    def leader(self):
        return next((member for member in (self.a, self.b) if member.is_leader()), None)

    def switch_over(self, member):
        """As operators do it: to one that has got everything, as Patroni promotes a member that lags a little, too."""
        old = self.leader()
        wait_until(lambda: member.has_all_of(old), f"{member.folder.name} to have what the leader wrote")
        done = subprocess.run(["patronictl", "-c", self.a.config, "switchover", SCOPE, "--candidate",
                               member.folder.name, "--force"], capture_output=True, text=True, check=False, timeout=60,
                              env={**os.environ, "LC_ALL": "C.UTF-8"})
        assert done.returncode == 0, done.stdout + done.stderr
        wait_until(member.is_leader, f"{member.folder.name} to be the leader")

    def dsn(self, database=DATABASE, user="postgres"):
        members = (self.a, self.b)
        return (f"host={','.join(str(m.folder) for m in members)} port={','.join(str(m.port) for m in members)} "
                f"user={user} dbname={database}")

    def print_logs(self):
        """What Patroni did, and what the servers say of their starts and ends."""
        for member in (self.a, self.b):
            log = member.folder.with_suffix(".log")
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            print(f"== {log.name}", *(line for line in lines if not NOISE.search(line)), sep="\n")

    def stop(self):
        for server in (self.b, self.a, self.etcd):
            server.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
