"""listen.cpu: a processor for the front thread alone, also when somebody moves threads or changes the cpuset."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import check, info
from harness.confined import allowed_calls
from harness.cpuset import Cpuset
from harness.servers import BUILD, ROOT, wait_until

PROCESSORS = sorted(os.sched_getaffinity(0))
FRONT, OTHERS = PROCESSORS[-1], set(PROCESSORS[:-1])

pytestmark = [pytest.mark.slow, pytest.mark.builds("release", "asan"),
              pytest.mark.skipif(not OTHERS, reason="one processor cannot be shared out")]


def threads(daemon):
    """Where its threads may run: the front thread, and each of the others."""
    front, others = None, []
    for task in Path(f"/proc/{info(daemon)['process_id']}/task").iterdir():
        where = os.sched_getaffinity(int(task.name))
        if (task / "comm").read_text() == "apikeyd-front\n":
            front = where
        else:
            others.append(where)
    assert front and len(others) > 1
    return front, others


def apart(daemon, front=FRONT, others=None):
    return lambda: threads(daemon)[0] == {front} and all(one == (others or OTHERS) for one in threads(daemon)[1])


def thread_id(daemon, name):
    tasks = Path(f"/proc/{info(daemon)['process_id']}/task").iterdir()
    return next(int(task.name) for task in tasks if (task / "comm").read_text() == f"{name}\n")


def state(daemon):
    counts = info(daemon)
    return (counts["front_cpu"].partition(":")[0], counts["front_cpu_configured"], counts["front_cpu_held"])


def test_the_front_thread_has_a_processor_to_itself(db, start):
    db.add_key("good")
    daemon = start({"listen.cpu": FRONT})
    assert apart(daemon)()
    assert state(daemon) == ("held", 1, 1) and info(daemon)["front_cpu_losses"] == 0
    assert info(daemon)["front_cpu"].startswith(f"held: {FRONT} is asked for, the front thread may run on {FRONT}, ")
    # Somebody moves the front thread, or lets the others in: each is mended, and told once.
    os.sched_setaffinity(thread_id(daemon, "apikeyd-front"), OTHERS)
    wait_until(lambda: info(daemon)["front_cpu_losses"] == 1, "the move to be seen")
    assert apart(daemon)()
    os.sched_setaffinity(thread_id(daemon, "apikeyd"), PROCESSORS)
    wait_until(lambda: info(daemon)["front_cpu_losses"] == 2, "the move to be seen")
    assert apart(daemon)() and state(daemon) == ("held", 1, 1)
    assert daemon.log().count("threads were moved from outside") == 1
    # A reload leaves it alone, and takes no processor that is not there.
    assert daemon.admin_client().execute_command("RELOAD") == "OK"
    assert apart(daemon)() and check(daemon.client(), "good")[0] == "ALLOW"


def test_a_daemon_that_was_started_on_few_processors(start):
    """What it was started with is for its other threads. The front thread's is asked for, and may be another one."""
    few = PROCESSORS[0]
    inside = ["taskset", "-c", str(few)]
    daemon = start({"listen.cpu": FRONT}, inside=inside)
    assert apart(daemon, others={few})()
    daemon = start({"listen.cpu": "last"}, inside=inside)
    assert apart(daemon, few, {few})() and state(daemon) == ("shared", 1, 0)
    assert "its other threads share it with the front thread" in daemon.log()


def test_none_is_asked_for(daemon):
    assert threads(daemon)[0] == set(PROCESSORS) and state(daemon) == ("none", 0, 0)


def checked(config, inside):
    done = subprocess.run([*inside, BUILD / "apikeyd", "-c", config, "--check-config"], capture_output=True, text=True,
                          timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.fixture
def around():
    """A cpuset, for as long as the test's daemons."""
    try:
        group = Cpuset(f"apikeyd-{os.getpid()}", PROCESSORS)
    except OSError as error:
        pytest.skip(f"a cpuset cannot be made here: {error}")
    yield group
    group.remove()


def test_a_cpuset_that_changes(around, db, start):
    db.add_key("good")
    daemon = start({"listen.cpu": FRONT}, inside=around.inside())
    assert apart(daemon)()
    around.set(OTHERS)
    wait_until(lambda: state(daemon) == ("lost", 1, 0), "the loss to be seen")
    assert threads(daemon)[0] <= OTHERS
    assert daemon.log().count("the front thread has lost its processor") == 1
    assert check(daemon.client(), "good")[0] == "ALLOW"
    status, said = checked(daemon.config, around.inside())
    assert status == 78 and f'listen.cpu "{FRONT}": it is not in the daemon\'s cpuset' in said
    around.set(PROCESSORS)
    wait_until(lambda: state(daemon) == ("held", 1, 1), "the processor to be back")
    assert apart(daemon)()
    around.set([FRONT])
    wait_until(lambda: state(daemon) == ("shared", 1, 0), "one processor to be left")
    assert check(daemon.client(), "good")[0] == "ALLOW"


@pytest.mark.builds("release")
def test_a_filter_that_refuses(start, scratch):
    daemon = start({"listen.cpu": FRONT}, wait=False)
    daemon.write_config()
    calls = scratch / "fewer-calls"
    calls.write_text("\n".join(allowed_calls() - {"sched_setaffinity"}))
    confined = [sys.executable, "-I", ROOT / "tests" / "harness" / "confined.py", calls]
    status, said = checked(daemon.config, confined)
    assert status == 78 and "sched_setaffinity(2) is refused: Operation not permitted" in said
