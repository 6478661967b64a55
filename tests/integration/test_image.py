"""The container image, run from its unpacked root as the recipes say: user, mounts, environment, probes, signals."""

import json
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
import redis
from conftest import check
from harness.recipes import NAMES, Recipe, seconds
from harness.servers import BUILD, ROOT, VERSION, Process, accepts, wait_until

# One process makes and unpacks the image for all of them.
pytestmark = [pytest.mark.slow, pytest.mark.builds("release"), pytest.mark.xdist_group("image"),
              pytest.mark.needs("ca-certificates", "ncurses-base", "umoci", "python3-yaml")]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can unpack an image and change its root")
PYTHON = ["/usr/bin/python3", "-I"]
CONTAINED = [*PYTHON, ROOT / "tests" / "harness" / "contained.py"]
MAX_MIB = 25


def build_image(folder):
    """Its path and digest."""
    done = subprocess.run([*PYTHON, ROOT / "packaging" / "image" / "image.py", "--build", BUILD, "--to", folder],
                          check=True, capture_output=True, text=True)
    path, digest, *_ = done.stdout.rsplit(maxsplit=3)
    return Path(path), digest


class Image:
    def __init__(self, folder):
        self.archive, self.digest = build_image(folder / "image")
        with tarfile.open(self.archive) as tar:
            tar.extractall(folder / "layout")
        self.layout = folder / "layout"
        self.root = folder / "bundle" / "rootfs"
        manifest = self.blob(json.loads((self.layout / "index.json").read_text())["manifests"][0])
        self.config = self.blob(manifest["config"])["config"]
        self.env = dict(one.split("=", 1) for one in self.config["Env"])

    def blob(self, descriptor):
        return json.loads((self.layout / "blobs" / descriptor["digest"].replace(":", "/")).read_text())

    def unpack(self):
        """By another program than ours, which checks every digest."""
        subprocess.run(["umoci", "unpack", "--image", f"{self.layout}:{VERSION}", self.root.parent], check=True,
                       capture_output=True)


@pytest.fixture(scope="module")
def image(scratch):
    made = Image(scratch / "image")
    if os.geteuid() == 0:
        made.unpack()
    return made


@pytest.fixture(scope="module")
def again(scratch):
    folder = scratch / "again"
    yield build_image(folder)[1]
    shutil.rmtree(folder)


def test_the_image_is_small_and_the_same_each_time(image, again):
    size = image.archive.stat().st_size / 2**20
    print(f"{size:.1f} MiB, {image.digest}")
    assert size < MAX_MIB
    assert image.digest == again


@as_root
def test_the_list_is_of_what_is_in_it(image):
    """SPDX: each file with its sum, each with the package that it is of. Nothing in the image is set-user-ID, or for
    everybody to write."""
    listed = json.loads((image.root / "usr/share/doc/apikeyd/image.spdx.json").read_text())
    assert listed == json.loads(image.archive.with_name(image.archive.name.replace("oci.tar", "spdx.json")).read_text())
    files = {file["SPDXID"]: file["fileName"][2:] for file in listed["files"]}
    owned = {files[one["relatedSpdxElement"]] for one in listed["relationships"] if one["relationshipType"] == "CONTAINS"}
    found = set()
    for path in image.root.rglob("*"):
        status = path.lstat()
        own = str(path.relative_to(image.root)) in ("run/apikeyd", "var/lib/apikeyd")
        assert (status.st_uid, status.st_gid) == ((10001, 10001) if own else (0, 0)), path
        assert path.is_symlink() or path.name == "tmp" or not status.st_mode & 0o6022, path
        if path.is_file() and not path.is_symlink():
            found.add(str(path.relative_to(image.root)))
    assert owned == set(files.values()) == found - {"usr/share/doc/apikeyd/image.spdx.json"}
    names = {package["name"] for package in listed["packages"]}
    assert {"apikeyd", "ca-certificates", "libc6", "libpq5"} <= names and names & {"libssl3", "libssl3t64"}
    assert {path.name for path in (image.root / "var/lib/dpkg/status.d").iterdir()} == names - {"apikeyd"}
    assert (image.root / "usr/share/apikeyd/migrations/sqitch.plan").read_text() == (ROOT / "migrations/sqitch.plan").read_text()


class Container:
    """The image, run as a recipe says, with another database."""

    def __init__(self, image, recipe, folder, db):
        self.image, self.recipe, self.process = image, recipe, None
        self.folder = folder
        folder.mkdir()
        self.volumes = recipe.make_volumes(folder, image.root)
        self.env = {**image.env, **{name: value for name, value in recipe.env.items() if value},
                    "APIKEYD_POSTGRES_DSN": db.dsn.replace(str(db.server.folder), "/mnt"),
                    "APIKEYD_USAGE_FLUSH_INTERVAL": "1h",
                    "APIKEYD_POSTGRES_TIMEOUT": "30s"}  # the default is soon over on a busy machine
        self.binds = [f"{source}:{place}" for place, source in self.volumes.items()] + [f"{db.server.folder}:/mnt"]

    def argv(self, argv, binds=None):
        groups = ",".join(map(str, self.recipe.groups))
        return [*CONTAINED, self.image.root, self.recipe.user, groups, *(self.binds if binds is None else binds), "--", *argv]

    def start(self, **options):
        self.process = Process(self.argv(self.image.config["Entrypoint"], **options), self.folder / "log", env=self.env)

    def run(self, argv):
        return subprocess.run([str(word) for word in self.argv(argv)], env=self.env, capture_output=True, text=True,
                              check=False)

    def pid(self):
        """The daemon's, as it is out here."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def status(self):
        lines = Path(f"/proc/{self.pid()}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

    def socket(self, name):
        return self.volumes["/run/apikeyd"] / name

    def client(self):
        wait_until(lambda: self.process.child.poll() is not None or accepts(self.socket("check.sock")), "a socket")
        assert self.process.child.poll() is None, self.process.log()
        return redis.Redis(unix_socket_path=str(self.socket("check.sock")), decode_responses=True)

    def lines(self):
        return [json.loads(line) for line in self.process.log().splitlines()]

    def fetch(self, path, port):
        return subprocess.run(["nsenter", f"--net=/proc/{self.pid()}/ns/net", "curl", "-s", "-w", "%{http_code}",
                               f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=False).stdout


@pytest.fixture
def contain(image, scratch, db):
    made = []

    def of(recipe):
        made.append(Container(image, recipe, scratch / f"container-{db.name}", db))
        return made[-1]
    yield of
    for container in made:
        if container.process and container.process.child.poll() is None:
            container.process.stop()


@as_root
@pytest.mark.parametrize("name", NAMES)
def test_the_image_runs_as_the_recipe_says(contain, name, db):
    recipe = Recipe(name)
    container = contain(recipe)
    db.add_keys(100)
    db.add_key("late")
    begin = time.monotonic()
    container.start()
    client = container.client()
    wait_until(lambda: allowed(client, "key-0"), "an answer")
    first = time.monotonic() - begin
    assert all(allowed(client, f"key-{number}") for number in range(100))
    for probe in recipe.probes:
        assert container.run(probe).returncode == 0
    # There is no file to check or to read again.
    assert container.run(["/usr/sbin/apikeyd", "--check-config"]).stdout == "the environment: fine\n"
    admin = redis.Redis(unix_socket_path=str(container.volumes["/var/lib/apikeyd"] / "admin.sock"), decode_responses=True)
    assert admin.execute_command("RELOAD") == "OK"
    admin.close()
    for path, port in recipe.pages:
        assert container.fetch(path, port).endswith("200")
    status = container.status()
    print(f"{recipe.name}: first answer after {first * 1000:.0f} ms, RSS {status['VmRSS'].strip()}")
    assert set(status["Uid"].split()) == {"10001"}
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert int(status["VmRSS"].split()[0]) < 128 * 1024, "as the recipes request"
    root, = [line for line in Path(f"/proc/{container.pid()}/mountinfo").read_text().splitlines() if line.split()[4] == "/"]
    assert "ro" in root.split()[5].split(",")
    # The rest of the recipe is what has just been run.
    assert all(recipe.hardened) and recipe.ordered and all(recipe.shared.values())
    assert set(recipe.shared) == {"/run/apikeyd"} and "/run/apikeyd" in recipe.mounts
    assert recipe.user == recipe.groups[0] == int(container.image.config["User"].split(":")[0])

    linger = seconds(recipe.env.get("APIKEYD_LISTEN_LINGER", "0s"))
    container.process.send(signal.SIGTERM)
    if linger:
        path, port = recipe.pages[1]
        wait_until(lambda: "draining" in container.fetch(path, port), "the linger")
        assert check(client, "late")[0] == "ALLOW"
        container.process.send(signal.SIGTERM)  # the recipe's linger need not pass
    client.close()
    assert container.process.child.wait(60) == 0, container.process.log()
    assert recipe.grace > linger + 5, "listen.drain_timeout and linger are within the time that the recipe gives"
    used = db.one("SELECT count(*) FROM api.user_api_key WHERE last_used IS NOT NULL")
    assert used == (101 if linger else 100)
    lines = container.lines()
    assert [line["message"] for line in lines if line["level"] in ("warning", "error")] == [], container.process.log()
    assert {"time", "level", "subsystem", "message", "module", "file", "line", "function"} == set(lines[0])


def allowed(client, key):
    try:
        return check(client, key)[0] == "ALLOW"
    except redis.RedisError:
        return False


@as_root
def test_usage_outlives_the_container(contain, db):
    """The ledger is on a volume, which the next container has too."""
    db.add_key("good")
    container = contain(Recipe(NAMES[0]))
    container.start()
    client = container.client()
    wait_until(lambda: allowed(client, "good"), "an answer")
    client.close()
    os.kill(container.pid(), signal.SIGKILL)
    container.process.child.wait(60)
    assert db.last_used("good") is None
    container.start()
    wait_until(lambda: db.last_used("good"), "the replay")


@as_root
def test_mistakes_are_told(contain):
    """A sentence each, and the exit status of a wrong configuration."""
    container = contain(Recipe(NAMES[0]))
    container.start(binds=[])
    assert container.process.child.wait(60) == 78
    assert "usage.ledger" in container.process.log() and "read-only file system" in container.process.log()
    container.process.log_path.unlink()
    os.chown(container.volumes["/run/apikeyd"], 0, 0)
    container.volumes["/run/apikeyd"].chmod(0o755)
    container.start()
    assert container.process.child.wait(60) == 1
    refused = [line["message"] for line in container.lines() if line["level"] == "error"]
    assert refused == ["/run/apikeyd/check.sock: Permission denied; UID 10001 has to be able to write to its directory"]
    container.process.log_path.unlink()
    container.env["APIKEYD_LOG_FORMAT"] = "logfmt"
    container.start()
    assert container.process.child.wait(60) == 78
    assert container.process.log() == 'APIKEYD_LOG_FORMAT: log.format "logfmt": it must be one of: text, json\n'


@as_root
def test_a_gateways_read_only_mount_is_enough(daemon):
    """Its container cannot remove the sockets, and connects to them all the same."""
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && ! touch "$1/x" && echo PING | nc -NU "$1/check.sock"'
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script, "sh", daemon.folder], capture_output=True, text=True,
                          check=False)
    assert done.stdout == "+PONG\n", done.stderr
