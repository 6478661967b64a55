"""Runs the cmocka programs: as built for debugging, and under the sanitizers.

With APIKEYD_BUILD set, as ./dev check does, those of that build only; those of the build arm64 under qemu. Else
ThreadSanitizer, which finds races and nothing else, runs only the programs that start threads."""

import os
import re
import subprocess
from pathlib import Path

import arm64
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILDS = ([Path(os.environ["APIKEYD_BUILD"])] if "APIKEYD_BUILD" in os.environ
          else [ROOT / "build" / preset for preset in ("debug", "asan", "tsan")])
SOURCES = sorted(Path(__file__).parent.glob("test_*.c"))


def starts_threads(source):
    return re.search(r"<pthread\.h>|<apikeyd/thread/|log_hooks\.h", source.read_text())


@pytest.mark.parametrize("name, build", [
    pytest.param(source.stem, build, id=f"{source.stem}-{build.name}")
    for source in SOURCES for build in BUILDS
    if build.name != "tsan" or "APIKEYD_BUILD" in os.environ or starts_threads(source)])
def test_unit(name, build):
    runner = arm64.RUNNER if build.name == "arm64" else []
    done = subprocess.run([*runner, build / "tests" / "unit" / name], capture_output=True,
                          text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
