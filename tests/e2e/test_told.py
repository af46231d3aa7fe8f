"""On Argo: who is told of a good workflow, a failed and a stopped one, and what Prometheus finds at the controller."""

import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.conftest import Namespace, kubectl, pods_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600), pytest.mark.usefixtures("argo")]

TOKEN = secrets.token_hex(8)
HOSTILE = "s3://daskjobs/no such/{{=1+41}} {{workflow.uid}} $(HOME) $$ ' \" \\ <!channel>.csv"
# Prints what is posted to it, a line for each request.
RECEIVER = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = {"path": self.path, "authorization": self.headers["Authorization"], "body": body}
        print(json.dumps(said), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
POLICIES = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-to-receiver}
spec:
  podSelector:
    matchLabels: {app.kubernetes.io/part-of: daskjobs}
    matchExpressions: [{key: dask.org/component, operator: DoesNotExist}]
  policyTypes: [Egress]
  egress:
    - to: [{podSelector: {matchLabels: {daskjobs-told: "yes"}}}]
      ports: [{protocol: TCP, port: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: test-receiver}
spec:
  podSelector: {matchLabels: {daskjobs-told: "yes"}}
  policyTypes: [Ingress]
  ingress:
    - from: [{podSelector: {matchLabels: {app.kubernetes.io/part-of: daskjobs}}}]
      ports: [{protocol: TCP, port: 8080}]
"""


def running(workflow: dict[str, Any]) -> bool:
    return "status" in workflow and any(pod["phase"] == "Running" for pod in pods_of(workflow))


def metrics() -> dict[str, float]:
    """The metrics of the controller that are ours, by name and labels."""
    (pod,) = json.loads(kubectl("get", "pods", "-A", "-l", "app=workflow-controller", "-o", "json"))["items"]
    where = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/https:{pod['metadata']['name']}:9090"
    lines = kubectl("get", "--raw", f"{where}/proxy/metrics").splitlines()
    found = (re.fullmatch(r"argo_workflows_(daskjobs_\w+\{[^}]*\}) (\S+)", line) for line in lines)
    return {match[1]: float(match[2]) for match in found if match}


@pytest.fixture
def receiver(namespace: Namespace) -> Iterator[str]:
    name = namespace.pod('python -c "$SCRIPT"', DASKJOBS_POD="receiver", SCRIPT=RECEIVER)
    namespace.kubectl("label", "pod", name, "daskjobs-told=yes")
    namespace.kubectl("create", "-f", "-", text=POLICIES)
    namespace.kubectl("expose", "pod", name, "--port=8080", "--selector=daskjobs-told=yes")
    namespace.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    address = f"http://{name}:8080"
    for secret, given in {
        "daskjobs-notify": {"DASKJOBS_NOTIFY": f"{address}/{TOKEN}"},
        "daskjobs-openlineage": {"DASKJOBS_OPENLINEAGE": address, "DASKJOBS_OPENLINEAGE_KEY": f"key-{TOKEN}"},
    }.items():
        literals = [f"--from-literal={key}={value}" for key, value in given.items()]
        namespace.kubectl("create", "secret", "generic", secret, *literals)
    yield name
    namespace.kubectl("delete", "service", name)
    namespace.kubectl("delete", "secret", "daskjobs-notify", "daskjobs-openlineage")
    namespace.kubectl("delete", "networkpolicy", "test-to-receiver", "test-receiver")


@pytest.mark.usefixtures("image")
def test_end_of_a_workflow_is_told_once_and_is_a_metric(namespace: Namespace, receiver: str) -> None:
    nightly = {"labels": {"workflows.argoproj.io/cron-workflow": "nightly"}}  # as a CronWorkflow labels its workflows
    spec = {"entrypoint": "compact", "workflowMetadata": nightly}
    good = namespace.submit(spec=spec, rows=5000, cluster="local", workers=1)
    bad = namespace.submit(spec={"entrypoint": "compact"}, input=HOSTILE, cluster="local", workers=1)
    long = namespace.submit(spec={"entrypoint": "compact"}, rows=20_000_000, cluster="local", workers=1)
    namespace.until(lambda: namespace.get("workflow", long), running, 120)
    namespace.kubectl("patch", "workflow", long, "--type=merge", "-p", '{"spec": {"shutdown": "Stop"}}')
    workflows = {name: namespace.finished(name) for name in (good, bad, long)}
    assert [each["status"]["phase"] for each in workflows.values()] == ["Succeeded", "Failed", "Failed"]
    for each in workflows.values():
        assert [c for c in each["status"]["conditions"] if c["type"] == "MetricsError"] == []
    log = namespace.kubectl("logs", receiver).splitlines()
    told = [each for each in map(json.loads, log) if each["path"] == f"/{TOKEN}"]
    assert len(told) == 3
    bodies = {each["body"]["workflow"]["name"]: each["body"] for each in told}

    uid = workflows[good]["metadata"]["uid"]
    report = json.loads(namespace.read(uid, "report/analytics_report.json"))
    said = bodies[good]
    assert said["workflow"] == {"name": good, "uid": uid, "namespace": namespace.name}
    assert (said["result"], said["orders"], float(said["revenue"])) == ("succeeded", *report.values())
    assert said["report"] == f"s3://daskjobs/runs/{uid}/report/report.html"

    said = bodies[bad]
    (pod,) = [each for each in pods_of(workflows[bad]) if each["templateName"] == "generate-split-validate"]
    assert (said["result"], said["stage"]) == ("failed", "generate-split-validate")
    assert HOSTILE in said["sentence"].replace("\\\\", "\\").replace('\\"', '"')
    assert pod["message"].endswith(said["sentence"])
    assert "<" not in said["text"]

    said = bodies[long]
    assert (said["result"], said["stage"]) == ("failed", "generate-split-validate")
    assert said["sentence"] == "workflow shutdown with strategy:  Stop"

    events = [each for each in map(json.loads, log) if each["path"] == "/api/v1/lineage"]
    assert {each["authorization"] for each in events} == {f"Bearer key-{TOKEN}"}
    kinds: dict[str, list[str]] = {}
    for each in events:
        kinds.setdefault(each["body"]["run"]["runId"], []).append(each["body"]["eventType"])
    assert sorted(kinds.values()) == [["START", "COMPLETE"], ["START", "FAIL"], ["START", "FAIL"]]
    assert {each["body"]["job"]["namespace"] for each in events} == {namespace.name}

    for name, workflow in workflows.items():
        assert TOKEN not in json.dumps(workflow), name
        assert TOKEN not in namespace.kubectl("logs", "-l", f"workflows.argoproj.io/workflow={name}", "--tail=-1")
        files = namespace.files()
        run = f"daskjobs/runs/{workflow['metadata']['uid']}"
        assert not any(TOKEN.encode() in files.cat(path) for path in files.find(run))

    found = metrics()
    ours, theirs = (f'cron="{cron}",namespace="{namespace.name}"' for cron in ("nightly", ""))
    assert found[f"daskjobs_orders{{{ours}}}"] == report["orders"]
    assert found[f"daskjobs_rejected_ratio{{{ours}}}"] == bodies[good]["rejected_share"]
    assert found[f'daskjobs_runs_total{{{ours},result="Succeeded"}}'] == 1
    assert found[f'daskjobs_runs_total{{{theirs},result="Failed"}}'] == 2
    assert 1 < found[f'daskjobs_duration_seconds{{{ours},result="Succeeded"}}'] < 600
    assert f"daskjobs_orders{{{theirs}}}" not in found
