"""What may be answered: every change's commit times, and the promise that answers are held to."""

import bisect
import threading
from typing import NamedTuple

INFINITY = float("inf")
EXPIRED = ("DENY", "expired")
LATE = 0.010  # seconds that a key may be allowed after its end, by who asked then
EARLY = 0.5   # … and be denied before it: PostgreSQL's clock may be known badly


class Version(NamedTuple):
    begin: float  # just before its COMMIT was sent
    answer: tuple
    end: float = INFINITY  # when an ALLOW ends by itself

    def gives(self, answer, asked, answered):
        """Whether this may be the answer at some time in between."""
        if answer == self.answer:
            return answer[0] != "ALLOW" or asked <= self.end
        return answer == EXPIRED and self.answer[0] == "ALLOW" and answered >= self.end - EARLY


class History:
    """One key's versions. A version may be seen from its own `begin` until the next one's COMMIT
    has returned; when exactly it was committed in between, nobody can tell."""

    def __init__(self, answer):
        self.versions = [Version(-INFINITY, answer)]
        self.ends = []  # ends[i]: the COMMIT that ended version i has returned
        self.lock = threading.Lock()

    def change(self, begin, answer, end=INFINITY):
        with self.lock:
            self.versions.append(Version(begin, answer, end))

    def changed(self, end):
        with self.lock:
            self.ends.append(end)

    def first_possible(self, since):
        """The first version that may still have been current at `since` or later."""
        return bisect.bisect_left(self.ends, since)

    def find(self, answer, first, asked, until):
        """The first version from `first` on that gives `answer` when asked then, and may have begun by `until`."""
        for i in range(first, len(self.versions)):
            if self.versions[i].begin > until:
                return None
            if self.versions[i].gives(answer, asked, until):
                return i
        return None


class Oracle:
    """Judges answers by three rules, whatever has happened to links, Redis and daemons:

    end         no version is allowed later than 10 ms after its end
    bound       an answer was right at some time from the daemon's bound, in seconds, before it was
                asked for until it came
    no return   one daemon's answers about a key never go back to an earlier version
    """

    late = LATE

    def __init__(self, keys, bounds):
        self.histories = {key: History(answer) for key, answer in keys.items()}
        self.bounds = bounds
        self.seen = {}  # (daemon, key): the least version that explains all its answers so far
        self.judged = 0

    def bound(self, daemon, _asked, _answered):
        """In seconds, for an answer of that time."""
        return self.bounds[daemon]

    def judge(self, daemon, key, answer, asked, answered):
        """What is wrong with the answer, or None. One daemon's answers come in order."""
        history = self.histories[key]
        bound = self.bound(daemon, asked, answered)
        with history.lock:
            self.judged += 1
            fresh = history.first_possible(asked - bound)
            if history.find(answer, fresh, asked - self.late, answered) is None:
                return f"{daemon}: {key} is {answer}, out of date by more than {bound} s"
            least = max(self.seen.get((daemon, key), 0), fresh)
            version = history.find(answer, least, asked - self.late, answered)
            if version is None:
                return f"{daemon}: {key} is {answer} again, after a later version was answered"
            self.seen[daemon, key] = version
        return None
