"""The YAML of flows/ and k8s/, for the tests that hold it against the Python."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
USER = 10001
BRACE = "DASKJOBS_BRACE"  # a variable that is a brace, see `escaped`


def documents(path: str) -> list[dict[str, Any]]:
    """Every document of a file, or of all files of a folder."""
    found = ROOT / path
    files = [found] if found.is_file() else sorted(found.glob("*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def named(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The documents of one kind, by their names."""
    return {document["metadata"]["name"]: document for document in found if document["kind"] == kind}


def rights(account: str) -> set[str]:
    """The rights of a service account, by all its roles, as "verb resource"."""
    base = documents("k8s/base")
    roles = [
        binding["roleRef"]["name"]
        for binding in named(base, "RoleBinding").values()
        if account in [subject["name"] for subject in binding["subjects"]]
    ]
    rules = [rule for role in roles for rule in named(base, "Role")[role]["rules"]]
    return {f"{verb} {resource}" for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}


def build(overlay: str) -> list[dict[str, Any]]:
    """The documents of an overlay of k8s/, as kustomize builds them."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not in PATH")
    command = ["kubectl", "kustomize", str(ROOT / "k8s/overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def escaped(reference: str) -> str:
    """The tag by which a flow puts a parameter into a variable as it is: neither Argo nor Kubernetes expands it."""
    return f"{{{{= {reference} | replace('$', '$$') | replace('{{', '$({BRACE})') }}}}"


def locked_in(path: str) -> dict[str, str]:
    """The versions that a lock pins, by the packages' names."""
    return dict(re.findall(r"^([\w.-]+)==(\S+) \\$", (ROOT / path).read_text(), re.M))


def assert_restricted(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Hold a container to the restricted Pod Security Standard, a read-only root, and bounded resources."""
    user, own = pod["securityContext"], container["securityContext"]
    assert (user["runAsNonRoot"], user["runAsUser"], user["seccompProfile"]) == (True, USER, {"type": "RuntimeDefault"})
    assert own == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert set(container["resources"]["requests"]) == {"cpu", "memory", "ephemeral-storage"}
    assert set(container["resources"]["limits"]) == {"memory", "ephemeral-storage"}
    folders = [volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume]
    assert folders
    assert all("sizeLimit" in folder for folder in folders)


def argo() -> str:
    """The argo program; a test that needs it is skipped where there is none."""
    home = os.environ.get("ARGO_HOME", "/opt/argo")
    found = shutil.which("argo") or shutil.which("argo", path=home)
    if not found:
        pytest.skip("argo is neither in PATH nor in $ARGO_HOME")
    return found


def lint(*files: Path) -> "subprocess.CompletedProcess[str]":
    """What Argo says of files that are linted together."""
    command = [argo(), "lint", "--offline", "--strict", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
