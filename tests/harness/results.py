"""What a bench leaves: build/bench/NAME.json, in the one form that ./dev figures reads. Needs no package."""

import datetime
import json
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


def save(name, conditions, rows, ratios=None):
    """Write rows of named figures, the ratios of rows, and the date, commit and conditions that a document tells
    beside them."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    data = {"date": f"{datetime.date.today()}", "commit": commit(), "conditions": conditions, "ratios": ratios or {},
            "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def single(figures):
    """Rows of one figure each."""
    return {name: {"value": value} for name, value in figures.items()}
