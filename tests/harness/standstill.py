"""Makes a call of one thread of the daemon stand still, or fail, for as long as a test wants: standstill.c.

    still = Standstill(scratch / "still")
    daemon = start(options, env=still.env)
    with still.stand("main", "fsync", "usage.spill"):
        wait_until(still.stands, "the thread to stand still")
    with still.fail("main", "write", errno.ENOSPC, "usage.spill"): ...

Threads are "main" (the first: the back thread), by name ("apikeyd-front"), or "*" for each. Calls: write
(writev, pwrite and dprintf too), sendmsg, fsync, fdatasync, fallocate, rename, fopen, getaddrinfo, epoll_wait, poll.
"""

import contextlib
import os
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


def build(folder):
    """The library in `folder`, whose path must have no blank: LD_PRELOAD separates names by them."""
    library = folder / "standstill.so"
    assert " " not in str(library) and ":" not in str(library)
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Standstill:
    """For one daemon, which is started with `env`. Several calls may stand at once."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.control = self.folder / "control"
        self.standing = self.folder / "control.standing"
        self.lines = []
        # An address sanitizer wants to be the first library.
        self.env = {"LD_PRELOAD": str(build(self.folder)), "STANDSTILL": str(self.control),
                    "ASAN_OPTIONS": "verify_asan_link_order=0"}

    def write(self):
        if not self.lines:
            self.control.unlink(missing_ok=True)
            return
        new = self.folder / "new"
        new.write_text("".join(f"{line}\n" for line in self.lines))
        os.replace(new, self.control)

    @contextlib.contextmanager
    def order(self, thread, call, what, error):
        line = f"{thread} {call} {what} {error}"
        self.standing.unlink(missing_ok=True)
        self.lines.append(line)
        self.write()
        try:
            yield self
        finally:
            self.lines.remove(line)
            self.write()

    def stand(self, thread, call, what="*"):
        """The call waits inside the with block; `what` is part of a path, or of a name to be resolved."""
        return self.order(thread, call, what, 0)

    def fail(self, thread, call, error, what="*"):
        """The call fails with this errno inside the with block; getaddrinfo with EAI_AGAIN."""
        return self.order(thread, call, what, error)

    def stands(self):
        """Whether a thread has begun to stand still since the last order."""
        return self.standing.exists()
