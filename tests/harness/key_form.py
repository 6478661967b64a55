"""Keys of the form that keys.form = prefixed demands, made as docs/keys.md says."""

import re
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "keys.md"
guide = {}
exec(re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)[1], guide)  # the guide's own code
checksum, make_key = guide["checksum"], guide["make_key"]


def scanner():
    """The guide's expression for secret scanners, with prefix key."""
    return re.compile(re.search(r"^    (\\b.*key.*)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)[1])
