"""./dev boot shell: a Debian with systemd as its first process, in namespaces of its own.

It is of this machine's release, and has PostgreSQL, Redis and sqitch, and the package to try in /root.
Nothing in it reaches this machine: it has its own processes, network, mounts and cgroup, and /proc/sys is
read-only there. Its files are a copy-on-write layer over a root that mmdebstrap makes once.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import debian_root

NAME = "boot"  # of its root
PACKAGES = ["systemd", "systemd-sysv", "dbus", "adduser", "procps", "postgresql", "redis-server", "sqitch",
            "libdbd-pg-perl"]
HANG = 120  # seconds after which something that should have happened never will

# Runs as the first process of the new namespaces, in the folder of roots. The cgroup comes first: the namespace of
# cgroups begins where the process is.
FIRST = """
set -eu
mkdir -p "$3" && echo 0 >"$3/cgroup.procs"
exec unshare --cgroup sh -c "$4" sh "$1" "$2" "$5"
"""

# What mounts credentials for a service does so in a namespace of its own, and relies on / being shared.
SECOND = "set -eu" + debian_root.ENTER_LAYER + debian_root.MOUNT_DEVICES + """
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
[ ! -e proc/sysrq-trigger ] || mount --bind /dev/null proc/sysrq-trigger
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs run
mount -t tmpfs tmpfs tmp
""" + debian_root.PIVOT + """
mount --make-rshared /
exec env -i container=boot "PATH=$3" /sbin/init
"""


def needed_by(package):
    """The names of the packages that a .deb depends on."""
    done = subprocess.run(["dpkg-deb", "-f", package, "Depends"], capture_output=True, text=True, check=True)
    return [re.match(r"[a-z0-9.+-]+", part.strip())[0] for part in done.stdout.split(",")]


def cgroups():
    """Where cgroups of version 2 are mounted; systemd needs no other ones."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if line.split()[2] == "cgroup2":
            return Path(line.split()[1])
    sys.exit("boot: no cgroup2 file system is mounted; mount one on /sys/fs/cgroup")


def wait_for(condition, what):
    end = time.monotonic() + HANG
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {HANG} s for {what}")
        time.sleep(0.05)
    return value


class Machine:
    """A booted system. Its files stay from one boot() to the next, until close()."""

    def __init__(self, package):
        debian_root.must_be_root("boot")
        debian_root.made(NAME, debian_root.this_release(), [*PACKAGES, *needed_by(package)])
        self.folder = Path(tempfile.mkdtemp(prefix="apikeyd-boot-", dir="/dev/shm"))
        self.folder.chmod(0o755)
        self.cgroup = cgroups() / self.folder.name
        self.unshare = None
        self.pid = 0  # of its first process, here
        self.copy(package)

    def copy(self, file, to="root"):
        """Before or while it runs."""
        place = (self.folder / "upper" if not self.pid else self.root()) / to
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)

    def root(self):
        """Its file system, as seen from here."""
        return Path(f"/proc/{self.pid}/root")

    def boot(self):
        with open(self.folder / "console", "ab") as console:
            self.unshare = subprocess.Popen(
                ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child=KILL",
                 "sh", "-c", FIRST, "sh", NAME, self.folder, self.cgroup, SECOND, debian_root.PATH],
                cwd=debian_root.ROOTS, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True)
        children = Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        self.pid = int(wait_for(children.read_text, "the first process"))
        wait_for(self.is_up, "systemd")

    def is_up(self):
        if self.unshare.poll() is not None:
            raise RuntimeError("it does not boot:\n" + (self.folder / "console").read_text(errors="replace"))
        if Path(f"/proc/{self.pid}/comm").read_text() != "systemd\n":
            return False
        state = self.run("systemctl is-system-running --wait", check=False).stdout.strip()
        return state in ("running", "degraded")

    def argv(self, command):
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "--", "env", "-i", f"PATH={debian_root.PATH}",
                "HOME=/root", "LANG=C.UTF-8", "TERM=" + os.environ.get("TERM", "dumb"),
                "DEBIAN_FRONTEND=noninteractive", "sh", "-c", f"set -e; cd /root; {command}"]

    def run(self, command, check=True, text=None):
        """A line of shell, as its root. Raises with what it said if it fails."""
        done = subprocess.run(self.argv(command), input=text, stdin=None if text else subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=HANG, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{command}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def halt(self, how="poweroff"):
        """An orderly end."""
        self.run(f"systemctl {how}", check=False)
        self.unshare.wait(HANG)
        self.pid = 0

    def reboot(self):
        self.halt("reboot")
        self.boot()

    def close(self):
        """The end, orderly or not; its files go."""
        if self.unshare and self.unshare.poll() is None:
            self.unshare.kill()  # its child with it (--kill-child), and the kernel kills all others with that
            self.unshare.wait(HANG)
            wait_for(lambda: not Path(f"/proc/{self.pid}").exists(), "its end")
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    machine = Machine(sys.argv[1])
    try:
        machine.boot()
        print("the package is in /root; \"exit\" ends the machine, and nothing of it stays", file=sys.stderr)
        subprocess.run(machine.argv("exec bash -i"), check=False)
    finally:
        machine.close()


if __name__ == "__main__":
    main()
