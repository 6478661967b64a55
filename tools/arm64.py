"""arm64.py COMMAND...: run a command in a Debian that builds programs for arm64, in this tree.

The Debian is a root in build/debian, made once. It has Debian's cross compiler, the libraries for arm64 that
debian/control names, and qemu, under which this machine runs the programs (RUNNER).
"""

import re
import sys

from debian_root import (BECOME, MOUNT_DEVICES, MOUNT_FOR_COMMAND, PIVOT, ROOTS, TREE, made, must_be_root,
                         run)

# Beside what debian/control names: what makes packages, the library of the unit programs, and the emulator.
PACKAGES = ["build-essential", "crossbuild-essential-arm64", "libcmocka-dev:arm64", "pkgconf:arm64", "qemu-user-static",
            "debhelper"]
# As a command of this machine. Qemu finds files of the programs' system in the root, others where they are; it
# takes what is faster of the two ways to sign pointers.
RUNNER = [ROOTS / "arm64" / "usr" / "bin" / "qemu-aarch64-static", "-cpu", "max,pauth-impdef=on", "-L", ROOTS / "arm64"]

# The tree is in its place there too, so that programs and their debugging information name it alike.
IN_TREE = ('set -eu\nmount --bind "$1" "$1"\ncd "$1"\n' + MOUNT_DEVICES + MOUNT_FOR_COMMAND +
           'mkdir -p ".$4"\nmount --bind "$4" ".$4"\n' + PIVOT + BECOME)


def build_depends():
    """The packages of debian/control: libraries for arm64, tools for the machine that runs them.

    Of alternatives the last one, which the older release has.
    """
    text = (TREE / "debian" / "control").read_text()
    for entry in re.search(r"^Build-Depends:(.*?)^\S", text, re.MULTILINE | re.DOTALL)[1].split(","):
        name = re.match(r"\s*([a-z0-9.+-]*)", entry.split("|")[-1])[1]
        if name.endswith("-dev"):
            yield f"{name}:arm64"
        elif name and name != "debhelper-compat" and not name.startswith("dh-sequence"):
            yield name


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    must_be_root("arm64")
    root = made("arm64", "bookworm", [*PACKAGES, *build_depends()], ["--architectures=amd64,arm64"])
    sys.exit(run(IN_TREE, root, "", sys.argv[1:], place=TREE))


if __name__ == "__main__":
    main()
