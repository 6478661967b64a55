"""Holds each answer to the bound that INFO stated at that time.

INFO's `revocation_bound` names what bounds a revocation now. BoundJudge reads it all the time, from
each daemon, and judges an answer by the largest bound that was stated while it matters: from that
bound before the question until the answer. So a bound that is stated too small, even for a moment,
makes answers wrong; and one that is stated too large makes none wrong, which a test has to look for
by itself (`texts`). With `after`, a bound that is stated no more counts for that many seconds at most:
when the daemon states a smaller one it has ceased to use what it may have missed before.

    with BoundJudge({"key-1": ("DENY", "inactive"), …}, [daemon]) as judge:
        judge.histories["key-1"].change(…), .changed(…)           as with Oracle
        judge.judge("d1 client 2", "key-1", answer, asked, answered)
    assert not judge.wrong

An answer waits until INFO has been read once more, then it is judged by the two rules of Oracle. While a
daemon does not answer INFO, because it was killed or starts anew, the bound that it stated last and the
one that it states next both count.

`judge` is Oracle's, so that whoever takes an Oracle takes a BoundJudge; but what it returns is the
first thing that was wrong so far, with whatever answer.

After a failover the truth is what stands in the current primary's rows. What was committed on the old
one and is lost becomes a version of its own: change() and changed() it back. Until that is done answers
can be `held`: they are judged later. Keys.moving does both.
"""

import collections
import contextlib
import re
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "integration")]
from harness.oracle import INFINITY, Oracle  # noqa: E402
from harness.servers import HANG, wait_until  # noqa: E402
from wire import Wire  # noqa: E402

NOTIFICATION = 2.0  # seconds: a second for a machine that is busy, and a heartbeat's interval
AFTER = NOTIFICATION  # what the tests use that make trouble
EVERY = 0.02        # seconds from one look at INFO to the next
BOUNDS = ("cache.ttl_unlinked", "cache.ttl", "cache.stale_max")
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}


def seconds(text):
    """A duration as CONFIG GET tells it: "300ms"."""
    number, unit = re.fullmatch(r"(\d+)([a-z]*)", text).groups()
    return int(number) * UNITS[unit]


class Statement:
    """What INFO said from `since` until `until`, both taken wide: from the look before the first that
    said so, to the first look that said something else."""

    def __init__(self, text, store, bound, since):
        self.text, self.store, self.bound = text, store, bound
        self.since = self.until = since


class Watch:
    """One daemon's statements, and its answers that wait to be judged."""

    def __init__(self, daemon, after=INFINITY):
        self.daemon, self.after = daemon, after
        self.bounds = {"notification": NOTIFICATION}
        self.statements = []
        self.answers = collections.deque()
        self.wire = None
        self.looked = -INFINITY  # when INFO was asked for last and answered

    def ask(self):
        """INFO's (revocation_bound, store), or None when the daemon does not answer."""
        try:
            if not self.wire:
                self.wire = Wire(self.daemon.admin, timeout=HANG)
                for name in BOUNDS:
                    self.bounds[name] = seconds(self.wire.ask("CONFIG", "GET", name)[1].decode())
            report = self.wire.ask("INFO")
            if isinstance(report, RuntimeError):  # the back thread stands still
                return None
            fields = dict(line.split(":", 1) for line in report.decode().splitlines() if ":" in line)
            return fields["revocation_bound"], fields.get("store")
        except (OSError, EOFError):
            self.close()
            return None

    def close(self):
        if self.wire:
            self.wire.close()
        self.wire = None

    def look(self):
        """Ask INFO once."""
        asked = time.monotonic()
        said = self.ask()
        if not said:
            return
        last = self.statements[-1] if self.statements else None
        if not last or said != (last.text, last.store):
            self.statements.append(Statement(*said, self.bounds[said[0].partition(":")[0]],
                                             self.looked if last else asked))
        for statement in filter(None, (last, self.statements[-1])):
            statement.until = time.monotonic()
        self.looked = asked

    def largest(self, asked, answered):
        """Of the bounds that were stated from `bound`, or `after`, before `asked` until `answered`."""
        bounds = [0.0]
        for statement in reversed(self.statements):
            if statement.until < asked - max(self.bounds.values()):
                break
            if statement.since <= answered and statement.until >= asked - min(statement.bound, self.after):
                bounds.append(statement.bound)
        return max(bounds)


class BoundJudge(Oracle):
    """An Oracle whose bound is what INFO states. Daemons are told apart by their folder's name, with
    which the name of whoever asks begins: "d1", "d1.0 3"."""

    def __init__(self, keys, daemons, after=INFINITY):
        super().__init__(keys, None)
        self.watches = {daemon.folder.name: Watch(daemon, after) for daemon in daemons}
        self.wrong = []
        self.bounds_used = collections.Counter()  # seconds: how many answers were judged by that
        self.held = False
        self.stopping = False
        self.threads = [threading.Thread(target=self.run, args=[watch]) for watch in self.watches.values()]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        """All that was answered is judged first."""
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not any(watch.answers for watch in self.watches.values())
                       or not all(thread.is_alive() for thread in self.threads), "all answers to be judged")
        self.stopping = True
        for thread in self.threads:
            thread.join()
        self.wrong += [f"{name}: {len(watch.answers)} answers were not judged"
                       for name, watch in self.watches.items() if watch.answers]

    def watch(self, who):
        return self.watches[re.match(r"\w+", who)[0]]

    def bound(self, daemon, asked, answered):
        bound = self.watch(daemon).largest(asked, answered)
        self.bounds_used[bound] += 1
        return bound

    def judge(self, daemon, key, answer, asked, answered):
        """To be judged soon. The first thing that was wrong so far is returned, or None."""
        self.watch(daemon).answers.append((daemon, key, answer, asked, answered))
        return self.wrong[0] if self.wrong else None

    def texts(self, daemon):
        """What INFO has called the bound so far, in turn."""
        return in_turn(statement.text for statement in self.watch(daemon.folder.name).statements)

    def stores(self, daemon):
        """What INFO has called the store so far, in turn, without "unknown"."""
        return in_turn(statement.store for statement in self.watch(daemon.folder.name).statements
                       if statement.store not in (None, "unknown"))

    def run(self, watch):
        while not self.stopping:
            watch.look()
            while not self.held and watch.answers and watch.answers[0][-1] < watch.looked:
                self.settle(watch, *watch.answers[0])
                watch.answers.popleft()
            time.sleep(EVERY)
        watch.close()

    def settle(self, watch, who, key, answer, asked, answered):
        wrong = super().judge(who, key, answer, asked, answered)
        if wrong:
            said = [(f"{s.since:.3f}", f"{s.until:.3f}", s.text, s.store) for s in watch.statements[-4:]]
            self.wrong.append(f"{wrong} (asked at {asked:.3f}, answered at {answered:.3f}; versions "
                              f"{self.histories[key].versions[-3:]}; INFO said {said})")


def in_turn(texts):
    """Without repetitions."""
    found = []
    for text in texts:
        if found[-1:] != [text]:
            found.append(text)
    return found
