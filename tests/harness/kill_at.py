"""Kills a process at a named step of its work, or some instructions later: kill_at.c.

    killer = KillAt(scratch / "kill_at")
    step = [("apikeyd-disk", "rename", "1usage.spill"), ("apikeyd-disk", "fsync", "*")]
    killer.kill(daemon.process.pid, step, "after", 12)     # when that has returned, and 12 instructions later
    killer.start(daemon, step, "before")                   # a step of the start

A step is a list of points, reached one after the other: thread, function and what its arguments must be. Functions
are those of libraries, or of a program that has their names. Debug registers find them: amd64 only.
"""

import contextlib
import functools
import re
import signal
import subprocess
import time
from pathlib import Path

from harness.servers import BUILD, HANG, answers, wait_until

SOURCE = Path(__file__).with_suffix(".c")


@functools.cache
def functions(path):
    """The address of each function of a file."""
    found = {}
    for names in ["-D"], []:
        table = subprocess.run(["nm", *names, "--defined-only", path], capture_output=True, text=True, check=False)
        for address, name in re.findall(r"^(\w+) [TtWi] ([^@\n]+)", table.stdout, re.MULTILINE):
            found[name] = int(address, 16)
    return found


@functools.cache
def libraries(program):
    """The files that are mapped with the program."""
    linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [str(Path(path).resolve()) for path in re.findall(r"=> (/\S+)", linked)]


class KillAt:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.tool = self.folder / "kill_at"
        subprocess.run(["gcc", "-O1", "-o", self.tool, SOURCE], check=True)

    def points(self, step, program):
        files = [str(Path(program).resolve()), *libraries(program)]
        for thread, function, match in step:
            if function is None:
                yield f"{thread},,0,*"
                continue
            file = next(file for file in files if function in functions(file))
            yield f"{thread},{file},{functions(file)[function]},{match}"

    def kill(self, pid, step, when="before", steps=0, program=BUILD / "apikeyd", cause=lambda: None):
        """Returns whether the process was killed there; else it has ended by itself. cause() makes the step come: it is
        called when the process is watched, and again while the step does not come."""
        argv = [self.tool, str(pid), str(steps), when, *self.points(step, program)]
        end = time.monotonic() + HANG
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tool:
            try:
                tool.stdout.readline()  # "attached"
                while tool.poll() is None:
                    cause()
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        tool.wait(5)
                    if time.monotonic() > end:
                        raise TimeoutError(f"{step} has not come within {HANG} s")
            finally:
                tool.kill()
            told = tool.stderr.read()
        assert tool.returncode in (0, 1), told
        return tool.returncode == 0

    def start(self, daemon, step, when="before", steps=0):
        """The daemon is started. Returns whether it was killed at the step; else it was killed when it was up."""
        daemon.write_config()
        argv = [self.tool, "run", str(steps), when, *self.points(step, daemon.program), "--",
                *daemon.runner, daemon.program, "-c", daemon.config]
        with open(daemon.folder / "apikeyd.log", "ab") as log, subprocess.Popen(
                [str(arg) for arg in argv], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log) as tool:
            wait_until(lambda: tool.poll() is not None or answers(daemon.admin), f"{step} {when}")
            if tool.poll() is None:
                tool.kill()
        assert tool.returncode in (0, -signal.SIGKILL), f"{step} {when}: {daemon.log()[-2000:]}"
        return tool.returncode == 0
