"""The recipes for containers, by the schemas of those who read them."""

import json
import subprocess
from pathlib import Path

import pytest
from harness.recipes import NAMES, Recipe

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "build" / "schemas"
CHECK = ROOT / "tests" / "schemas" / "check.js"


@pytest.fixture(scope="module", autouse=True)
def schemas():
    """At most once on a machine."""
    subprocess.run([ROOT / "dev", "schemas"], check=True, timeout=600)


def found(name, change=lambda document: None):
    """What the schema does not allow in each document of a recipe, after a change."""
    errors = []
    for document in Recipe(name).documents():
        change(document)
        kind = name.split("/")[0]
        errors += wrong_task(document) if kind == "ecs" else node(kind, document)
    return errors


def node(kind, document):
    done = subprocess.run(["node", CHECK, MODULES, kind], input=json.dumps(document), text=True, capture_output=True,
                          check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def values(shape, value):
    """Each value with its shape in the API's model."""
    yield shape, value
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from values(shape.members[name], member)
    elif shape.type_name in ("list", "map"):
        for member in value if shape.type_name == "list" else value.values():
            yield from values(shape.member if shape.type_name == "list" else shape.value, member)


def wrong_task(document):
    """By the model that clients of the API check their requests with, and its lists of values."""
    import botocore.session
    from botocore.validate import ParamValidator

    shape = botocore.session.Session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    report = ParamValidator().validate(document, shape)
    if report.has_errors():
        return report.generate_report().splitlines()
    return [f"{value}: one of {inner.enum}" for inner, value in values(shape, document)
            if getattr(inner, "enum", None) and value not in inner.enum]


@pytest.mark.needs("python3-botocore", "python3-yaml", "nodejs")
@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_what_the_schemas_allow(name):
    assert found(name) == []


def pod(document):
    return document["spec"]["template"]["spec"]


@pytest.mark.needs("python3-botocore", "python3-yaml", "nodejs")
@pytest.mark.parametrize("name, change", [
    (NAMES[0], lambda document: pod(document)["initContainers"][0].update(livenesProbe={})),
    (NAMES[0], lambda document: pod(document)["initContainers"][0]["securityContext"].update(runAsUser="10001")),
    (NAMES[1], lambda document: pod(document).pop("containers")),
    (NAMES[2], lambda document: document["containerDefinitions"][0].update(stopTimout=30)),
    (NAMES[2], lambda document: document["containerDefinitions"][1]["dependsOn"][0].update(condition="HEALTH")),
    (NAMES[3], lambda document: document["services"]["apikeyd"].update(readonly=True)),
    (NAMES[3], lambda document: document["services"]["apikeyd"]["healthcheck"].update(retries=[3])),
])
def test_mistakes_in_recipes_are_found(name, change):
    """Else the test above would find none."""
    assert found(name, change) != []
