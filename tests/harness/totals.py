"""Add up the results of several pytest runs: one plain line, and the exit status."""

import sys
from xml.etree import ElementTree

passed = failed = skipped = 0
for path in sys.argv[1:]:
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        bad = int(suite.get("failures")) + int(suite.get("errors"))
        left_out = int(suite.get("skipped"))
        failed += bad
        skipped += left_out
        passed += int(suite.get("tests")) - bad - left_out

print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
sys.exit(1 if failed or not passed else 0)
