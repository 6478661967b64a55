"""confined.py FILE PROGRAM ARGS: run a program with no other system calls than those in FILE.

They are what the unit's SystemCallFilter= lets through, so that tests of the release build run under the
filter that it has in production; where systemd is not there to apply it, this does.
"""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

UNIT = Path(__file__).resolve().parents[2] / "systemd" / "apikeyd.service"


def listed(name):
    """The system calls of a group, groups in it included; or the one of that name."""
    if not name.startswith("@"):
        return {name}
    done = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", name],
                          capture_output=True, text=True, timeout=60, check=True)
    calls = set()
    for line in done.stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            calls |= listed(word)
        elif word and not word.startswith("#"):
            calls.add(word)
    return calls


def allowed_calls():
    """The system calls that the unit lets through: systemd.exec(5), SystemCallFilter=."""
    calls = listed("@default")
    for line in re.findall(r"^SystemCallFilter=(.*)", UNIT.read_text(), re.MULTILINE):
        names = set().union(*(listed(name) for name in line.lstrip("~").split()))
        calls = calls - names if line.startswith("~") else calls | names
    return calls


def confine(calls):
    """All others fail with EPERM from here on, as the unit says."""
    import errno

    import seccomp

    only = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for name in calls:
        with contextlib.suppress(RuntimeError):  # of another architecture
            only.add_rule(seccomp.ALLOW, name)
    only.load()


if __name__ == "__main__":
    confine(Path(sys.argv[1]).read_text().split())
    os.execv(sys.argv[2], sys.argv[2:])
