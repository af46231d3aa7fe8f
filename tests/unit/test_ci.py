"""The workflow of GitHub Actions, which can't run here, against GitHub's schema and what it must not lack."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from manifests import ROOT

FILE = ROOT / ".github/workflows/ci.yml"
CI: dict[Any, Any] = yaml.safe_load(FILE.read_text())
JOBS: dict[str, dict[str, Any]] = CI["jobs"]


def test_workflow_is_one_by_githubs_schema() -> None:
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema to run this test")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_schema_is_asked_when_a_key_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("check_jsonschema", reason="pip install check-jsonschema to run this test")
    wrong = tmp_path / "ci.yml"
    wrong.write_text(FILE.read_text().replace("timeout-minutes", "timeout-hours"))
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(wrong)]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_every_job_may_read_alone_has_an_end_and_uses_pinned_actions() -> None:
    assert CI["permissions"] == {"contents": "read"}
    for job in JOBS.values():
        assert "permissions" not in job
        assert 0 < job["timeout-minutes"] <= 90
        for step in job["steps"]:
            assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", step["uses"])  # a tag may be moved
            assert not step.get("uses", "").startswith("actions/checkout") or not step["with"]["persist-credentials"]


def test_tests_run_on_each_python_that_the_project_supports() -> None:
    supported = SpecifierSet(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"])
    pythons = JOBS["test"]["strategy"]["matrix"]["python"]
    assert pythons == [f"3.{minor}" for minor in range(11, 15)]
    assert all(python in supported for python in pythons)
    assert "3.10" not in supported


def test_make_targets_of_the_workflow_exist_and_all_checks_are_among_them() -> None:
    targets = set(re.findall(r"\bmake ([a-z-]+)", json.dumps(JOBS)))
    assert targets == {"lint", "test", "test-slow", "audit", "cluster", "test-cluster"}
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_every_lock_of_the_image_is_looked_up_for_vulnerabilities_each_week_without_a_change() -> None:
    assert JOBS["audit"]["steps"][-1] == {"run": "make audit"}
    assert CI[True]["schedule"]  # YAML reads `on` as True
    command = ["make", "-n", "audit"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "for lock in image/*.lock; do" in said
    assert "pip-audit --disable-pip --require-hashes -r $lock || exit 1" in said


def test_argo_is_the_version_that_make_cluster_installs() -> None:
    version = JOBS["kind"]["env"]["ARGO_VERSION"]
    assert f"/argo-workflows/releases/download/{version}/install.yaml" in (ROOT / "Makefile").read_text()
