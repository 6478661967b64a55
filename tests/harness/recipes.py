"""What the recipes in config/examples say about apikeyd's container: to run the image as they would have it run."""

import json
import os
import re
from pathlib import Path

import yaml

EXAMPLES = Path(__file__).resolve().parents[2] / "config" / "examples"
SECONDS = {"ms": 0.001, "s": 1, "m": 60}


def seconds(text):
    """Of Compose and of apikeyd: "20s"."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(number) * SECONDS[unit]


class Recipe:
    """One file. `user` and `groups` are numbers; `mounts` are places with True for those of the gateway too; `shared`
    is where the gateway finds them, with True for read-only; `probes` are commands, `pages` paths and ports; `grace`
    is the time from SIGTERM to SIGKILL in seconds."""

    def __init__(self, name):
        self.name = name
        self.path = EXAMPLES / name
        self.env, self.mounts, self.shared, self.probes, self.pages, self.hardened = {}, [], {}, [], [], []
        {"kubernetes": self.read_kubernetes, "ecs": self.read_ecs, "compose": self.read_compose}[name.split("/")[0]]()

    def text(self):
        return self.path.read_text()

    def documents(self):
        return [json.loads(self.text())] if self.path.suffix == ".json" else list(yaml.safe_load_all(self.text()))

    def read_kubernetes(self):
        pod = self.documents()[0]["spec"]["template"]["spec"]
        containers = [*pod.get("initContainers", []), *pod["containers"]]
        ours, = [one for one in containers if one["name"] == "apikeyd"]
        ports = {port["name"]: port["containerPort"] for port in ours["ports"]}
        security = ours["securityContext"]
        self.env = {one["name"]: one.get("value") for one in ours["env"]}
        self.mounts = [one["mountPath"] for one in ours["volumeMounts"]]
        self.volume_mode = 0o2777 if pod.get("securityContext", {}).get("fsGroup") else None
        self.user, group = security["runAsUser"], security["runAsGroup"]
        self.groups = [group, *filter(None, [pod.get("securityContext", {}).get("fsGroup")])]
        self.probes = [ours["startupProbe"]["exec"]["command"]]
        self.pages = [(ours[kind]["httpGet"]["path"], ports[ours[kind]["httpGet"]["port"]])
                      for kind in ("livenessProbe", "readinessProbe")]
        self.grace = pod["terminationGracePeriodSeconds"]
        self.hardened = [security["readOnlyRootFilesystem"], security["capabilities"]["drop"] == ["ALL"],
                         security["allowPrivilegeEscalation"] is False]
        gateways = [one for document in self.documents() for one in document["spec"]["template"]["spec"]["containers"]
                    if one["name"] != "apikeyd"]
        self.shared = {mount["mountPath"]: mount["readOnly"] for one in gateways for mount in one["volumeMounts"]}
        self.ordered = (ours.get("restartPolicy") == "Always") == (ours in pod.get("initContainers", []))

    def read_ecs(self):
        task, = self.documents()
        ours, gateway = task["containerDefinitions"]
        self.env = {one["name"]: one["value"] for one in ours["environment"]}
        self.env |= {one["name"]: None for one in ours["secrets"]}
        self.mounts = [one["containerPath"] for one in ours["mountPoints"]]
        self.volume_mode = None  # of the image's own folders
        self.user, *self.groups = map(int, ours["user"].split(":"))
        self.probes = [ours["healthCheck"]["command"][1:]]
        self.grace = ours["stopTimeout"]
        self.hardened = [ours["readonlyRootFilesystem"], ours["linuxParameters"]["capabilities"]["drop"] == ["ALL"],
                         ours["healthCheck"]["command"][0] == "CMD"]
        self.shared = {one["containerPath"]: one["readOnly"] for one in gateway["mountPoints"]}
        self.ordered = gateway["dependsOn"] == [{"containerName": ours["name"], "condition": "HEALTHY"}]

    def read_compose(self):
        services = self.documents()[0]["services"]
        ours, gateway = services["apikeyd"], services["gateway"]
        self.env = dict(ours["environment"])
        self.env["PGPASSWORD"] = None
        self.mounts = [one.split(":")[1] for one in ours["volumes"]]
        self.volume_mode = None
        self.user, *self.groups = map(int, ours["user"].split(":"))
        self.probes = [ours["healthcheck"]["test"][1:]]
        self.grace = seconds(ours["stop_grace_period"])
        self.hardened = [ours["read_only"], ours["cap_drop"] == ["ALL"],
                         ours["security_opt"] == ["no-new-privileges:true"], ours["healthcheck"]["test"][0] == "CMD"]
        self.shared = {one.split(":")[1]: one.endswith(":ro") for one in gateway["volumes"]}
        self.ordered = gateway["depends_on"]["apikeyd"]["condition"] == "service_healthy"

    def make_volumes(self, folder, image_root):
        """A folder for each place, owned as the runtime would have it: {place: folder}."""
        volumes = {}
        for place in self.mounts:
            volumes[place] = folder / place.strip("/").replace("/", "-")
            volumes[place].mkdir(parents=True)
            like = os.stat(image_root / place.lstrip("/"))
            if self.volume_mode:
                os.chown(volumes[place], 0, self.groups[-1])
                volumes[place].chmod(self.volume_mode)
            else:
                os.chown(volumes[place], like.st_uid, like.st_gid)
                volumes[place].chmod(like.st_mode & 0o7777)
        return volumes


NAMES = ["kubernetes/sidecar.yaml", "kubernetes/daemonset.yaml", "ecs/task-definition.json", "compose/compose.yaml"]
