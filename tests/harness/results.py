"""What a bench leaves: build/bench/NAME.json, in the one form that ./dev figures reads. Needs no package.

A bench imports this before it starts anything: commit and load are those of its beginning."""

import datetime
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "bench"


def commit():
    """The commit that is measured, with a "+" if files differ from it. Empty without git."""
    try:
        return subprocess.run(
            ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+"],
            capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


COMMIT = commit()
LOAD = os.getloadavg()[0]  # of the minute before: without the bench, so of what runs beside it


def save(name, conditions, rows, ratios=None):
    """Write rows of named figures, the ratios of rows, and what a document tells beside them: date, commit, conditions,
    and the load average before the bench and at its end, when the bench is part of it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    data = {"date": f"{datetime.date.today()}", "commit": COMMIT, "conditions": conditions,
            "load": [round(load, 1) for load in (LOAD, os.getloadavg()[0])], "ratios": ratios or {}, "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def single(figures):
    """Rows of one figure each."""
    return {name: {"value": value} for name, value in figures.items()}
