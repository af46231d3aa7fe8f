"""Which exit codes of which stages are tried again, by the real controller; a stage here is a shell."""

import json
from typing import Any

import pytest
import yaml

from e2e.conftest import ROOT, Namespace
from e2e.test_argo import pods_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]

# $0 is the stage. DASKJOBS_INPUT names the one that fails, and DASKJOBS_COLUMNS says how: options that it has already.
SCRIPT = """
if [ "$0" = "$DASKJOBS_INPUT" ]; then
    echo "a sentence of $0 (exit code 20)" > /dev/termination-log
    [ "$DASKJOBS_COLUMNS" = killed ] && sh -c 'kill -9 $PPID'
    [ "$DASKJOBS_COLUMNS" = memory ] && exec tail /dev/zero
    exit "$DASKJOBS_COLUMNS"
fi
mkdir -p "$DASKJOBS_OUTPUTS/rows" && cd "$DASKJOBS_OUTPUTS/rows"
for name in clean revenue quarantined; do echo 1 > $name; done
"""
PODS = {"validate": ("cluster", "generate", "split", "validate"), "report": ("merge", "clean", "report")}
ENDS = ("10", "20", "killed", "memory")
CASES = [(pod, stage, end) for pod, stages in PODS.items() for stage in stages for end in ENDS]


@pytest.fixture
def told(own_namespace: Namespace) -> dict[tuple[str, str, str], dict[str, Any]]:
    """All cases at once, with one retry each; the workflow of each."""
    template = yaml.safe_load((ROOT / "flows/pipeline.yaml").read_text())
    spec = template["spec"]
    spec["templateDefaults"]["retryStrategy"] |= {"limit": 1, "backoff": {"duration": "1s"}}
    sets = [each["containerSet"]["containers"] for each in spec["templates"] if "containerSet" in each]
    for container in [spec["templateDefaults"]["container"], *(each for containers in sets for each in containers)]:
        container["command"] = ["sh", "-c", SCRIPT]
        container["resources"] = {"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"memory": "128Mi"}}
    own_namespace.kubectl("apply", "-f", "-", text=json.dumps(template))
    names = {case: own_namespace.submit(cluster="local", input=case[1], columns=case[2]) for case in CASES}
    return {case: own_namespace.finished(name, 400) for case, name in names.items()}


def test_stage_is_tried_again_or_not_by_how_it_ended_wherever_it_is_in_its_pod(
    told: dict[tuple[str, str, str], dict[str, Any]],
) -> None:
    wrong = []
    for (pod, stage, end), workflow in told.items():
        assert workflow["status"]["phase"] == "Failed", (stage, end)
        tried = [(node["message"], node["outputs"].get("exitCode")) for node in pods_of(workflow, pod)]
        if len(tried) != (1 if end == "10" else 2) or not all(f"a sentence of {stage}" in said for said, _ in tried):
            wrong.append((stage, end, tried))
        assert [node["phase"] for node in pods_of(workflow, "cleanup")] == ["Succeeded"]
    assert not wrong
