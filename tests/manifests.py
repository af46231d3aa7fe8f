"""The YAML of flows/ and k8s/, for the tests that hold it against the Python."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
USER = 10001


def documents(path: str) -> list[dict[str, Any]]:
    """Every document of a file, or of all files of a folder."""
    found = ROOT / path
    files = [found] if found.is_file() else sorted(found.glob("*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text())]


def named(found: list[dict[str, Any]], kind: str) -> dict[str, dict[str, Any]]:
    """The documents of one kind, by their names."""
    return {document["metadata"]["name"]: document for document in found if document["kind"] == kind}


def assert_restricted(pod: dict[str, Any], container: dict[str, Any]) -> None:
    """Hold a container to the restricted Pod Security Standard, a read-only root, and known resources."""
    user, own = pod["securityContext"], container["securityContext"]
    assert (user["runAsNonRoot"], user["runAsUser"], user["seccompProfile"]) == (True, USER, {"type": "RuntimeDefault"})
    assert own == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
