"""./dev figures [take]: the plots and the table of the hot path, in docs/plots and docs/performance.md.

Both are made from docs/plots/hot.json, so that they cannot differ. `take` first replaces that file by the results of the
last `./dev bench hot` (build/bench). tests/meta checks that plots and table are what the file gives.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "bench"
FIGURES = ROOT / "docs" / "plots" / "hot.json"
TABLE = ROOT / "docs" / "performance.md"
BENCHES = {  # what the table calls it, its unit, and its bars: a number and whether more is better
    "hot-64": ("hot, `-P 64`, requests a second", "", {"redis": (3.0, True), "baseline": (0.85, True)}),
    "hot-64-cpu": ("hot, `-P 64`, server's processor time", " µs", {}),
    "hot-1-cpu": ("hot, `-P 1`, server's processor time", " µs", {"redis": (0.85, False), "baseline": (1.12, False)}),
}
PLOTS = {"hot-64.svg": ("hot-64-cpu", "A hot CHECK, 64 in a pipeline"),
         "hot-1.svg": ("hot-1-cpu", "A hot CHECK, one at a time")}
NAMES = {"redis": "Redis GET", "baseline": "baseline", "apikeyd": "apikeyd"}

WIDTH, BAR, GAP, LEFT, RIGHT, TOP = 720, 22, 10, 190, 110, 44
STYLE = """<style>
  text { font: 13px system-ui, sans-serif; fill: #1c2128 } .title { font-weight: 600 }
  rect { fill: #2463c4 } line { stroke: #5a6472; stroke-width: 2 } .page { fill: #fff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e8ee } rect { fill: #7fb0ff } line { stroke: #9aa5b3 } .page { fill: #1b2129 } }
</style>"""


def shown(value):
    return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value:.3g}"


def bars(rows):
    scale = (WIDTH - LEFT - RIGHT) / max(row.get("max", row["median"]) for row in rows.values())
    for i, (name, row) in enumerate(rows.items()):
        y = TOP + i * (BAR + GAP)
        middle, end = y + BAR / 2, LEFT + row["median"] * scale
        yield f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{NAMES[name]}</text>'
        yield f'<rect x="{LEFT}" y="{y}" width="{row["median"] * scale:.1f}" height="{BAR}" rx="2"/>'
        if "max" in row:
            yield (f'<line x1="{LEFT + row["min"] * scale:.1f}" x2="{LEFT + row["max"] * scale:.1f}" '
                   f'y1="{middle}" y2="{middle}"/>')
            end = max(end, LEFT + row["max"] * scale)
        yield f'<text x="{end + 8:.1f}" y="{middle + 4}">{shown(row["median"])}</text>'


def plot(rows, title):
    height = TOP + len(rows) * (BAR + GAP) + 10
    spread = "; line: min to max" if any("max" in row for row in rows.values()) else ""
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{title}">', STYLE, f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{title}</text>',
        f'<text x="{WIDTH - 12}" y="24" text-anchor="end">µs of the server\'s processor time, medians{spread}</text>',
        *bars(rows), "</svg>", ""])


def judged(ratio, bar):
    if bar is None:
        return ""
    limit, more_is_better = bar
    return f"{limit:.3g}" if (ratio >= limit) == more_is_better else f"{limit:.3g}, missed"


def table(figures):
    for bench, (label, unit, bars_of) in BENCHES.items():
        rows, ratios = figures[bench]["rows"], figures[bench]["ratios"]
        first = f"| {label} | {shown(rows['apikeyd']['median'])}{unit} "
        for other in ("redis", "baseline"):
            yield (f"{first}| {NAMES[other]} | {shown(rows[other]['median'])}{unit} | {ratios[other]:.3g} | "
                   f"{judged(ratios[other], bars_of.get(other))} |\n".replace("|  |", "| |"))
            first = "| | "


def taken():
    """The last results, without the single rounds."""
    figures = {}
    for bench in BENCHES:
        data = json.loads((RESULTS / f"{bench}.json").read_text())
        figures[bench] = {
            "rows": {name: {key: row[key] for key in ("min", "median", "max")} for name, row in data["rows"].items()},
            "ratios": {pair.split(" / ")[1]: ratio for pair, ratio in data["ratios"].items()}}
    return json.dumps(figures, indent=1) + "\n"


def made():
    """What each file of the documents has to hold."""
    figures = json.loads(FIGURES.read_text())
    files = {FIGURES.parent / name: plot(figures[bench]["rows"], title) for name, (bench, title) in PLOTS.items()}
    rows = "".join(table(figures))
    text, count = re.subn(r"^\| hot, .*\n(\| \| \| .*\n|\| hot, .*\n)+", lambda _: rows, TABLE.read_text(),
                          flags=re.MULTILINE)
    assert count == 1, f"{TABLE}: rows of the hot path stand there {count} times"
    files[TABLE] = text
    return files


def main():
    if sys.argv[1:] == ["take"]:
        FIGURES.write_text(taken())
    elif sys.argv[1:]:
        sys.exit("usage: ./dev figures [take]")
    for path, text in made().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
