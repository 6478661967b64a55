"""The operations guide, walked in a Debian that systemd runs (tools/boot.py): ./dev boot.

The tests are steps of one machine's life, in this order: installed, configured, broken, mended, upgraded,
rebooted, removed. Commands of the guide are taken from it. Clients ask all the time while something
happens to the daemon: none may be refused, they wait, and each ALLOW has to be in last_used."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from boot import Machine
from harness.restarts import CLIENTS, KEYS, Client

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
HANG = 120


def wait_until(condition, what):
    end = time.monotonic() + HANG
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {HANG} s for {what}"
        time.sleep(0.02)
    return value


def guide(*words, page=GUIDE):
    """The one block of the guide in which all these words are, without its indent."""
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", page, re.MULTILINE)
    found = [block for block in blocks if all(word in block for word in words)]
    assert len(found) == 1, f"{words}: {len(found)} blocks of the guide"
    return re.sub(r"^    ", "", found[0], flags=re.MULTILINE)


@pytest.fixture(scope="module")
def package():
    found = list((ROOT / "build" / "package").glob("apikeyd_*.deb"))
    assert len(found) == 1, "./dev boot makes the package"
    return found[0]


@pytest.fixture(scope="module")
def machine(package):
    made = Machine(package)
    try:
        made.boot()
        yield made
        print(made.run("journalctl -u apikeyd -u 'apikeyd*.socket' --no-pager | tail -n 300", check=False).stdout)
    finally:
        made.close()


def sql(machine, statement, database="app"):
    return machine.run(f"runuser -u postgres -- psql -qAtX -v ON_ERROR_STOP=1 -d {database}", text=statement).stdout


def show(machine, prop, unit="apikeyd.service"):
    return machine.run(f"systemctl show -P {prop} {unit}").stdout.strip()


def main_pid(machine):
    return int(show(machine, "MainPID"))


def journal_since(machine, cursor):
    return machine.run(f"journalctl -u apikeyd --no-pager -o cat --after-cursor '{cursor}'").stdout


def cursor(machine):
    return re.search(r"^-- cursor: (.*)", machine.run("journalctl -n 1 --show-cursor -o cat").stdout, re.MULTILINE)[1]


def healthy(machine):
    return machine.run("apikeyctl health", check=False).returncode == 0


def configure(machine, text):
    """The file's text instead of the sample's."""
    (machine.root() / "etc/apikeyd/apikeyd.conf").write_text(text)  # owner and mode stay


def config(machine):
    return (machine.root() / "etc/apikeyd/apikeyd.conf").read_text()


class Load:
    """Clients that ask without a pause; see harness/restarts.py."""

    def __init__(self, machine):
        self.machine = machine
        path = machine.root() / "run/apikeyd/check.sock"
        self.clients = [Client(path, seed) for seed in range(CLIENTS)]

    def answers(self):
        return sum(client.answers for client in self.clients)

    def wait_for_answers(self):
        """From now on."""
        before = [client.answers for client in self.clients]
        wait_until(lambda: all(client.answers > n or client.wrong for client, n in zip(self.clients, before)), "answers")

    def judge(self):
        assert [client.wrong for client in self.clients if client.wrong] == []
        assert sum(client.refused for client in self.clients) == 0, "clients were refused"
        asked = {}
        for client in self.clients:
            for key, at in client.allowed.items():
                asked[key] = max(at, asked.get(key, 0))
        assert asked
        self.machine.run("apikeyctl flush")
        rows = sql(self.machine, "SELECT key_id, extract(epoch FROM last_used) FROM api.user_api_key")
        used = {name: float(at or 0) for name, at in (row.split("|") for row in rows.splitlines())}
        lost = [key for key, at in asked.items() if used[f"key-{key}"] < at - 0.001]
        assert not lost, f"usage lost: {lost}"
        print(f"{self.answers()} answers, {sum(client.connections for client in self.clients)} connections, "
              "0 refused, 0 usage lost")


@contextlib.contextmanager
def load(machine):
    """Clients before, while and after something happens."""
    made = Load(machine)
    for client in made.clients:
        client.start()
    try:
        made.wait_for_answers()
        yield made
        made.wait_for_answers()
    finally:
        for client in made.clients:
            client.ending = True
        for client in made.clients:
            client.join()
    made.judge()


def test_install(machine):
    """By the guide: the database, Redis, the package, the configuration, the units."""
    sql(machine, "CREATE DATABASE app", "postgres")
    machine.run(guide("unixsocketperm").replace("adduser apikeyd redis\n", ""))
    before, editing, after = guide("apt install", "editor").partition("editor")
    machine.run(before.replace("apt install", "apt-get install -y --no-install-recommends"))
    assert show(machine, "ActiveState") == "inactive", "it starts nothing by itself"
    done = machine.run("runuser -u apikeyd -- apikeyd --check-config", check=False)
    assert done.returncode == 78 and "postgres.dsn" in done.stderr, "the sample names no database"
    machine.run("adduser apikeyd redis")
    migrations = re.search(r"`sqitch deploy (db:pg:)//owner@host/(app)`", GUIDE)
    machine.run("cd /usr/share/apikeyd/migrations && runuser -u postgres -- "
                f"sqitch deploy {migrations[1]}{migrations[2]}")
    user = uuid.uuid4()
    sql(machine, f"""INSERT INTO api."user" (user_id) VALUES ('{user}');
        INSERT INTO api.user_api_key (api_key_id, key_name, key_id, user_id)
        SELECT gen_random_uuid(), 'walk', 'key-' || n, '{user}' FROM generate_series(0, {KEYS - 1}) AS n""")
    # What `editor` would be used for.
    (machine.root() / "root/wanted").write_text(guide("[postgres]", "dsn = host=/run/postgresql"))
    editor = machine.root() / "usr/local/bin/editor"
    editor.write_text('#!/bin/sh\ncat /root/wanted >>"$1"\n')
    editor.chmod(0o755)
    before, health, _ = (editing + after).partition("apikeyctl health")
    machine.run(before)
    wait_until(lambda: machine.run(health, check=False).returncode == 0, "the daemon to be ready")
    wait_until(lambda: "Redis is up" in machine.run("apikeyctl health").stdout, "Redis")
    with load(machine):
        pass


def test_the_unit_in_force(machine):
    assert show(machine, "LimitCORE") == "infinity"
    said = machine.run("systemd-analyze security --no-pager apikeyd").stdout
    assert re.search(r"exposure level for apikeyd.service: 1\.4 ", said), said
    assert re.search(r"security apikeyd` says 1\.4", GUIDE)
    assert not re.search(r"apikeyd\.\w+:\d+: ", machine.run("journalctl --no-pager -b").stdout), "units with mistakes"


def test_reload(machine):
    """One with a mistake fails, says why, and changes nothing."""
    right = config(machine)
    try:
        with load(machine):
            configure(machine, right + "[cache]\nttl = 50s\n")
            machine.run("systemctl reload apikeyd")
            wait_until(lambda: "50s" in machine.run("apikeyctl config cache.ttl").stdout, "the reload")
            pid, here = main_pid(machine), cursor(machine)
            configure(machine, right + "[cache]\nttl = 50\n")
            done = machine.run("systemctl reload apikeyd", check=False)
            assert done.returncode != 0 and "failed" in done.stderr
            assert 'cache.ttl "50"' in journal_since(machine, here)
            assert main_pid(machine) == pid and show(machine, "ActiveState") == "active"
            done = machine.run("apikeyctl health")
            assert done.stdout.startswith("ready") and "--check-config" in done.stderr
    finally:
        configure(machine, right)
    machine.run("systemctl reload apikeyd")


def starts(machine, since):
    return len(re.findall(r"^Starting apikeyd.service", journal_since(machine, since), re.MULTILINE))


def test_a_bad_configuration_and_its_repair(machine):
    """Clients wait meanwhile, and are answered once the file is right, without another command."""
    right = config(machine)
    here = cursor(machine)
    try:
        with load(machine) as made:
            configure(machine, right + "[cache]\nttl = 50\n")
            began = time.monotonic()
            assert machine.run("systemctl restart apikeyd", check=False).returncode != 0
            answered = made.answers()
            time.sleep(15)
            tries, took = starts(machine, here), time.monotonic() - began
            print(f"{tries} starts in {took:.0f} s")
            assert 2 <= tries <= took / 2 + 1, "again and again, and not in a busy loop"
            assert made.answers() == answered
            assert show(machine, "ActiveState", "apikeyd.socket") == "active"
            configure(machine, right)
            wait_until(lambda: made.answers() > answered, "it to heal by itself")
    finally:
        configure(machine, right)
    wait_until(lambda: healthy(machine), "the stores")


def test_seven_kills_in_three_seconds(machine):
    here = cursor(machine)
    with load(machine):
        killed = set()
        while len(killed) < 7:
            pid = wait_until(lambda: main_pid(machine), "the daemon")
            if pid not in killed:
                machine.run("systemctl kill -s KILL apikeyd", check=False)
                killed.add(pid)
    print(f"{len(killed)} daemons killed, {starts(machine, here)} starts")
    assert show(machine, "ActiveState", "apikeyd.socket") == "active"
    wait_until(lambda: healthy(machine), "the stores")


def test_five_restarts_in_a_row(machine):
    with load(machine):
        for _ in range(5):
            machine.run("systemctl restart apikeyd")
    wait_until(lambda: healthy(machine), "the stores")


HOLD = """import socket, sys
taken = socket.create_server(("127.0.0.1", 9999))
print("taken", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def port_in_use(machine):
    """127.0.0.1:9999, by a program of this machine in the network of that one."""
    with subprocess.Popen(["nsenter", "-t", str(machine.pid), "-n", sys.executable, "-c", HOLD],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "taken\n"
        yield
        holder.stdin.close()


def test_a_port_in_use(machine):
    right = config(machine)
    here = cursor(machine)
    try:
        with load(machine) as made:
            configure(machine, right + "[listen]\nmetrics = 127.0.0.1:9999\n")
            with port_in_use(machine):
                began = time.monotonic()
                assert machine.run("systemctl restart apikeyd", check=False).returncode != 0
                answered = made.answers()
                time.sleep(10)
                tries, took = starts(machine, here), time.monotonic() - began
                print(f"{tries} starts in {took:.0f} s")
                assert 2 <= tries <= took / 2 + 1 and made.answers() == answered
                assert "Address already in use" in journal_since(machine, here)
            wait_until(lambda: made.answers() > answered, "it to heal by itself")
    finally:
        configure(machine, right)
    machine.run("systemctl restart apikeyd")
    wait_until(lambda: healthy(machine), "the stores")


def test_http_later(machine):
    """Clients of the check socket notice nothing."""
    right = config(machine)
    done = machine.run("systemctl start apikeyd-http.socket", check=False)
    assert done.returncode != 0, "systemd may start it now: the guide has become simpler"
    with load(machine):
        machine.run(guide("systemctl enable apikeyd-http.socket"))
    http = machine.root() / "run/apikeyd/http.sock"
    wait_until(http.exists, "the socket")
    assert show(machine, "ActiveState", "apikeyd-http.socket") != "active"
    assert authorize(http) == 200
    # What systemd does at the next boot.
    machine.run("systemctl stop apikeyd.socket apikeyd-admin.socket apikeyd")
    machine.run("systemctl start apikeyd.socket apikeyd-admin.socket apikeyd-http.socket apikeyd")
    assert show(machine, "ActiveState", "apikeyd-http.socket") == "active" and authorize(http) == 200
    configure(machine, right)


def authorize(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(HANG)
        client.connect(str(path))
        client.sendall(b"GET /authorize HTTP/1.1\r\nHost: x\r\nX-API-Key: key-1\r\n\r\n")
        return int(client.recv(4096).split()[1])


def test_the_group_of_sockets(machine):
    """Of systemd's: told that its socket unit decides. Of the daemon's own: told what the unit needs."""
    right = config(machine)
    here = cursor(machine)
    drop_in = machine.root() / "etc/systemd/system/apikeyd.service.d"
    try:
        configure(machine, right + "[listen]\ncheck_group = www-data\n")
        machine.run("systemctl restart apikeyd")
        said = journal_since(machine, here)
        assert 'socket activation: "check": listen.check_group www-data is not used' in said
        assert "set SocketGroup= in its socket unit" in said
        here = cursor(machine)
        configure(machine, right + "[listen]\ncheck_group = www-data\nmetrics = /run/apikeyd/metrics.sock\n")
        assert machine.run("systemctl restart apikeyd", check=False).returncode != 0
        assert "SystemCallFilter=@chown" in journal_since(machine, here)
        drop_in.mkdir()
        (drop_in / "group.conf").write_text(gateways("SupplementaryGroups=www-data"))
        machine.run("systemctl daemon-reload && systemctl restart apikeyd")
        owner = machine.run("stat -c %G /run/apikeyd/metrics.sock").stdout
        assert owner == "www-data\n"
    finally:
        shutil.rmtree(drop_in, ignore_errors=True)
        configure(machine, right)
    machine.run("systemctl daemon-reload && systemctl restart apikeyd")
    wait_until(lambda: healthy(machine), "the stores")


def gateways(*words):
    return guide(*words, page=(ROOT / "docs" / "gateways.md").read_text())


def test_credentials(machine):
    """Redis's password and secret: plain, then one of them encrypted, as the guide says."""
    right = config(machine)
    here = cursor(machine)
    machine.run("redis-cli -s /run/redis/redis-server.sock config set requirepass hunter2")
    try:
        configure(machine, right + "[redis]\npassword_file = redis-password\n")
        assert machine.run("systemctl restart apikeyd", check=False).returncode != 0
        assert "redis.password_file" in journal_since(machine, here), "a credential that is not there"
        machine.run("mkdir -p -m 700 /etc/credstore && echo hunter2 >/etc/credstore/apikeyd.redis-password"
                    " && head -c 20 /dev/urandom | base64 >/etc/credstore/apikeyd.redis-secret")
        machine.run(guide("systemd-run", "--check-config"))
        configure(machine, right + "[redis]\npassword_file = redis-password\nsecret_file = redis-secret\n")
        machine.run("systemctl restart apikeyd")
        wait_until(lambda: "Redis is up" in machine.run("apikeyctl health", check=False).stdout, "Redis")
        machine.run("systemctl reload apikeyd")
        # Encrypted.
        machine.run("mv /etc/credstore/apikeyd.redis-password redis-password.txt")
        machine.run(guide("systemd-creds encrypt", "redis-password.txt"))
        machine.run("rm redis-password.txt")
        wait_until(lambda: "Redis is up" in machine.run("apikeyctl health", check=False).stdout, "Redis")
        assert "hunter2" not in machine.run("cat /etc/credstore.encrypted/apikeyd.redis-password").stdout
        machine.run("systemctl reload apikeyd")
    finally:
        machine.run("redis-cli -s /run/redis/redis-server.sock -a hunter2 config set requirepass ''", check=False)
        machine.run("rm -rf /etc/systemd/system/apikeyd.service.d /etc/credstore*/apikeyd.*; systemctl daemon-reload")
        configure(machine, right)
    machine.run("systemctl restart apikeyd")
    wait_until(lambda: healthy(machine), "the stores")


def test_a_passwords_file(machine):
    """PostgreSQL's, where the guide puts it, and one that is not there."""
    right = config(machine)
    machine.run("echo '*:*:*:apikeyd:none' >pgpass && " + guide("install -o apikeyd", "pgpass"))
    try:
        configure(machine, right.replace("dbname=app", "dbname=app passfile=/var/lib/apikeyd/.pgpass"))
        machine.run("runuser -u apikeyd -- apikeyd --check-config")
        configure(machine, right.replace("dbname=app", "dbname=app passfile=/var/lib/apikeyd/none"))
        done = machine.run("runuser -u apikeyd -- apikeyd --check-config", check=False)
        assert done.returncode == 78 and "passfile /var/lib/apikeyd/none: No such file" in done.stderr
    finally:
        configure(machine, right)


def other_package(package, folder, number):
    """The same, of a later version, with a program that differs."""
    subprocess.run(["dpkg-deb", "-R", package, folder], check=True)
    control = folder / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", rf"\g<0>+{number}", control.read_text(), flags=re.MULTILINE))
    with open(folder / "usr/sbin/apikeyd", "ab") as program:
        program.write(b"later %d" % number)
    subprocess.run(["dpkg-deb", "-Znone", "-b", folder, folder.with_suffix(".deb")], check=True, capture_output=True)
    return folder.with_suffix(".deb")


def program_runs(machine):
    """Whether the daemon runs the program that is installed. The kernel says so of one that was replaced."""
    pid = main_pid(machine)
    return pid and machine.run(f"readlink /proc/{pid}/exe").stdout == "/usr/sbin/apikeyd\n"


def test_upgrades_under_load(machine, package, tmp_path):
    later = [other_package(package, tmp_path / f"apikeyd_later{n}", n) for n in range(7)]
    with load(machine):
        for one in later:
            machine.copy(one)
            before = main_pid(machine)
            machine.run(f"dpkg -i /root/{one.name}")
            assert program_runs(machine) and main_pid(machine) != before, one.name
            running = machine.run(f"tail -c 7 /proc/{main_pid(machine)}/exe").stdout
            assert running == f"later {later.index(one)}"
    wait_until(lambda: healthy(machine), "the stores")


def test_upgrades_without_load(machine, package, tmp_path):
    """A daemon that runs is restarted; one that was stopped stays so."""
    running, stopped = (other_package(package, tmp_path / f"apikeyd_later{n}", n) for n in (7, 8))
    machine.copy(running)
    machine.copy(stopped)
    before = main_pid(machine)
    machine.run(f"dpkg -i /root/{running.name}")
    assert program_runs(machine) and main_pid(machine) != before
    machine.run(guide("systemctl stop apikeyd.socket", "apikeyd-http.socket"))
    machine.run(f"dpkg -i /root/{stopped.name}")
    assert show(machine, "ActiveState") == show(machine, "ActiveState", "apikeyd.socket") == "inactive"
    machine.run("systemctl start apikeyd.socket apikeyd-admin.socket apikeyd")
    wait_until(lambda: healthy(machine), "the stores")


def test_reboot(machine):
    """What is enabled is there again, and usage that was not written yet is not lost."""
    right = config(machine)
    configure(machine, right + "[usage]\nflush_interval = 1h\n")
    machine.run("systemctl restart apikeyd")
    wait_until(lambda: healthy(machine), "the stores")
    began = time.time()
    assert machine.run("apikeyctl check key-7").returncode == 0
    machine.reboot()
    wait_until(lambda: healthy(machine), "the stores")
    last = float(sql(machine, "SELECT extract(epoch FROM last_used) FROM api.user_api_key WHERE key_id = 'key-7'"))
    assert last >= began
    assert show(machine, "ActiveState", "apikeyd-http.socket") == "active", "enabled before"
    configure(machine, right)
    machine.run("systemctl restart apikeyd")
    with load(machine):
        pass


def processes(machine):
    return machine.run("pgrep -x apikeyd", check=False).stdout.split()


def test_removal(machine):
    """With clients that would start it again."""
    endless = Load(machine)
    endless.clients[0].start()
    try:
        endless_answers = endless.clients[0]
        wait_until(lambda: endless_answers.answers > 0, "answers")
        assert processes(machine)
        machine.run("apt-get remove -y apikeyd")
        assert not processes(machine) and show(machine, "ActiveState", "apikeyd.socket") == "inactive"
    finally:
        endless.clients[0].ending = True
        endless.clients[0].join()
    assert (machine.root() / "etc/apikeyd/apikeyd.conf").exists()
    machine.run("apt-get purge -y apikeyd")
    for left in ("etc/apikeyd", "var/lib/apikeyd", "run/apikeyd"):
        assert not (machine.root() / left).exists(), left
    assert "apikeyd" not in machine.run("systemctl list-units --all --no-legend 'apikeyd*'").stdout
