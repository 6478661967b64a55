"""The Debian package: built, checked by lintian, installed into a folder and purged again."""

import re
import subprocess

import pytest
from harness.servers import BUILD, ROOT, Apikeyd, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.needs("build-essential", "debhelper", "file", "lintian"),
              pytest.mark.builds("release"), pytest.mark.first, pytest.mark.xdist_group("package")]


@pytest.fixture(scope="module")
def package():
    done = subprocess.run([ROOT / "dev", "package"], capture_output=True, text=True, timeout=800,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "E: " not in done.stdout + done.stderr
    path, = [line for line in done.stdout.splitlines() if "/apikeyd_" in line and line.endswith(".deb")]
    return ROOT / path


def dpkg(root, *arguments):
    """In a folder that is the root of a system of its own."""
    done = subprocess.run(
        ["dpkg", f"--root={root}", "--force-depends", "--force-not-root", "--force-script-chrootless",
         "--log=/dev/null", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def files(root):
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def code_of(program, folder):
    """Its instructions and constants, less the build ID and what `strip` takes away."""
    sections = {}
    for name in (".text", ".rodata"):
        subprocess.run(["objcopy", "-O", "binary", f"--only-section={name}", program, folder / "section"], check=True,
                       timeout=60)
        sections[name] = (folder / "section").read_bytes()
    return sections


def test_the_packaged_program_is_the_one_that_is_tested(package, scratch):
    """So what tests and budgets of the release build say is said of what ships."""
    folder = scratch / "unpacked"
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=60)
    for packaged, tested in (("usr/sbin/apikeyd", "apikeyd"), ("usr/bin/apikeyctl", "apikeyctl")):
        assert code_of(folder / packaged, folder) == code_of(BUILD / tested, folder), packaged


def test_upgrades_restart_and_removals_stop(package, scratch):
    """What systemd does with this is in ./dev boot."""
    folder = scratch / "scripts"
    subprocess.run(["dpkg-deb", "-e", package, folder], check=True, timeout=60)
    preinst = (folder / "preinst").read_text() if (folder / "preinst").exists() else ""
    assert "deb-systemd-invoke stop" not in preinst, "clients would start the old program"
    assert "deb-systemd-invoke try-restart 'apikeyd.service'" in (folder / "postinst").read_text()
    assert re.search(r'"\$1" = remove .*\n +deb-systemd-invoke stop apikeyd.socket .* apikeyd.service',
                     (folder / "prerm").read_text())


def links_lead_somewhere(page):
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / link).exists(), f"{page}: {link}"


def test_installs_runs_and_purges(package, scratch, db):
    root = scratch / "system"
    for folder in ("etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"):
        (root / folder).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    dpkg(root, "--install", package)
    assert "apikeyd:" in (root / "etc/passwd").read_text()
    group = [line.split(":")[2] for line in (root / "etc/group").read_text().splitlines()
             if line.startswith("apikeyd:")]
    config = root / "etc/apikeyd/apikeyd.conf"
    assert [str(config.stat().st_gid)] == group and config.stat().st_mode & 0o777 == 0o640
    assert config.read_text() == (ROOT / "config/apikeyd.conf").read_text()
    here = files(root)
    for path in ("usr/sbin/apikeyd", "usr/bin/apikeyctl", "lib/systemd/system/apikeyd.service",
                 "lib/systemd/system/apikeyd.socket", "usr/share/man/man8/apikeyd.8.gz",
                 "usr/share/man/man1/apikeyctl.1.gz", "usr/share/man/man5/apikeyd.conf.5.gz",
                 "usr/share/bash-completion/completions/apikeyctl",
                 "usr/share/apikeyd/migrations/sqitch.plan",
                 "usr/share/doc/apikeyd/config/examples/grafana/apikeyd.json"):
        assert path in here or f"usr/{path}" in here, path
    assert (root / "run/apikeyd").is_dir()
    for page in ("gateways", "guarantees", "misconfiguration", "operations", "reference"):
        links_lead_somewhere(root / f"usr/share/doc/apikeyd/docs/{page}.md")

    daemon = Apikeyd(scratch / "packaged", {"postgres.dsn": db.dsn, "redis.url": ""})
    daemon.program = root / "usr/sbin/apikeyd"
    daemon.start()
    try:
        def health():
            return subprocess.run([root / "usr/bin/apikeyctl", "--socket", daemon.admin, "health"],
                                  capture_output=True, timeout=60, check=False).returncode == 0
        wait_until(health, "the packaged daemon")
    finally:
        daemon.stop()

    (root / "var/lib/apikeyd").mkdir(exist_ok=True)
    (root / "var/lib/apikeyd/usage.spill").touch()
    dpkg(root, "--remove", "apikeyd")
    assert config.exists() and (root / "var/lib/apikeyd/usage.spill").exists()
    dpkg(root, "--purge", "apikeyd")
    left = {path for path in files(root) if "apikeyd" in path}
    assert left == set(), left
    assert not (root / "var/lib/apikeyd").exists() and not (root / "run/apikeyd").exists()
