"""tables.py: write the tables of options, commands and metrics, and the version, as the release build prints them, and
the table of folders, as CMake has it, into the documents.

tests/meta/test_repo.py checks that they stand there.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"
# File, the lines before and after the table, and the program of the build that prints it, or the build's file.
TABLES = [
    *(("docs/reference.md", f"<!-- {what} -->\n", "<!-- end -->", ["apikeyd", "--list", what])
      for what in ("options", "commands", "metrics")),
    ("docs/man/apikeyd.conf.5", '.\\" options\n', '.\\" end\n', ["apikeyd", "--list", "roff"]),
    ("docs/man/apikeyctl.1", '.\\" commands\n', '.\\" end\n', ["apikeyctl", "--manual"]),
    ("config/apikeyd.conf", "", "", ["apikeyd", "--sample-config"]),
    *((f"docs/man/{page}", ".Os ", ".Sh NAME", ["apikeyd", "--version"])
      for page in ("apikeyctl.1", "apikeyd.8", "apikeyd.conf.5")),
    ("docs/architecture.md", "<!-- folders -->\n", "<!-- end -->", ["folders.md"]),
]


def printed(program, *args):
    if program.endswith(".md"):
        return (BUILD / program).read_text()
    return subprocess.run([BUILD / program, *args], capture_output=True, text=True, check=True).stdout


for name, begin, end, argv in TABLES:
    path, table = ROOT / name, printed(*argv)
    if begin:
        pattern = f"({re.escape(begin)}).*?({re.escape(end)})"
        table, count = re.subn(pattern, lambda m, made=table: m[1] + made + m[2], path.read_text(), flags=re.DOTALL)
        assert count == 1, f"{name}: {begin.strip()} stands there {count} times"
    path.write_text(table)
