"""./dev test-on RELEASE COMMAND...: run a command in a copy of this tree, in a Debian of that release.

A root of each release is made once by mmdebstrap, in build/debian, and keeps the packages that ./dev installs
in it. The command runs in namespaces of its own, on a copy-on-write layer over the root: its files and its
processes end with it. It has this machine's network, and its settings for apt and npm.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

TREE = Path(__file__).resolve().parents[1]
ROOTS = TREE / "build" / "debian"
PLACE = "srv/apikeyd"  # of the copy, in a root: users beside root can read there
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSED = re.compile(r"(https?|no|all)_proxy|npm_config_\w+|apikeyd_(seed|hang|preset)|source_date_epoch|term", re.IGNORECASE)
# What programs need of this machine to reach a registry, where it is there.
BORROWED = ["/etc/resolv.conf", "/etc/hosts", "/etc/npmrc", "/root/.npmrc", "/etc/ssl/certs/ca-certificates.crt"]

# Shell, for processes in mount namespaces of their own. The current folder becomes /.
# $1: a root, $2: a folder for the layer over it.
ENTER_LAYER = """
mkdir -p "$2/upper" "$2/work" "$2/root"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
"""
MOUNT_DEVICES = """
mount -t tmpfs -o mode=755 tmpfs dev
for device in null zero full random urandom tty; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for number in 0:stdin 1:stdout 2:stderr; do
    ln -s "/proc/self/fd/${number%:*}" "dev/${number#*:}"
done
"""
# pivot_root(2) has the trick with the two dots: the old root lies over the new one, and goes.
PIVOT = """
pivot_root . .
umount -l .
"""

# Of a command. A mount hides what it borrows from the layer, so that nothing of that is copied. The shell
# stays the first process: it takes over orphans, and ends them.
MOUNT_FOR_COMMAND = """
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
for file in $3; do
    mkdir -p ".${file%/*}"
    [ -e ".$file" ] || touch ".$file"
    mount --bind "$file" ".$file"
done
"""
BECOME = """
cd "$4"
shift 4
"$@" || exit "$?"
exit 0
"""
IN_LAYER = "set -eu" + ENTER_LAYER + MOUNT_DEVICES + MOUNT_FOR_COMMAND + PIVOT + BECOME
IN_ROOT = 'set -eu\nmount --bind "$1" "$1"\ncd "$1"\n' + MOUNT_DEVICES + MOUNT_FOR_COMMAND + PIVOT + BECOME


def this_release():
    """The code name of this machine's Debian."""
    return re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)[1]


def must_be_root(who):
    if os.geteuid() != 0:
        sys.exit(f"{who}: only root can make the namespaces; run it as root")


@contextlib.contextmanager
def locked(name):
    """One process at a time makes or changes a root."""
    ROOTS.mkdir(parents=True, exist_ok=True)
    with open(ROOTS / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def apt_options():
    """How this machine's apt reaches its archives: proxies, and what it makes of their dates."""
    done = subprocess.run(["apt-config", "dump", "Acquire::http", "Acquire::https", "Acquire::Check-Date",
                           "Acquire::Check-Valid-Until"], capture_output=True, text=True, check=True)
    return [f"--aptopt={line}" for line in done.stdout.splitlines()]


def made(name, release, packages=(), options=()):
    """ROOTS/name, a root of the release with these packages; made unless it is there. Options are mmdebstrap's."""
    root, made_with, log = ROOTS / name, ROOTS / f"{name}.made", ROOTS / f"{name}.log"
    wanted = "\n".join([release, *options, *sorted(packages)])
    with locked(name):
        if made_with.exists() and made_with.read_text() == wanted:
            return root
        print(f"making a Debian root in {root.relative_to(TREE)}, once: some minutes", file=sys.stderr)
        made_with.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        include = [f"--include={','.join(packages)}"] if packages else []
        with open(log, "w", encoding="utf-8") as out:
            done = subprocess.run(["mmdebstrap", "--mode=root", "--variant=minbase", *apt_options(), *include, *options,
                                   release, root], stdout=out, stderr=out, check=False)
        if done.returncode != 0:
            sys.exit(log.read_text() + f"no root of {release} could be made (above)")
        made_with.write_text(wanted)
    return root


def environment():
    return [f"{name}={value}" for name, value in os.environ.items() if PASSED.fullmatch(name)]


def run(script, root, layer, argv, borrow=(), place=f"/{PLACE}"):
    """The exit status of a command in a root, in a folder there (IN_ROOT, or IN_LAYER with a folder for the layer)."""
    borrowed = " ".join(file for file in borrow if Path(file).exists())
    with subprocess.Popen(["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL",
                           "sh", "-c", script, "sh", root.name, layer, borrowed, place,
                           "env", "-i", f"PATH={PATH}", "HOME=/root", "LANG=C.UTF-8", *environment(), *argv],
                          cwd=ROOTS) as child:
        try:
            return child.wait()
        finally:
            child.kill()  # the first process of its namespace ends with it, and all others with that


def copy_tree(to):
    """The work tree as it is, in a repository of its own."""
    def git(*argv, **options):
        return subprocess.run(["git", "-c", "safe.directory=*", *argv], check=True, stdout=subprocess.PIPE, **options).stdout
    git("clone", "--quiet", "--no-checkout", "--no-hardlinks", TREE, to)
    git("-C", to, "reset", "--quiet", stderr=subprocess.DEVNULL)
    for name in git("-C", TREE, "ls-files", "-coz", "--exclude-standard").decode().split("\0"):
        if name and os.path.lexists(TREE / name):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TREE / name, to / name, follow_symlinks=False)


def install(root):
    """What ./dev installs for everything stays in the root."""
    with locked(root.name):
        place = root / PLACE
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(TREE / "dev", place)
        try:
            return run(IN_ROOT, root, "", ["./dev", "prepare"], ["/etc/resolv.conf", "/etc/hosts"])
        finally:
            shutil.rmtree(place)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    must_be_root("test-on")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    root = made(sys.argv[1], sys.argv[1])
    if install(root) != 0:
        sys.exit(f"test-on: packages could not be installed in {root} (above)")
    layer = Path(tempfile.mkdtemp(prefix="layer-", dir=ROOTS))
    try:
        copy_tree(layer / "upper" / PLACE)
        sys.exit(run(IN_LAYER, root, layer.name, sys.argv[2:], BORROWED))
    finally:
        shutil.rmtree(layer, ignore_errors=True)


if __name__ == "__main__":
    main()
