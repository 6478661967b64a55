"""Every input that was ever kept, once more, and a short round of each fuzzer."""

import pytest
from harness.fuzz import FUZZ, NAMES, fuzz, replay


@pytest.mark.parametrize("name", NAMES)
def test_replay(name):
    done = replay(name)
    assert done.returncode == 0, done.stderr
    assert len(list((FUZZ / "corpus" / name).iterdir())) > 1


@pytest.mark.parametrize("name", NAMES)
def test_a_short_round(name):
    done, count = fuzz(name, 2)
    print(f"{name}: {count}")
    assert done.returncode == 0, done.stderr
    assert count["executions"] > 100
