"""A cgroup whose processors can be changed while a program runs in it, as runtimes of containers and operators do."""

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


class Cpuset:
    """Of the first version of cgroups, or of the second. OSError where none can be made."""

    def __init__(self, name, processors):
        first = (ROOT / "cpuset").is_dir()
        self.path = (ROOT / "cpuset" if first else ROOT) / name
        if not first:
            (ROOT / "cgroup.subtree_control").write_text("+cpuset")
        self.path.mkdir()
        try:
            if first:
                (self.path / "cpuset.mems").write_text((ROOT / "cpuset" / "cpuset.mems").read_text())
            self.set(processors)
        except OSError:
            self.path.rmdir()
            raise

    def set(self, processors):
        (self.path / "cpuset.cpus").write_text(",".join(map(str, processors)))

    def remove(self):
        """No program runs in it any more."""
        self.path.rmdir()

    def inside(self):
        """The start of a command line whose rest runs in it."""
        return ["/bin/sh", "-c", 'echo $$ >"$0" && exec "$@"', self.path / "cgroup.procs"]

