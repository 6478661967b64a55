"""Runs the cmocka programs: as built for debugging, and under the sanitizers.

With APIKEYD_BUILD set, as ./dev check does, those of that build only."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILDS = ([Path(os.environ["APIKEYD_BUILD"])] if "APIKEYD_BUILD" in os.environ
          else [ROOT / "build" / preset for preset in ("debug", "asan", "tsan")])
NAMES = sorted(path.stem for path in Path(__file__).parent.glob("test_*.c"))


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)
@pytest.mark.parametrize("name", NAMES)
def test_unit(build, name):
    done = subprocess.run([build / "tests" / "unit" / name], capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
