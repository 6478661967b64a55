"""./dev logins [S]: passwords and certificates that change, for S seconds (default 300) under load.

PostgreSQL takes the daemon's role by TLS and a SCRAM password only. The password changes about once a second, the old one
is void at once, and the password file follows up to 100 ms later: that is the switch. In every third switch each session
of the daemon ends, so that the next one meets the wrong password. Now and then the server's certificate is renewed too.
Keys are revoked and come back all the time. No answer may be wrong, and none UNAVAILABLE."""

import collections
import contextlib
import os
import random
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[1] / "integration")]
from harness.judged_load import Keys, judged_load  # noqa: E402
from harness.names import loopback  # noqa: E402
from harness.results import save, single  # noqa: E402
from harness.servers import Apikeyd, Postgres, Scratch, migrate, wait_until  # noqa: E402

SWITCH = 0.1  # seconds at most
DATABASE = "logins"


def openssl(*args, at=None):
    """At another time, as faketime(1) has it: OpenSSL 3.5 makes no certificate that has expired."""
    subprocess.run([*(["faketime", "-f", at] if at else []), "openssl", *map(str, args)], check=True, capture_output=True)


class Authority:
    """A certificate authority of its own in `folder`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.certificate, self.key = self.folder / "ca.crt", self.folder / "ca.key"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=authority",
                "-keyout", self.key, "-out", self.certificate)
        self.certificate.chmod(0o644)

    def issue(self, certificate, key, name, alternative=None, days=1, owner=None):
        """A certificate in place of the one there; one of -1 days has expired."""
        request, new = self.folder / "request", certificate.with_suffix(".new")
        extension = ["-addext", f"subjectAltName={alternative}"] if alternative else []
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                *extension, "-keyout", key.with_suffix(".newkey"), "-out", request)
        made = ["x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-days", max(days, 1),
                "-copy_extensions", "copy", "-out", new]
        openssl(*made, at=f"{days - 1}d" if days < 0 else None)
        for path, mode in ((new, 0o644), (key.with_suffix(".newkey"), 0o600)):
            path.chmod(mode)
            if owner:
                shutil.chown(path, owner)
        key.with_suffix(".newkey").rename(key)
        new.rename(certificate)


class LoginServer(Postgres):
    """A PostgreSQL with a migrated database, whose role apikeyd logs in by TLS and a password only; it logs each attempt."""

    def __init__(self, folder, **rest):
        self.address = loopback()
        folder = Path(folder)
        super().__init__(folder, [
            f"listen_addresses={self.address}", "ssl=on", f"ssl_cert_file={folder}/server.crt",
            f"ssl_key_file={folder}/server.key", "log_connections=on", "log_line_prefix=%n ", *rest.get("settings", ())])
        self.authority = Authority(folder.with_name(f"{folder.name}-ca"))
        self.passfile = folder.with_name(f"{folder.name}.pgpass")
        self.certify()
        (self.data / "pg_hba.conf").write_text(
            "local all postgres trust\nhostssl all apikeyd all scram-sha-256\n")

    def certify(self, **rest):
        """Another certificate, which the server takes at once."""
        self.authority.issue(self.folder / "server.crt", self.folder / "server.key", "database",
                             **{"alternative": f"IP:{self.address}", "owner": self.user, **rest})
        if self.process:
            self.run("SELECT pg_reload_conf()")

    def start(self):
        super().start()
        self.create_database(DATABASE)
        done = migrate(self.uri(DATABASE))
        assert done.returncode == 0, done.stdout + done.stderr
        self.change_password()

    def run(self, sql):
        with psycopg.connect(super().dsn(DATABASE), autocommit=True) as db:
            cursor = db.execute(sql)
            return cursor.fetchall() if cursor.description else None

    def set_password(self, password):
        self.run(f"ALTER ROLE apikeyd PASSWORD '{password}'")

    def write_passfile(self, password, mode=0o600):
        """In one step: no one reads half of it."""
        new = self.passfile.with_suffix(".new")
        new.write_text(f"{self.address}:*:*:apikeyd:{password}\n")
        new.chmod(mode)
        new.rename(self.passfile)

    def change_password(self, switch=0.0, between=lambda: None):
        """The server knows the new one first."""
        password = secrets.token_hex(8)
        self.set_password(password)
        between()
        time.sleep(switch)
        self.write_passfile(password)

    def end_sessions(self, older=0):
        """The daemon's that began so many seconds ago; how many."""
        return self.run("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'apikeyd' "
                        f"AND backend_start < clock_timestamp() - interval '{older} s'")[0][0]

    def login_dsn(self):
        return (f"host={self.address} user=apikeyd dbname={DATABASE} sslmode=verify-full "
                f"sslrootcert={self.authority.certificate} passfile={self.passfile}")

    def attempts(self):
        """When each attempt to connect by TCP came, in seconds."""
        return [float(at) for at in re.findall(r"^(\d+\.\d+) LOG:  connection received: host=127\.",
                                               self.process.log(), re.MULTILINE)]


def most_in_a_second(times):
    """The largest number of these times in any second."""
    recent, most = collections.deque(), 0
    for at in sorted(times):
        recent.append(at)
        while recent[0] <= at - 1:
            recent.popleft()
        most = max(most, len(recent))
    return most


def until(deadline, every, act):
    """Call act() until then, with pauses of about `every` seconds."""
    while time.monotonic() < deadline:
        time.sleep(every * random.uniform(0.7, 1.3))
        act()


class Troubles:
    """What changes while clients ask."""

    def __init__(self, server, keys, rng):
        self.server, self.keys, self.random = server, keys, rng
        self.count = collections.Counter({"passwords": 0, "sessions ended": 0, "certificates": 0, "changes of keys": 0})
        self.wrong = []

    def change_password(self):
        ends = self.count["passwords"] % 3 == 1
        self.server.change_password(self.random.uniform(0, SWITCH), self.end_sessions if ends else lambda: None)
        self.count["passwords"] += 1

    def end_sessions(self):
        """Those that the daemon does not take for ones that PostgreSQL ends at once."""
        self.count["sessions ended"] += self.server.end_sessions(2)

    def certify(self):
        self.server.certify()
        self.count["certificates"] += 1

    def change_key(self):
        name = self.random.choice(list(self.keys.rows))
        self.keys.set_active(name, not self.keys.rows[name][1])
        self.count["changes of keys"] += 1

    def run(self, seconds):
        """All of it, until so many seconds have passed."""
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self.watched, args=[end, *what]) for what in (
            (1.0, self.change_password), (min(10.0, seconds / 3), self.certify), (0.1, self.change_key))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def watched(self, *args):
        try:
            until(*args)
        except Exception as error:  # told at the end
            self.wrong.append(repr(error))


def play(server, daemon, seconds, seed=1):
    """What was wrong, and figures. The daemon has settled."""
    keys = Keys(server.dsn(DATABASE), [f"key-{i}" for i in range(20)])
    wrong = []
    with judged_load(daemon, keys) as load:
        troubles = Troubles(server, keys, random.Random(seed))
        began = time.time()
        troubles.run(seconds)
        ended = time.time()
        load.all_known()
        wrong += troubles.wrong
    times = [at for at in server.attempts() if began <= at <= ended]
    counts = daemon.admin_client().info()
    answers = sum(load.count.values())
    figures = {**troubles.count, "answers": answers, "UNAVAILABLE": load.count["UNAVAILABLE"],
               "lookups": counts["postgres_selects"], "logins": counts["postgres_connects"],
               "failed logins": counts["postgres_connects_failed_login"], "renewals": counts["postgres_renewals"],
               "attempts in a second, at most": most_in_a_second(times)}
    if load.count["UNAVAILABLE"]:
        wrong.append(f"{load.count['UNAVAILABLE']} answers were UNAVAILABLE: {dict(load.reasons)}")
    if figures["attempts in a second, at most"] > int(daemon.options["postgres.connects_per_second"]):
        wrong.append(f"{figures['attempts in a second, at most']} attempts to connect in a second")
    return wrong, figures


def options(server):
    """Verdicts are read again ten times a second, nothing is served stale, and sessions grow old soon."""
    return {"postgres.dsn": server.login_dsn(), "redis.url": "", "cache.ttl": "100ms", "cache.negative_ttl": "100ms",
            "cache.ttl_unlinked": "100ms", "cache.stale_max": "0s", "postgres.timeout": "2s", "postgres.max_age": "5s",
            "postgres.connects_per_second": "20"}


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    scratch = Scratch()
    server = LoginServer(scratch.path / "pg")
    daemon = None
    try:
        server.start()
        shutil.chown(server.passfile, os.geteuid())
        daemon = Apikeyd(scratch.path / "d", options(server))
        daemon.start()
        wait_until(daemon.settled, "the daemon")
        wrong, figures = play(server, daemon, seconds)
        if wrong:
            print(daemon.log()[-20000:])
    finally:
        for process in (daemon, server):
            if process and process.process:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.stop()
        scratch.remove()
    for name, value in figures.items():
        print(f"{name:30} {value:,}")
    if wrong:
        sys.exit("\n".join(wrong))
    save("logins", f"{seconds:g} s", single(figures))
    print("no wrong answer, none UNAVAILABLE")


if __name__ == "__main__":
    main()
