"""./dev model: check the models of coherence with spin, and that each of their mutants fails.

Every run is exhaustive: all states that can be reached are visited, or an error is found.
"""

import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.results import save, single  # noqa: E402

MODEL = Path(__file__).with_name("coherence.pml")
RELAYS = Path(__file__).with_name("relays.pml")
SHORT = ("TTL=1", "STALE_MAX=1")
SMALL = (*SHORT, "FAILURES=1")


class Case(NamedTuple):
    name: str
    defines: tuple = ()
    live: bool = False
    violates: str = ""  # what a mutant's counterexample breaks
    slow: bool = False  # not part of ./dev test
    model: Path = MODEL


class Outcome(NamedTuple):
    case: Case
    states: int
    seconds: float
    error: str  # what spin said, or ""
    exhaustive: bool

    def as_expected(self):
        if self.case.violates:
            return re.search(self.case.violates, self.error) is not None
        return not self.error and self.exhaustive


HEARD = r"assertion violated.*version>=s\[i\]\.heard"
BOUND = r"assertion violated.*==committed.*gone"
SHARED = r"assertion violated.*redis\.version>=entombed"
CONFIRMED = r"assertion violated.*heard<=s\[i\]\.\w+\.version"
ENDED = r"assertion violated.*over"
RELAYED = r"assertion violated.*memory==committed.*gone"
KNOWN = r"assertion violated.*version>=s\[i\]\.known"

# The longest first, so that two of them at a time end soonest.
CASES = [
    Case("the triggers are disabled at times", ("SILENT",), slow=True),
    Case("the promise holds", slow=True),
    Case("the notification queue is full at times", (*SHORT, "QUEUE_FULL"), slow=True),
    Case("Redis is read for stale service", (*SHORT, "KNOWN_CHANGES"), slow=True),
    Case("lookups lead elsewhere at times", ("LAST=1", "ELSEWHERE"), slow=True),
    Case("all of these", (*SMALL, "LAST=1", "QUEUE_FULL", "KNOWN_CHANGES", "ELSEWHERE"), slow=True),
    Case("the triggers are disabled at times, short ttl", (*SHORT, "SILENT"), slow=True),
    Case("the promise holds, short ttl", SHORT),
    Case("answers go on, from the last version", SMALL, live=True),
    Case("without a trigger, ttl is the bound", ("NO_TRIGGER",), slow=True),
    Case("without a trigger, short ttl", (*SHORT, "NO_TRIGGER")),
    Case("the queue is full, one failure", (*SMALL, "QUEUE_FULL")),
    Case("lookups lead elsewhere, one failure", ("LAST=1", "FAILURES=1", "ELSEWHERE")),
    Case("Redis read for stale service, one failure",
         ("LAST=1", "TTL=1", "FAILURES=1", "KNOWN_CHANGES")),
    Case("the key ends, one failure", (*SMALL, "LAST=1", "ENDS")),
    Case("relays, one failure", slow=True, model=RELAYS),
    Case("relays, room for two entries each", ("FAILURES=0", "ROOM=2"), slow=True, model=RELAYS),
    Case("relays, another primary", ("FAILURES=0", "FAILOVER"), model=RELAYS),
    Case("relays", ("FAILURES=0",), model=RELAYS),
    Case("mutant: no epoch", ("NO_EPOCH",), violates=RELAYED, model=RELAYS),
    Case("mutant: a confirmation of another server", ("FAILURES=0", "FAILOVER", "NO_SERVER"),
         violates=RELAYED, model=RELAYS),
    Case("mutant: a confirmation ahead of its changes", ("FAILURES=0", "AHEAD"), violates=RELAYED, model=RELAYS),
    Case("mutant: no numbers", ("FAILURES=0", "NO_NUMBER"), violates=RELAYED, model=RELAYS),
    Case("mutant: a confirmation dated when it is read", ("FAILURES=0", "DATED_WHEN_READ"), violates=RELAYED,
         model=RELAYS),
    Case("mutant: no watermark where no relay reaches", ("FAILURES=0", "NO_WATERMARK"), violates=RELAYED,
         model=RELAYS),
    Case("mutant: the end is not in Redis", (*SMALL, "LAST=1", "ENDS", "NO_WINDOW_IN_REDIS"),
         violates=ENDED),
    Case("mutant: an ALLOW in memory has no end", (*SMALL, "LAST=1", "ENDS", "JUDGED_WHEN_KEPT"),
         violates=ENDED),
    Case("mutant: fills without NX", ("NO_NX",), violates=SHARED),
    Case("mutant: no tombstone", ("NO_TOMBSTONE",), violates=SHARED),
    Case("mutant: reads in flight are not dirty", ("NO_DIRTY",), violates=HEARD),
    Case("mutant: no watermark when the feed is back", ("NO_WATERMARK",), violates=HEARD),
    Case("mutant: no watermark for Redis on a change", ("NO_KEY_WATERMARK",), violates=HEARD),
    Case("mutant: no watermark when triggers are touched", ("SILENT", "FAILURES=1", "NO_DEFINITION"),
         violates=HEARD),
    Case("mutant: the feed is a flag, not a lease", ("NO_LEASE",), violates=BOUND),
    Case("mutant: stale below the watermark while confirmed", ("NO_CONFIRMED_WATERMARK",),
         violates=CONFIRMED),
    Case("mutant: a tombstone ends no stale service",
         (*SHORT, "KNOWN_CHANGES", "NO_TOMBSTONE_KNOWN"), violates=KNOWN),
    Case("mutant: below the watermark nothing is taken",
         (*SHORT, "KNOWN_CHANGES", "REFUSE_BELOW_WATERMARK"), violates=KNOWN),
    Case("mutant: the table of changes is not read", (*SHORT, "QUEUE_FULL", "NO_TABLE"),
         violates=HEARD),
    Case("mutant: any store is taken alike", ("LAST=1", "ELSEWHERE", "NO_STORE"),
         violates=HEARD),
    Case("mutant: what was read elsewhere is served stale",
         ("LAST=1", "FAILURES=1", "ELSEWHERE", "KNOWN_CHANGES", "STALE_ELSEWHERE"), violates=KNOWN),
    Case("mutant: no watermark when stores agree again", ("LAST=1", "ELSEWHERE", "NO_WATERMARK_AGREED"),
         violates=HEARD),
    Case("mutant: an answer is kept though a change has overtaken it",
         (*SHORT, "KNOWN_CHANGES", "KEEP_OVERTAKEN"), violates=KNOWN),
    Case("mutant: no asking after Redis", (*SMALL, "NO_ASKING_AGAIN"), live=True,
         violates="acceptance cycle"),
]


def check(case):
    defines = [f"-D{define}" for define in (*case.defines, *(("LIVENESS",) if case.live else ()))]
    with tempfile.TemporaryDirectory(prefix="apikeyd-model-") as folder:
        def run(*argv):
            return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True,
                                  timeout=7200).stdout
        begin = time.monotonic()
        run("spin", *defines, "-a", str(case.model))
        # A mutant is found within a second, so its compiler is not to take two.
        run("gcc", "-O1" if case.violates else "-O2", "-o", "pan", "pan.c", "-DMEMLIM=8192",
            *(["-DNFAIR=3"] if case.live else ["-DSAFETY"]))
        said = run("./pan", "-m3000000", "-w25", *(["-a", "-f"] if case.live else []))
        seconds = time.monotonic() - begin
    errors = int(re.search(r"errors: (\d+)", said).group(1))
    return Outcome(
        case=case,
        states=int(float(re.search(r"([\d.e+]+) states, stored", said).group(1))),
        seconds=seconds,
        error=re.search(r"pan:1: (.*)", said).group(1) if errors else "",
        exhaustive="Search not completed" not in said and "depth too small" not in said,
    )


def check_all(cases, tell=lambda outcome: None):
    """The outcomes in the order of the cases; tell(outcome) as soon as one and those before it are known."""
    outcomes = []
    with ThreadPoolExecutor(2) as pool:
        for outcome in pool.map(check, cases):
            tell(outcome)
            outcomes.append(outcome)
    return outcomes


def show(outcome):
    verdict = "violated, as it must be" if outcome.case.violates else "no violation"
    print(f"{outcome.case.name:46}{outcome.states:12,}{outcome.seconds:9.1f}  "
          f"{verdict if outcome.as_expected() else f'UNEXPECTED: {outcome.error}'}", flush=True)


def main():
    print(f"{'':46}{'states':>12}{'seconds':>9}", flush=True)
    outcomes = check_all(CASES, show)
    mutants = [outcome for outcome in outcomes if outcome.case.violates]
    save("model", "two cases at a time", {
        **{one.case.name: {"states": one.states, "seconds": one.seconds} for one in outcomes if one not in mutants},
        **single({"mutants": len(mutants), "mutants found": sum(one.as_expected() for one in mutants)})})
    sys.exit(not all(outcome.as_expected() for outcome in outcomes))


if __name__ == "__main__":
    main()
