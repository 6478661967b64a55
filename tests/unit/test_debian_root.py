"""tools/debian_root.py, with this machine's own root in the place of a release's: what ./dev test-on runs a command in."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import arm64
import debian_root
import pytest

SCRIPT = """
[ "$PWD" = "$1" ] && [ -z "${APIKEYD_UNKNOWN:-}" ] && [ "$APIKEYD_SEED" = 7 ] || exit 1
echo x >/etc/apikeyd-test-on || exit 2
cat "$2" >/dev/null || exit 3
[ -w /dev/null ] && [ -d /dev/shm ] && [ -e /proc/self/stat ] && [ -z "$(ls /dev/shm)" ] || exit 4
[ "$(ls -d /proc/[0-9]* | wc -l)" -lt 10 ] || exit 5
sleep 987.654 &
exit 77
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make the namespaces")
def test_nothing_of_a_command_stays(monkeypatch, tmp_path):
    """No file, no process, no mount. It starts in the copy of the tree, and its exit status is told."""
    folder = Path(tempfile.mkdtemp(prefix="apikeyd-", dir="/dev/shm"))
    try:
        monkeypatch.setattr(debian_root, "ROOTS", folder)
        monkeypatch.setenv("APIKEYD_SEED", "7")
        monkeypatch.setenv("APIKEYD_UNKNOWN", "1")
        (folder / "here").symlink_to("/")
        (tmp_path / "lent").write_text("x")
        (folder / "a layer" / "upper" / debian_root.PLACE).mkdir(parents=True)
        status = debian_root.run(debian_root.IN_LAYER, folder / "here", "a layer", [
            "sh", "-c", SCRIPT, "sh", f"/{debian_root.PLACE}", tmp_path / "lent"], [str(tmp_path / "lent"), "/none"])
        assert status == 77
        assert (folder / "a layer" / "upper" / "etc" / "apikeyd-test-on").exists()
        assert not Path("/etc/apikeyd-test-on").exists()
        assert not list((folder / "a layer" / "upper").rglob("lent"))
        assert str(folder) not in Path("/proc/self/mounts").read_text()
        assert subprocess.run(["pgrep", "-fx", "sleep 987.654"], check=False).returncode == 1
    finally:
        shutil.rmtree(folder)


def test_the_root_for_arm64_has_what_its_release_has():
    """Debian 12 has no llhttp. One name that is not there, and no root can be made."""
    wanted = [*arm64.build_depends()]
    assert "libhttp-parser-dev:arm64" in wanted and "libllhttp-dev:arm64" not in wanted
    assert "libpq-dev:arm64" in wanted and "ninja-build" in wanted
