"""canvas.py: boxes, arrows and text as an SVG that reads well on a light and on a dark page.

Coordinates are pixels from the top left. Text that would not fit into its box is an error, judged by a wide font, so that
a picture whose words overlap cannot be drawn.
"""

from html import escape
from math import atan2, cos, sin

SIZE = {"": 13, "title": 16, "name": 13, "note": 12, "code": 12}
# Widths of letters as parts of the font's size, in DejaVu Sans, the widest font that readers have.
WIDTHS = {**dict.fromkeys("ijl.,:;'|!()[] ftr/-", 0.38), **dict.fromkeys("mwMWN…", 0.95)}
LINE = 17

STYLE = """<style>
  text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: #1c2128 }
  .title { font-size: 16px; font-weight: 600 } .name { font-weight: 600 } .note { font-size: 12px; fill: #4a5361 }
  .code { font: 12px ui-monospace, "DejaVu Sans Mono", monospace }
  .page { fill: #ffffff; stroke: #8b95a3 } .plain { fill: #f3f5f8; stroke: #8b95a3 } .front { fill: #dbe9ff; stroke: #2463c4 }
  .back { fill: #d9f2e3; stroke: #22804a } .slow { fill: #ffe9cf; stroke: #b8660a } .bad { fill: #ffdedc; stroke: #c03530 }
  .line { fill: none; stroke: #5a6472; stroke-width: 1.5 } .thin { fill: none; stroke: #aab2bd; stroke-dasharray: 3 4 }
  .head { fill: #5a6472 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e8ee } .note { fill: #b3bcc8 } .page { fill: #1b2129; stroke: #566170 } .plain { fill: #2a323d; stroke: #7b8694 }
    .front { fill: #1d3a66; stroke: #7fb0ff } .back { fill: #1a4530; stroke: #63cf92 } .slow { fill: #573a14; stroke: #f0a850 }
    .bad { fill: #5c2624; stroke: #ff8a84 } .line { stroke: #9aa5b3 } .thin { stroke: #566170 } .head { fill: #9aa5b3 }
  }
</style>"""


def wide(text, kind):
    return SIZE[kind] * sum(WIDTHS.get(letter, 0.7 if letter.isupper() else 0.62) for letter in text)


class Canvas:
    def __init__(self, width, height, title):
        self.width, self.height, self.title = width, height, title
        self.parts = []
        self.text(16, 28, title, "title")

    def text(self, x, y, text, kind="", anchor="start"):
        """`y` is the baseline. The text has to stay on the page."""
        left = {"start": x, "middle": x - wide(text, kind) / 2, "end": x - wide(text, kind)}[anchor]
        assert left >= 0 and left + wide(text, kind) <= self.width, f"off the page: {text}"
        self.parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>')

    def terminal(self, x, y, line):
        """A line of a terminal, its columns kept."""
        self.parts.append(f'<text class="code" xml:space="preserve" x="{x:g}" y="{y:g}">{escape(line)}</text>')

    def box(self, x, y, width, height, kind="plain", name="", lines=(), top=False):
        """A box with a name and lines below it, in the middle or at the top."""
        self.parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>')
        texts = [(name, "name")] * bool(name) + [(line, "note") for line in lines]
        baseline = y + (22 if top else (height - LINE * len(texts)) / 2 + 13)
        for text, of_kind in texts:
            assert wide(text, of_kind) <= width - 8, f"too wide for its box: {text}"
            self.text(x + width / 2, baseline, text, of_kind, "middle")
            baseline += LINE
        assert baseline - 13 <= y + height, f"too many lines for a box: {name} {lines}"

    def line(self, *points, kind="line"):
        self.parts.append(f'<path class="{kind}" d="M {" L ".join(f"{x:g} {y:g}" for x, y in points)}"/>')

    def arrow(self, *points, both=False):
        """A line along `points` with a head at its end, or at both ends."""
        self.line(*points)
        self._head(points[-2], points[-1])
        if both:
            self._head(points[1], points[0])

    def _head(self, start, end):
        angle = atan2(end[1] - start[1], end[0] - start[0])
        corners = [end] + [(end[0] - 9 * cos(angle + turn), end[1] - 9 * sin(angle + turn)) for turn in (0.4, -0.4)]
        self.parts.append(f'<polygon class="head" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in corners)}"/>')

    def svg(self):
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" aria-label="{escape(self.title)}">', STYLE,
            f'<rect class="page" stroke-width="0" width="{self.width}" height="{self.height}"/>', *self.parts, "</svg>", ""])
