"""The judge of bounds, with a daemon that says what the test wants."""

import time
from types import SimpleNamespace

import pytest
from harness import bound_judge
from harness.bound_judge import BoundJudge, Statement, Watch, seconds
from harness.servers import wait_until

ALLOW, DENY = ("ALLOW", "1", "2"), ("DENY", "inactive")
BOUNDS = {"notification": 0.2, "cache.ttl_unlinked": 1, "cache.ttl": 60, "cache.stale_max": 300}


class Said(Watch):
    """What it says is set, not asked for."""

    text, store = "notification", "1/1/1/1"

    def ask(self):
        self.bounds = BOUNDS
        return self.text and (self.text, self.store)


@pytest.fixture
def daemon():
    return SimpleNamespace(folder=SimpleNamespace(name="d1"))


@pytest.fixture
def judge(monkeypatch, daemon):
    monkeypatch.setattr(bound_judge, "Watch", Said)
    with BoundJudge({"key": ALLOW}, [daemon]) as one:
        yield one


def test_durations():
    assert [seconds(text) for text in ("0s", "20ms", "5s", "5m", "1h")] == [0, 0.02, 5, 300, 3600]


def test_the_largest_bound_that_matters():
    watch = Watch(None)
    watch.bounds = BOUNDS
    for text, since, until in (("cache.ttl", 0, 10), ("notification", 10, 100), ("cache.ttl_unlinked", 100, 110),
                               ("notification", 110, 300)):
        watch.statements.append(Statement(text, None, BOUNDS[text], since))
        watch.statements[-1].until = until
    for asked, answered, bound in ((5, 6, 60), (69, 69, 60), (71, 71, 0.2), (99, 101, 1), (110.9, 112, 1),
                                   (111.1, 111.2, 0.2), (250, 300, 0.2)):
        assert watch.largest(asked, answered) == bound, (asked, answered)


def test_a_statement_that_was_withdrawn_counts_for_a_while():
    watch = Watch(None, after=2)
    watch.bounds = BOUNDS
    for text, since, until in (("cache.ttl", 0, 10), ("notification", 10, 100)):
        watch.statements.append(Statement(text, None, BOUNDS[text], since))
        watch.statements[-1].until = until
    assert [watch.largest(asked, asked) for asked in (5, 11.9, 12.1)] == [60, 60, 0.2]


def revoke(judge):
    judge.histories["key"].change(time.monotonic(), DENY)
    judge.histories["key"].changed(time.monotonic())


def judged(judge, answer, who="d1 client"):
    """One more answer is judged; how many were wrong so far is returned."""
    before, now = judge.judged, time.monotonic()
    judge.judge(who, "key", answer, now, now)
    wait_until(lambda: judge.judged > before, "the judgement")
    time.sleep(0.05)
    return len(judge.wrong)


def test_a_late_revocation_is_wrong_by_the_bound_that_was_stated(judge, daemon):
    revoke(judge)
    assert judged(judge, ALLOW) == 0
    time.sleep(0.3)
    assert judged(judge, DENY) == 0
    assert judged(judge, ALLOW, "d1 another") == 1
    assert "out of date by more than 0.2 s" in judge.wrong[0]
    judge.watches["d1"].text = "cache.ttl: for a reason"
    time.sleep(0.1)
    assert judged(judge, ALLOW, "d1 a third") == 1
    assert judged(judge, DENY, "d1 a third") == 1
    assert judge.judge("d1 a third", "key", DENY, 0, 0) == judge.wrong[0]
    assert judge.texts(daemon) == ["notification", "cache.ttl: for a reason"]
    assert judge.stores(daemon) == ["1/1/1/1"]


def test_an_earlier_version_does_not_come_back(judge):
    revoke(judge)
    assert judged(judge, DENY) == 0
    assert judged(judge, ALLOW) == 1
    assert "again" in judge.wrong[0]


def test_what_is_held_is_judged_later(judge):
    revoke(judge)
    judge.held = True
    time.sleep(0.3)
    judge.judge("d1", "key", ALLOW, time.monotonic(), time.monotonic())
    time.sleep(0.1)
    assert judge.judged == 0
    judge.histories["key"].change(time.monotonic() - 0.2, ALLOW)
    judge.histories["key"].changed(time.monotonic())
    judge.held = False
    wait_until(lambda: judge.judged, "the judgement")
    assert not judge.wrong


@pytest.mark.parametrize("before, after", [("cache.ttl", "notification"), ("notification", "cache.ttl")])
def test_of_a_killed_daemon_the_last_and_the_next_bound_count(judge, before, after):
    """Its next life answers a client before it answers INFO: such an answer is not judged yet."""
    watch = judge.watches["d1"]

    def say(text):
        watch.text = text
        time.sleep(0.1)
    say(before)
    say(None)
    revoke(judge)
    time.sleep(0.5)
    now = time.monotonic()
    judge.judge("d1.1 client", "key", ALLOW, now, now)
    time.sleep(0.1)
    assert judge.judged == 0
    say(after)
    assert judge.judged == 1 and not judge.wrong
    assert watch.largest(now, now) == BOUNDS["cache.ttl"]


def test_a_small_bound_on_both_sides_of_a_kill(judge):
    """It is the bound in between, too."""
    revoke(judge)
    judge.watches["d1"].text = None
    time.sleep(0.5)
    now = time.monotonic()
    judge.judge("d1.1 client", "key", ALLOW, now, now)
    judge.watches["d1"].text = "notification"
    wait_until(lambda: judge.wrong, "the judgement")
    assert "out of date by more than 0.2 s" in judge.wrong[0]
