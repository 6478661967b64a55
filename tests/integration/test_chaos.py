"""A round of every fault under load, each answer judged, all usage accounted for. `./dev chaos` plays for longer."""

import pytest
from conftest import play_enough
from harness import chaos
from harness.servers import BUILD

pytestmark = [pytest.mark.slow, pytest.mark.first]


def test_no_wrong_answer_and_no_usage_lost():
    seconds = 60 if BUILD.name == "release" else 25
    play_enough(chaos.play, seconds, lambda count: (
        count["faults"] >= seconds / 6 and count["ALLOW"] > 500 and count["DENY"] > 500
        and count["keys allowed"] > 5))
