"""Runs the cmocka programs: as built for debugging, and under the sanitizers."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.stem for path in Path(__file__).parent.glob("test_*.c"))


@pytest.mark.parametrize("preset", ["debug", "asan", "tsan"])
@pytest.mark.parametrize("name", NAMES)
def test_unit(preset, name):
    done = subprocess.run([ROOT / "build" / preset / "tests" / "unit" / name], capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
