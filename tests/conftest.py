"""Lets every test import the harness and the tools, and tells ./dev check which packages tests use."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent / "tools")]


def pytest_addoption(parser):
    parser.addoption("--needs", metavar="FILE",
                     help="write the packages that the selected tests are marked to need, and run none")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    path = session.config.getoption("--needs")
    if not path or session.testsfailed:
        return None
    packages = {package for item in session.items for mark in item.iter_markers("needs") for package in mark.args}
    Path(path).write_text("".join(f"{package}\n" for package in sorted(packages)), encoding="ascii")
    return True
