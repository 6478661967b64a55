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
    for seconds in (2, 10, 60):  # how much is executed in two seconds depends on what else runs
        done, count = fuzz(name, seconds)
        print(f"{name}: {count}")
        assert done.returncode == 0, done.stderr
        if count["executions"] > 100:
            return
    raise AssertionError(f"too little has been executed: {count}")
