"""Bars of a bench's medians, with their spread, as SVG: plot.py NAME TITLE UNIT OUT."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.bench import RESULTS  # noqa: E402

WIDTH, BAR, GAP, LEFT, RIGHT, TOP = 720, 22, 10, 190, 110, 44
STYLE = """<style>
  text { font: 13px system-ui, sans-serif; fill: #1c2128 } .title { font-weight: 600 }
  rect { fill: #2463c4 } line { stroke: #5a6472; stroke-width: 2 } .page { fill: #fff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e8ee } rect { fill: #7fb0ff } line { stroke: #9aa5b3 } .page { fill: #1b2129 } }
</style>"""


def shown(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bars(rows):
    scale = (WIDTH - LEFT - RIGHT) / max(row["max"] for row in rows.values())
    for i, (name, row) in enumerate(rows.items()):
        y = TOP + i * (BAR + GAP)
        middle, end = y + BAR / 2, LEFT + row["median"] * scale
        yield f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{name}</text>'
        yield f'<rect x="{LEFT}" y="{y}" width="{row["median"] * scale:.1f}" height="{BAR}" rx="2"/>'
        yield (f'<line x1="{LEFT + row["min"] * scale:.1f}" x2="{LEFT + row["max"] * scale:.1f}" '
               f'y1="{middle}" y2="{middle}"/>')
        yield f'<text x="{max(end, LEFT + row["max"] * scale) + 8:.1f}" y="{middle + 4}">{shown(row["median"])}</text>'


def plot(name, title, unit):
    rows = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    height = TOP + len(rows) * (BAR + GAP) + 10
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{title}">', STYLE, f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        f'<text class="title" x="12" y="24">{title}</text>',
        f'<text x="{WIDTH - 12}" y="24" text-anchor="end">{unit}; line: min to max</text>',
        *bars(rows), "</svg>", ""])


if __name__ == "__main__":
    Path(sys.argv[4]).write_text(plot(*sys.argv[1:4]))
