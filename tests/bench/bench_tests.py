"""./dev bench tests: the figures that tests record (fixture `figure`), from one run of these tests with the release build."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness.figures import PRINTED  # noqa: E402
from harness.results import ROOT, save, single  # noqa: E402


def main():
    names = " or ".join(dict.fromkeys(test for _, _, test in PRINTED))
    with tempfile.TemporaryDirectory() as folder:
        junit = Path(folder) / "tests.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}", "tests/integration",
             "-k", names], cwd=ROOT, check=False, env={**os.environ, "APIKEYD_BUILD": str(ROOT / "build" / "release")})
        if done.returncode != 0:
            sys.exit(done.returncode)
        found = {one.get("name"): float(one.get("value")) for one in ElementTree.parse(junit).iter("property")}
    for name, value in found.items():
        print(f"{name:48} {value:>12,.6g}")
    save("tests", "", single(found))


if __name__ == "__main__":
    main()
