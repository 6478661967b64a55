"""Lets every test import the harness and the tools, leaves out tests that another build runs, and tells ./dev check
which packages tests use."""

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("APIKEYD_BUILD", "release")).name
sys.path[:0] = [str(TESTS), str(TESTS.parent / "tools")]


def pytest_addoption(parser):
    parser.addoption("--needs", metavar="FILE",
                     help="write the packages that the selected tests are marked to need, and run none")
    parser.addoption("--everywhere", action="store_true",
                     help="run also tests whose marker `builds` does not name the build under test")


def pytest_collection_modifyitems(config, items):
    """A test that another build is for is deselected, not skipped: a skipped test is one that could not run."""
    items.sort(key=lambda item: item.get_closest_marker("first") is None)
    if config.getoption("--everywhere"):
        return
    others = [item for item in items
              if (mark := item.get_closest_marker("builds")) and BUILD not in mark.args]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in set(others)]


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    path = session.config.getoption("--needs")
    if not path or session.testsfailed:
        return None
    packages = {package for item in session.items for mark in item.iter_markers("needs") for package in mark.args}
    Path(path).write_text("".join(f"{package}\n" for package in sorted(packages)), encoding="ascii")
    return True
