"""The files in systemd/: what systemd itself says of them, and that they let the daemon work.

They are the same for every build, so one is enough (conftest.py)."""

import os
import re
import shutil
import signal
import subprocess

import pytest
from conftest import BUILD, check, info
from harness.confined import allowed_calls
from harness.servers import ROOT, Process, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.builds("release")]

UNITS = ROOT / "systemd"


def test_exposure_of_the_unit():
    """0.2 of it are for sched_setaffinity, for listen.cpu."""
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager",
                           UNITS / "apikeyd.service"], capture_output=True, text=True, timeout=60,
                          check=True)
    found = re.search(r"Overall exposure level for apikeyd.service: ([0-9.]+)", done.stdout)
    print(found.group(0))
    assert float(found.group(1)) <= 1.4, done.stdout


def test_every_directive_of_the_unit_has_a_reason():
    """A comment stands above each, or above the group that it belongs to."""
    for path in UNITS.glob("apikeyd*"):
        assert path.read_text().startswith("# "), path
    hardening = (UNITS / "apikeyd.service").read_text().split("# --- Hardening ---")[1]
    commented = False
    for line in hardening.splitlines():
        if not line:
            commented = False
        elif line.startswith("#"):
            commented = True
        elif not line.startswith("[") and line != "WantedBy=multi-user.target":
            assert commented, line


def test_the_units_verify(scratch):
    folder = scratch / "units"
    folder.mkdir()
    program = scratch / "apikeyd"  # a path that needs no quoting in a unit
    program.symlink_to(BUILD / "apikeyd")
    for path in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        text = path.read_text().replace("/usr/sbin/apikeyd", str(program))
        (folder / path.name).write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *folder.iterdir()],
                          capture_output=True, text=True, timeout=120, check=False)
    mine = [line for line in (done.stdout + done.stderr).splitlines() if "apikeyd" in line]
    assert done.returncode == 0 and not mine, done.stdout + done.stderr
    broken = folder / "apikeyd.service"
    broken.write_text(broken.read_text().replace("Type=notify", "Type=nonsense"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", broken],
                          capture_output=True, text=True, timeout=120, check=False)
    assert "nonsense" in done.stdout + done.stderr, "the check can fail"


def directives(name):
    """The values of a directive of the unit, in order."""
    return re.findall(rf"^{name}=(.*)", (UNITS / "apikeyd.service").read_text(), re.MULTILINE)


@pytest.mark.parametrize("code, status, waits", [
    ("killed", "KILL", False), ("dumped", "ABRT", False), ("exited", "0", False),
    ("exited", "78", True), ("exited", "1", True), ("exited", "203", True)])
def test_a_start_that_failed_is_not_repeated_at_once(scratch, code, status, waits):
    """One that was killed is. systemd never gives up, since it would close the sockets too."""
    assert directives("StartLimitIntervalSec") == ["0"] and directives("Restart") == ["always"]
    folder = scratch / f"stop-{code}-{status}"
    folder.mkdir()
    (folder / "sleep").write_text(f"#!/bin/sh\n: >'{folder}/slept'\n")
    (folder / "sleep").chmod(0o755)
    line = re.fullmatch(r"-/bin/sh -c '(.*)'", directives("ExecStopPost")[0])[1].replace("$$", "$")
    subprocess.run(["/bin/sh", "-c", line], check=True, timeout=60,
                   env={"PATH": str(folder), "EXIT_CODE": code, "EXIT_STATUS": status})
    assert (folder / "slept").exists() == waits


@pytest.mark.parametrize("told, status, signalled", [(0, 0, False), (78, 78, False), (1, 0, True), (69, 0, True)])
def test_a_reload_with_errors_fails(scratch, told, status, signalled):
    """As apikeyctl tells. A daemon that cannot be asked gets a signal."""
    folder = scratch / f"reload-{told}"
    folder.mkdir()
    (folder / "apikeyctl").write_text(f"#!/bin/sh\nexit {told}\n")
    (folder / "apikeyctl").chmod(0o755)
    line = re.fullmatch(r"/bin/sh -c '(.*)'", directives("ExecReload")[0])[1].replace("$$", "$")
    with subprocess.Popen(["sleep", "60"]) as daemon:
        done = subprocess.run(["/bin/sh", "-c", line], timeout=60, check=False,
                              env={"PATH": str(folder), "MAINPID": str(daemon.pid)})
        if not signalled:
            daemon.kill()
        assert (done.returncode, daemon.wait(60)) == (status, -signal.SIGHUP if signalled else -signal.SIGKILL)


@pytest.mark.needs("strace")
def test_the_system_calls_that_it_makes_are_let_through(db, postgres, start):
    """The whole life of a daemon, traced, against the filter of the unit."""
    db.add_key("good")
    daemon = start({"log.target": "journal"}, wait=False)
    daemon.write_config()
    trace = daemon.folder / "trace"
    daemon.process = Process(["strace", "-f", "-qq", "-o", trace, BUILD / "apikeyd", "-c",
                              daemon.config], daemon.folder / "apikeyd.log",
                             env={**os.environ, "NOTIFY_SOCKET": str(daemon.folder / "none")})
    wait_until(lambda: daemon.admin.exists() and daemon.settled(), "the daemon")
    assert check(daemon.client(), "good")[0] == "ALLOW"
    daemon.admin_client().execute_command("FLUSH")
    daemon.admin_client().execute_command("STATUS")
    daemon.admin_client().execute_command("RELOAD")
    postgres.stop()
    check(daemon.client(), "good")
    postgres.start()
    os.kill(info(daemon)["process_id"], signal.SIGTERM)
    assert daemon.wait_end() == 0  # strace ends as it does
    made = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", trace.read_text(), re.MULTILINE))
    assert {"epoll_wait", "accept4", "sendto", "timerfd_settime"} & made and len(made) > 30
    # execve is strace's own; chmod and chown make sockets that systemd makes for the unit.
    outside = made - allowed_calls() - {"execve"}
    assert not outside, outside


def test_sysusers_and_tmpfiles_are_understood(scratch):
    root = scratch / "root"
    (root / "etc").mkdir(parents=True)
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", root / "etc" / name)
    subprocess.run(["systemd-sysusers", f"--root={root}", UNITS / "apikeyd.sysusers"], check=True,
                   timeout=60)
    user = re.search(r"^apikeyd:x?:(\d+):(\d+):.*:/var/lib/apikeyd:/usr/sbin/nologin$",
                     (root / "etc" / "passwd").read_text(), re.MULTILINE)
    assert user
    subprocess.run(["systemd-tmpfiles", f"--root={root}", "--create", UNITS / "apikeyd.tmpfiles"],
                   check=True, timeout=60)
    made = (root / "run" / "apikeyd").stat()
    assert made.st_mode & 0o777 == 0o755
    if os.geteuid() == 0:
        assert (made.st_uid, made.st_gid) == (int(user.group(1)), int(user.group(2)))


def test_tests_run_under_the_filter(daemon):
    """The daemon has a filter of system calls (proc(5), Seccomp: 2), and can still be restarted."""
    status = open(f"/proc/{daemon.process.pid}/status", encoding="ascii").read()
    assert re.search(r"^Seccomp:\t2$", status, re.MULTILINE), status
    assert "ptrace" not in allowed_calls() and "mount" not in allowed_calls()
