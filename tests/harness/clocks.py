"""Clocks of one process that are set, or stand still, while it runs: clocks.c is preloaded into it.

    clocks = Clocks(scratch / "clocks")
    daemon = start(options, env=clocks.env)
    clocks.set_wall(3600)               # an hour ahead
    with clocks.pause(daemon, 1): ...   # the machine stands still for a second
"""

import contextlib
import mmap
import struct
import subprocess
import time
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")


class Clocks:
    def __init__(self, folder):
        folder = Path(folder)
        folder.mkdir()
        folder.chmod(0o755)
        library = folder / "clocks.so"
        control = folder / "control"
        # LD_PRELOAD separates names by blanks.
        assert " " not in str(library) and ":" not in str(library)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        control.write_bytes(bytes(4096))
        with control.open("r+b") as file:
            self.page = mmap.mmap(file.fileno(), 4096)
        # An address sanitizer wants to be the first library.
        self.env = {"LD_PRELOAD": str(library), "CLOCKS": str(control),
                    "ASAN_OPTIONS": "verify_asan_link_order=0"}
        self.wall = self.monotonic = 0

    def write(self):
        self.page[0:16] = struct.pack("<qq", int(self.wall * 1e6), int(self.monotonic * 1e6))

    def set_wall(self, ahead):
        """The wall clock is so many seconds ahead of the real one."""
        self.wall = ahead
        self.write()

    @contextlib.contextmanager
    def pause(self, process, wall_too=False):
        """The machine that `process` runs on stands still inside the with block, its monotonic clocks
        with it; its wall clock is right again at once, unless it stood still too."""
        process.pause()
        began = time.monotonic()
        try:
            yield
        finally:
            lost = time.monotonic() - began
            self.monotonic -= lost
            if wall_too:
                self.wall -= lost
            self.write()
            process.resume()
