"""Random changes and trouble; every answer is judged. `./dev random` plays for longer."""

import os
import random

from harness import random_coherence
from harness.servers import BUILD, Scratch

CHANGES = ("create", "toggle", "give", "delete")
TROUBLE = ("redis_forgets", "redis_restarts", "redis_hangs", "links_break", "links_are_kept_away",
           "lookups_are_kept_away", "postgres_is_half_back", "daemon_sleeps", "rows_are_hidden",
           "grants_are_lost", "notifications_are_made_up", "behind_the_triggers",
           "from Redis", "stale")


def test_every_answer_keeps_the_promise():
    seconds = 60 if BUILD.name == "release" else 15
    seed = os.environ.get("APIKEYD_SEED") or str(random.getrandbits(32))
    print(f"seed {seed}: APIKEYD_SEED={seed} plays it again")
    scratch = Scratch()
    try:
        wrong, counts = random_coherence.play(scratch.path, seconds, seed)
    finally:
        scratch.remove()
    print(dict(counts))
    assert not wrong
    assert counts["judged"] > 1000 and counts["ALLOW"] > 100 and counts["DENY"] > 100
    assert all(counts[name] > 0 for name in CHANGES)
    if seconds == 60:
        assert all(counts[name] > 0 for name in TROUBLE)
