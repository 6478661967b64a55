"""contained.py ROOT UID GROUPS FOLDER:PLACE... -- PROGRAM ARGS: run a program as a container runtime does.

It gets mounts, processes and a network (a loopback device) of its own, ROOT as a read-only root, the folders at
their places in it, the user, and no capability, nor a way to get one. GROUPS are numbers with commas in between,
the first of them the user's own. The program is process 1 of its namespace. SIGTERM is passed on, and its exit
status is this one's. It ends with this process.
"""

import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys

CLONE = {"NEWNS": 0x20000, "NEWUTS": 0x4000000, "NEWIPC": 0x8000000, "NEWPID": 0x20000000, "NEWNET": 0x40000000}
MS = {"RDONLY": 1, "NOSUID": 2, "NODEV": 4, "REMOUNT": 32, "BIND": 4096, "REC": 16384, "PRIVATE": 1 << 18}
PR_SET_PDEATHSIG, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 23, 24, 38
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
libc = ctypes.CDLL(None, use_errno=True)


def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), f"{name}{args}: {os.strerror(ctypes.get_errno())}")


def mount(source, target, flags, kind=None):
    flags = sum(MS[name] for name in flags.split())
    call("mount", source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), None)


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", IFF_UP))


def drop_capabilities(user, groups):
    """Of this process and of all that it may become: the bounding set first, which needs a capability."""
    number = 0
    while libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        call("prctl", PR_CAPBSET_DROP, number, 0, 0, 0)
        number += 1
    os.setgroups(groups)
    os.setresgid(groups[0], groups[0], groups[0])
    os.setresuid(user, user, user)
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def become(root, user, groups, argv):
    """The child: in the new namespaces of processes."""
    mount("proc", f"{root}/proc", "NOSUID NODEV", "proc")
    mount("none", root, "REMOUNT BIND RDONLY NOSUID NODEV")
    os.chroot(root)
    os.chdir("/")
    drop_capabilities(user, groups)
    call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.execve(argv[0], argv, os.environ)


def main():
    ours, argv = sys.argv[1:sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1:]
    root, user, groups, folders = ours[0], int(ours[1]), [int(group) for group in ours[2].split(",")], ours[3:]
    call("unshare", sum(CLONE.values()))
    mount("none", "/", "REC PRIVATE")
    mount(root, root, "BIND")
    for folder in folders:
        source, place = folder.rsplit(":", 1)
        mount(source, root + place, "BIND")
    loopback_up()
    child = os.fork()
    if child == 0:
        become(root, user, groups, argv)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status) % 256)


if __name__ == "__main__":
    main()
