"""Two daemons that count are killed at each named step of a flush, and PostgreSQL crashes in mid-COMMIT: a short round.
`./dev kills` plays for longer."""

import os
import platform
import random

import pytest
from harness import count_kills
from harness.servers import Scratch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.first,
    pytest.mark.builds("release"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="kill_at knows the debug registers of amd64"),
]


def test_each_use_counts_once_wherever_a_kill_comes():
    seed = os.environ.get("APIKEYD_SEED") or str(random.getrandbits(32))
    print(f"seed {seed}: APIKEYD_SEED={seed} plays it again")
    scratch = Scratch()
    try:
        wrong, count = count_kills.play(scratch.path, len(count_kills.STEPS) + 3, 3, seed)
    finally:
        scratch.remove()
    print(dict(count))
    assert not wrong
    assert count["named steps"] == len(count_kills.STEPS)
    assert count["crashes"] == 3
    assert count["answers"] > 5000
