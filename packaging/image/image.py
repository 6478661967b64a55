"""image.py [--build FOLDER] [--to FOLDER]: an OCI image of apikeyd, without Docker.

The image holds the two programs, the libraries that they load, CA certificates and the migrations. It has one
layer, and nothing in it depends on the machine but the versions of Debian's packages, which its SPDX document
lists: two runs make the same bytes. SOURCE_DATE_EPOCH is the time of everything in it; without it, the time of
the last commit.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.search(r"\nproject\(apikeyd VERSION ([\d.]+) ", (ROOT / "CMakeLists.txt").read_text())[1]
UID = 10001
SOCKETS, STATE = "run/apikeyd", "var/lib/apikeyd"
# Options whose defaults are made for a host with systemd and Redis. What is private stays out of the sockets'
# folder, which the gateway's container shares.
ENVIRONMENT = {
    "APIKEYD_LISTEN_ADMIN": f"/{STATE}/admin.sock",
    "APIKEYD_LOG_FORMAT": "json",
    "APIKEYD_REDIS_URL": "",
    "APIKEYD_USAGE_LEDGER": f"/{STATE}/usage.ledger",
    "LANG": "C.UTF-8",
    "PATH": "/usr/sbin:/usr/bin",
}
TEXTS = {
    "etc/passwd": f"root:x:0:0:root:/:/sbin/nologin\napikeyd:x:{UID}:{UID}::/{STATE}:/sbin/nologin\n",
    "etc/group": f"root:x:0:\napikeyd:x:{UID}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
         "usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt"}
FOLDERS = {"dev": 0o755, "mnt": 0o755, "proc": 0o555, "sys": 0o555, "tmp": 0o1777}


def output(*argv):
    return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True,
                          env={**os.environ, "LC_ALL": "C"}).stdout


def epoch():
    return int(os.environ.get("SOURCE_DATE_EPOCH") or
               output("git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "log", "-1", "--format=%ct"))


class Contents:
    """What the image has: folders, files and links by their path, and the package that each file is of."""

    def __init__(self):
        self.folders, self.files, self.links, self.packages = dict(FOLDERS), {}, dict(LINKS), {"apikeyd"}
        self.owner = {}

    def add(self, path, data, mode=0o644, package="apikeyd"):
        self.files[path] = (data, mode)
        self.owner[path] = package
        self.packages.add(package)

    def copy(self, source, package, path=None, mode=0o644):
        self.add(path or str(source).lstrip("/"), Path(source).read_bytes(), mode, package)

    def parents(self):
        """Folders that nobody has named."""
        for path in [*self.files, *self.links, *self.folders, SOCKETS, STATE]:
            yield from (str(parent) for parent in Path(path).parents if str(parent) != ".")


def packages_of(paths):
    """The Debian package of each file. A package may know a file by its path from before /lib was a link."""
    known = {name: path for path in paths for name in (path, path.removeprefix("/usr"), f"/usr{path}")}
    done = subprocess.run(["dpkg-query", "-S", *known], capture_output=True, text=True, check=False)
    found = {known[name]: package for package, name in re.findall(r"^([^:,]+).*: (/.*)$", done.stdout, re.MULTILINE)}
    for path in set(paths) - set(found):
        raise SystemExit(f"image: {path} is of no Debian package; only those that are can be listed")
    return found


def libraries(program):
    """Each library that the program loads, and the loader: paths."""
    for line in output("ldd", program).splitlines():
        found = re.search(r"(/\S+) \(0x", line)
        if found:
            yield found[1]


def add_programs(contents, build):
    needed = set()
    for name, path in (("apikeyd", "usr/sbin/apikeyd"), ("apikeyctl", "usr/bin/apikeyctl")):
        with tempfile.NamedTemporaryFile() as stripped:
            # The build ID is a sum of debugging information, which names the tree's place.
            output("strip", "--strip-all", "--remove-section=.note.gnu.build-id", "-o", stripped.name, build / name)
            contents.copy(stripped.name, "apikeyd", path, 0o755)
        needed.update(libraries(build / name))
    packages = packages_of([os.path.realpath(library) for library in needed])
    for library in needed:
        place = library if library.startswith("/usr/") else f"/usr{library}"
        contents.copy(library, packages[os.path.realpath(library)], place.lstrip("/"), 0o755)


def add_data(contents):
    """What the libraries read."""
    certificates = sorted(Path("/usr/share/ca-certificates/mozilla").glob("*.crt"))
    # Not /etc/ssl/certs/ca-certificates.crt, to which this machine's owner may have added some.
    contents.add("etc/ssl/certs/ca-certificates.crt", b"".join(path.read_bytes() for path in certificates),
                 package="ca-certificates")
    for package, pattern in (("ncurses-base", r"/(usr/)?(lib|share)/terminfo/./"), ("libc-bin", "/usr/lib/locale/C.utf8/")):
        for path in output("dpkg-query", "-L", package).splitlines():
            if re.match(pattern, path) and Path(path).is_file():
                contents.copy(path, package, path.lstrip("/").removeprefix("usr/").replace("lib/", "usr/lib/", 1)
                              if path.startswith(("/lib/", "/usr/lib/")) else None)
    contents.copy("/usr/lib/os-release", "base-files")
    contents.links["etc/os-release"] = "/usr/lib/os-release"
    for path, text in TEXTS.items():
        contents.add(path, text.encode())
    for path in sorted((ROOT / "migrations").rglob("*")):
        if path.is_file():
            contents.copy(path, "apikeyd", f"usr/share/apikeyd/{path.relative_to(ROOT)}")


def add_papers(contents):
    """Each package's licence, and its paragraph of dpkg's status, by which scanners know what is installed."""
    contents.copy(ROOT / "LICENSE", "apikeyd", "usr/share/doc/apikeyd/copyright")
    packages = sorted(contents.packages - {"apikeyd"})
    for paragraph in output("dpkg-query", "-s", *packages).strip().split("\n\n"):
        package = re.match(r"Package: (\S+)", paragraph)[1]
        contents.copy(f"/usr/share/doc/{package}/copyright", package)
        contents.add(f"var/lib/dpkg/status.d/{package}", f"{paragraph}\n".encode(), package=package)


def spdx_id(kind, name):
    return f"SPDXRef-{kind}-" + re.sub(r"[^A-Za-z0-9.]", "-", name)


def spdx_package(name, versions, arch):
    if name == "apikeyd":
        return {"SPDXID": spdx_id("Package", name), "name": name, "versionInfo": VERSION, "licenseDeclared": "MIT",
                "licenseConcluded": "MIT", "copyrightText": "NOASSERTION", "downloadLocation": "NOASSERTION",
                "filesAnalyzed": False}
    version, source = versions[name]
    return {"SPDXID": spdx_id("Package", name), "name": name, "versionInfo": version, "supplier": "Organization: Debian",
            "licenseDeclared": "NOASSERTION", "licenseConcluded": "NOASSERTION", "copyrightText": "NOASSERTION",
            "downloadLocation": "NOASSERTION", "filesAnalyzed": False, "sourceInfo": f"built from {source}",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                              "referenceLocator": f"pkg:deb/debian/{name}@{version}?arch={arch}"}]}


def spdx(contents, arch, created):
    """SPDX 2.3: packages, files and what belongs to what."""
    form = "${Package} ${Version} ${source:Package}=${source:Version}\n"
    lines = output("dpkg-query", "-W", "-f", form, *sorted(contents.packages - {"apikeyd"})).splitlines()
    versions = {name: rest for name, *rest in map(str.split, lines)}
    packages = [spdx_package(name, versions, arch) for name in sorted(contents.packages)]
    files = [{"SPDXID": spdx_id("File", hashlib.sha256(path.encode()).hexdigest()[:16]), "fileName": f"./{path}",
              "checksums": [{"algorithm": name.upper(), "checksumValue": hashlib.new(name, data).hexdigest()}
                            for name in ("sha1", "sha256")]}
             for path, (data, _) in sorted(contents.files.items())]
    relations = [{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": package["SPDXID"]}
                 for package in packages]
    relations += [{"spdxElementId": spdx_id("Package", contents.owner[file["fileName"][2:]]),
                   "relationshipType": "CONTAINS", "relatedSpdxElement": file["SPDXID"]} for file in files]
    name = f"apikeyd-{VERSION}-{arch}"
    sums = hashlib.sha256(json.dumps([packages, files], sort_keys=True).encode()).hexdigest()
    return {"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": name,
            "documentNamespace": f"https://spdx.org/spdxdocs/{name}-{sums[:32]}",
            "creationInfo": {"created": created, "creators": ["Tool: apikeyd-packaging-image"]},
            "packages": packages, "files": files, "relationships": relations}


def layer(contents, time):
    """The layer's tar: everything is root's, but for the two folders of the daemon's."""
    tar_bytes = io.BytesIO()
    folders = {path: 0o755 for path in contents.parents()} | contents.folders | {SOCKETS: 0o755, STATE: 0o700}
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted({*folders, *contents.files, *contents.links}):
            entry = tarfile.TarInfo(path)
            entry.mtime, data = time, None
            if path in contents.files:
                data, entry.mode = contents.files[path]
                entry.size = len(data)
            elif path in contents.links:
                entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, contents.links[path], 0o777
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, folders[path]
                entry.uid = entry.gid = UID if path in (SOCKETS, STATE) else 0
            tar.addfile(entry, io.BytesIO(data) if data is not None else None)
    return tar_bytes.getvalue()


def image_config(arch, created, diff_id):
    second = 1_000_000_000
    return {
        "created": created, "architecture": arch, "os": "linux",
        "config": {
            "User": f"{UID}:{UID}",
            "Env": [f"{name}={value}" for name, value in sorted(ENVIRONMENT.items())],
            "Entrypoint": ["/usr/sbin/apikeyd"],
            # Runtimes that make a new volume give it the owner that the image's folder has.
            "Volumes": {f"/{SOCKETS}": {}, f"/{STATE}": {}},
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": {"org.opencontainers.image.title": "apikeyd", "org.opencontainers.image.version": VERSION,
                       "org.opencontainers.image.licenses": "MIT"},
            # Docker's addition to the format, which others ignore.
            "Healthcheck": {"Test": ["CMD", "/usr/bin/apikeyctl", "health"], "Interval": 10 * second,
                            "Timeout": 5 * second, "StartPeriod": 30 * second, "Retries": 3},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "packaging/image/image.py"}],
    }


class Layout:
    """An OCI image layout as it grows: blobs by their digest."""

    def __init__(self):
        self.files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}

    def put(self, kind, data):
        """Add a blob; its descriptor is returned."""
        data = data if isinstance(data, bytes) else json.dumps(data, sort_keys=True).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.files[f"blobs/sha256/{digest}"] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    def write(self, path, time):
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for name, data in sorted(self.files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mtime = len(data), time
                tar.addfile(entry, io.BytesIO(data))


def make(build, to):
    """Write the image and its SPDX document into the folder `to`. Returns the image's path and digest."""
    time, arch = epoch(), output("dpkg", "--print-architecture").strip()
    created = datetime.fromtimestamp(time, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    contents = Contents()
    add_programs(contents, build)
    add_data(contents)
    add_papers(contents)
    listed = json.dumps(spdx(contents, arch, created), indent=1).encode()
    contents.add("usr/share/doc/apikeyd/image.spdx.json", listed)
    plain = layer(contents, time)
    layout = Layout()
    blob = layout.put("layer.v1.tar+gzip", gzip.compress(plain, 6, mtime=0))
    config = layout.put("config.v1+json", image_config(arch, created, "sha256:" + hashlib.sha256(plain).hexdigest()))
    manifest = layout.put("manifest.v1+json", {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                                               "config": config, "layers": [blob]})
    names = {"org.opencontainers.image.ref.name": VERSION}
    layout.files["index.json"] = json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
         "manifests": [{**manifest, "platform": {"architecture": arch, "os": "linux"}, "annotations": names}]},
        sort_keys=True).encode()
    to.mkdir(parents=True, exist_ok=True)
    path = to / f"apikeyd-{VERSION}-{arch}.oci.tar"
    layout.write(path, time)
    (to / f"apikeyd-{VERSION}-{arch}.spdx.json").write_bytes(listed)
    return path, manifest["digest"]


def main():
    parser = argparse.ArgumentParser(description="an OCI image of apikeyd")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--to", type=Path, default=ROOT / "build" / "image")
    args = parser.parse_args()
    path, digest = make(args.build, args.to)
    print(f"{path} {digest} {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
