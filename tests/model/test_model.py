"""The model of coherence holds, and each of its mutants does not."""

import pytest
from model import CASES, check_all

# One worker plays them, two at a time.
pytestmark = pytest.mark.xdist_group("model")

QUICK = [case for case in CASES if not case.slow]

@pytest.fixture(scope="module")
def outcomes():
    return {outcome.case.name: outcome for outcome in check_all(QUICK)}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [case.name for case in QUICK])
def test_model(outcomes, name):
    outcome = outcomes[name]
    print(f"{outcome.states:,} states, {outcome.error}")
    assert outcome.as_expected(), outcome
