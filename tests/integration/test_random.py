"""Random changes and trouble; every answer is judged. `./dev random` plays for longer."""

import pytest
from conftest import play_enough
from harness import random_coherence
from harness.servers import BUILD

pytestmark = [pytest.mark.slow, pytest.mark.first]

CHANGES = ("create", "toggle", "give", "delete", "end_soon", "put_off", "extend", "rotate", "relabel")
TROUBLE = ("redis_forgets", "redis_restarts", "redis_hangs", "feeds_break", "feeds_are_kept_away",
           "lookups_are_kept_away", "postgres_is_half_back", "daemon_sleeps", "rows_are_hidden",
           "grants_are_lost", "notifications_are_made_up", "behind_the_triggers",
           "from Redis", "stale")


def test_every_answer_keeps_the_promise():
    seconds = 60 if BUILD.name == "release" else 15
    names = (*CHANGES, *TROUBLE) if BUILD.name == "release" else CHANGES
    play_enough(random_coherence.play, seconds, lambda counts: (
        counts["judged"] > 1000 and counts["ALLOW"] > 100 and counts["DENY"] > 100
        and all(counts[name] > 0 for name in names)))
