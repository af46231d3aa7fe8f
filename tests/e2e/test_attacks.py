"""What an attacker tries who has got a token of daskjobs, may submit a workflow, or has written the rules.

The admission policies of k8s/admission are installed under names of this module's own, for its namespace alone.
"""

import copy
import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.api import DaskCluster
from daskjobs.cluster.kubernetes.examination import pod_of
from daskjobs.cluster.kubernetes.network import run_policy
from daskjobs.cluster.kubernetes.spec import render
from e2e.conftest import IMAGE, ROOT, Namespace, by_name, installed, kubectl

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PIPELINE = yaml.safe_load((ROOT / "flows/pipeline.yaml").read_text())["spec"]
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
EXECUTOR = "quay.io/argoproj/argoexec:local"
SETTINGS = KubernetesSettings(workflow_uid="attack", workers=1)

Object = dict[str, Any]


@pytest.fixture(scope="module")
def policed(cluster: None) -> Iterator[Namespace]:
    """A namespace for which the policies are enforced."""
    with installed() as namespace:
        text = kubectl("kustomize", str(ROOT / "k8s/admission"))
        for name in ("dask-clusters", "secrets", "network", "images"):
            text = text.replace(f": daskjobs-{name}\n", f": {namespace.name}-{name}\n")
        text = text.replace("daskjobs/admission: enforced", f"daskjobs/admission: {namespace.name}")
        try:
            kubectl("apply", "-f", "-", text=text)
            kubectl("annotate", "namespace", namespace.name, f"daskjobs/images={IMAGE}\n{EXECUTOR}")
            kubectl("label", "namespace", namespace.name, f"daskjobs/admission={namespace.name}")
            attack = put(dask_cluster(), "spec.worker.spec.hostNetwork", True)
            namespace.until(lambda: attempt(namespace, attack), lambda said: "hostNetwork" in said, 60)
            yield namespace
        finally:
            kubectl("delete", "--ignore-not-found", "-f", "-", text=text)


def left(namespace: Namespace) -> list[str]:
    """What is left of Dask by a run: the operator makes things for dv-attack even when that is long deleted."""
    return [each for each in namespace.dask_objects() if "/dv-attack" not in each]


@pytest.fixture
def enforced(policed: Namespace) -> Iterator[Namespace]:
    yield policed
    policed.calm()


def dask_cluster() -> Object:
    """The DaskCluster of an honest run."""
    main = {"name": "main", **PIPELINE["templateDefaults"]["container"], "image": IMAGE}
    return render(SETTINGS, {"securityContext": PIPELINE["securityContext"], "containers": [main]})


def worker_group() -> Object:
    """A DaskWorkerGroup of an honest run, as it is made where the operator has made none."""
    cluster = dask_cluster()
    return {
        **cluster,
        "kind": "DaskWorkerGroup",
        "metadata": {"name": "dv-attack-default", "labels": cluster["metadata"]["labels"]},
        "spec": {"cluster": "dv-attack", "worker": cluster["spec"]["worker"]},
    }


def put(manifest: Object, path: str, value: object) -> Object:
    """Return a copy of a manifest with another value at a path like spec.containers.0.image."""
    changed = copy.deepcopy(manifest)
    *parents, last = re.split(r"\.(?!org/)", path)
    at: Any = changed
    for each in parents:
        at = at[int(each)] if isinstance(at, list) else at.setdefault(each, {})
    at[last] = [*at.get(last, []), *value] if isinstance(value, list) else value
    return changed


def attempt(
    namespace: Namespace, manifest: Object, *command: str, account: str = "daskjobs-cluster", rights: bool = True
) -> str:
    """Try to create something as a service account, without doing so; return what Kubernetes says, or nothing.

    With all ``rights`` the account may do everything, so that only the policies can refuse it.
    """
    user = ["--as", f"system:serviceaccount:{namespace.name}:{account}"]
    user += ["--as-group", "system:masters"] if rights else []
    line = ["kubectl", "-n", namespace.name, *user, *(command or ("create",)), "--dry-run=server", "-f", "-"]
    done = subprocess.run(line, input=json.dumps(manifest), capture_output=True, text=True, timeout=60, check=False)
    return done.stderr if done.returncode else ""


POD = "spec.worker.spec"
CONTAINER = f"{POD}.containers.0"
STEAL = {"name": "stolen", "valueFrom": {"secretKeyRef": {"name": "theirs", "key": "password"}}}
SHAPES = {
    "an image from elsewhere": (f"{CONTAINER}.image", "evil:1", "the image of a Dask cluster must be one of"),
    "the image of the scheduler": ("spec.scheduler.spec.containers.0.image", "evil:1", "got evil:1"),
    "another account": (f"{POD}.serviceAccountName", "daskjobs-janitor", "may not have serviceAccountName"),
    "a token": (f"{POD}.automountServiceAccountToken", True, "must have automountServiceAccountToken: false"),
    "the network of the node": (f"{POD}.hostNetwork", True, "may not have hostNetwork"),
    "the processes of the node": (f"{POD}.hostPID", True, "may not have hostPID"),
    "the memory of the node": (f"{POD}.hostIPC", True, "may not have hostIPC"),
    "a port of the node": (f"{CONTAINER}.ports", [{"containerPort": 1, "hostPort": 1}], "may not have ports of"),
    "a given node": (f"{POD}.nodeName", "control-plane", "may not have nodeName"),
    "the disk of the node": (f"{POD}.volumes", [{"name": "d", "hostPath": {"path": "/"}}], "must be an emptyDir"),
    "a token as a volume": (
        f"{POD}.volumes",
        [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
        "must be an emptyDir, or one of the Secrets daskjobs-storage, dask-step, dv-attack-tls",
    ),
    "a Secret as a volume": (f"{POD}.volumes", [{"name": "s", "secret": {"secretName": "theirs"}}], "must be an"),
    "a Secret as a variable": (f"{CONTAINER}.env", [STEAL], "may come from the Secrets daskjobs-storage, dask-step"),
    "a Secret as variables": (f"{CONTAINER}.envFrom", [{"secretRef": {"name": "theirs"}}], "and from no other"),
    "privileges": (f"{CONTAINER}.securityContext", {"privileged": True}, "no privilege escalation"),
    "a capability": (f"{CONTAINER}.securityContext.capabilities", {"add": ["SYS_ADMIN"]}, "no capabilities"),
    "root": (f"{POD}.securityContext.runAsUser", 0, "runAsNonRoot, a runAsUser"),
    "no seccomp": (f"{POD}.securityContext.seccompProfile", {"type": "Unconfined"}, "seccompProfile"),
    "a second container": (f"{POD}.containers", [{"name": "more", "image": "evil:1"}], "must have one container"),
    "an init container": (f"{POD}.initContainers", [{"name": "i", "image": "evil:1"}], "may not have initContainers"),
    "a hook": (f"{CONTAINER}.lifecycle", {"postStart": {"exec": {"command": ["sh"]}}}, "may not have lifecycle"),
    "traffic of another service": ("metadata.labels", {"app": "web"}, "may not have the labels and annotations app:"),
    "an annotation": ("metadata.annotations", {"k8s.v1.cni.cncf.io/networks": "secret"}, "k8s.v1.cni.cncf.io/networks"),
    "labels of the pods": ("spec.worker.metadata", {"labels": {"app": "web"}}, "no metadata of their own"),
    "a way in": ("spec.scheduler.service.type", "NodePort", "must be of type ClusterIP"),
    "another's address": ("spec.scheduler.service.externalIPs", ["1.1.1.1"], "must be of type ClusterIP"),
    "a name for another's Secret": ("metadata.name", "web", "must begin with dv-, as that of a run does, got web"),
    "another's network": ("metadata.labels.daskjobs/run", "other", "got dv-attack with the label other"),
    "another's cluster": ("metadata.labels.dask.org/cluster-name", "dv-other", "must be dv-attack"),
    "all of the nodes": ("spec.worker.replicas", 1001, "at most 1,000 workers"),
}  # fmt: skip


@pytest.mark.parametrize("what", SHAPES)
def test_dask_cluster_of_another_shape_is_refused_with_a_sentence(policed: Namespace, what: str) -> None:
    path, value, said = SHAPES[what]
    assert said in attempt(policed, put(dask_cluster(), path, value))


def test_dask_cluster_and_worker_group_of_an_honest_run_are_let_through_with_the_rights_of_the_account(
    policed: Namespace,
) -> None:
    for manifest in (dask_cluster(), worker_group()):
        assert attempt(policed, manifest, rights=False) == ""
    with_secrets = put(dask_cluster(), f"{CONTAINER}.envFrom", [{"secretRef": {"name": "dask-step"}}])
    assert attempt(policed, with_secrets, rights=False) == ""


def test_worker_group_of_another_shape_is_refused_with_a_sentence(policed: Namespace) -> None:
    group = worker_group()
    assert "must be one of" in attempt(policed, put(group, f"{CONTAINER}.image", "evil:1"))
    assert "may not have hostPID" in attempt(policed, put(group, f"{POD}.hostPID", True))
    assert "must begin with dv-" in attempt(policed, put(group, "spec.cluster", "web"))


def test_worker_group_of_another_run_is_refused_whose_pods_would_get_its_key_pair(policed: Namespace) -> None:
    """With a name that is free, since the operator has made dv-other-default; and then by its labels."""
    theirs = json.loads(json.dumps(worker_group()).replace("dv-attack-tls", "dv-other-tls"))
    group = put(theirs, "spec.cluster", "dv-other")
    assert "has one group of workers, dv-other-default, got dv-attack-default" in attempt(policed, group)
    group = put(group, "metadata.name", "dv-other-default")
    assert "got dv-other with the label attack" in attempt(policed, group)


def test_worker_group_that_is_there_is_resized_and_gets_no_other_pods(enforced: Namespace) -> None:
    honest = put(worker_group(), "spec.worker.replicas", 0)
    enforced.kubectl("create", "-f", "-", text=json.dumps(honest))
    change = ("apply", "--server-side", "--force-conflicts")
    for path, value, said in [
        ("spec.cluster", "dv-other", "dv-other"),
        (f"{CONTAINER}.args", ["--preload", "evil"], "the number of workers and nothing else, got another spec"),
        (f"{CONTAINER}.env", [{"name": "PYTHONPATH", "value": "/tmp"}], "nothing else, got another spec"),
        ("metadata.labels.daskjobs/run", "other", "got dv-attack with the label other"),
        ("metadata.ownerReferences", [], ""),
        ("spec.worker.replicas", 1001, "at most 1,000 workers"),
        ("spec.worker.replicas", 3, ""),
        ("metadata.annotations", {"daskjobs/deadline": "later"}, ""),
    ]:
        answer = attempt(enforced, put(honest, path, value), *change)
        assert said in answer, path
        assert bool(answer) == bool(said), answer


def test_pod_with_rights_gets_no_other_image_later_nor_the_files_of_one(enforced: Namespace) -> None:
    small = pod_of(IMAGE, "honest", 60, command=["sleep", "60"])
    honest: Object = {"apiVersion": "v1", "kind": "Pod", **small}
    honest["spec"]["serviceAccountName"] = "daskjobs-cluster"
    strange = "may run the images"
    volumes = [{"name": "files", "image": {"reference": "evil:1"}}]
    if strange not in (answer := attempt(enforced, put(honest, "spec.volumes", volumes))):
        assert "image" in answer or "evil" not in attempt_shown(enforced, put(honest, "spec.volumes", volumes)), answer
    enforced.kubectl("create", "-f", "-", text=json.dumps(honest))
    assert strange in attempt(enforced, put(honest, "spec.containers.0.image", "evil:1"), "apply")
    debug = {"name": "debug", "image": "evil:1", "securityContext": honest["spec"]["containers"][0]["securityContext"]}
    patch = json.dumps({"spec": {"ephemeralContainers": [debug]}})
    command = ("patch", "pod", "honest", "--subresource=ephemeralcontainers", "--type=strategic", "-p", patch)
    done = subprocess.run(["kubectl", "-n", enforced.name, *command], capture_output=True, text=True, check=False)
    assert strange in done.stderr
    assert attempt(enforced, put(honest, "metadata.labels", {"completed": "true"}), "apply") == ""
    listed = ["annotate", "--overwrite", "namespace", enforced.name]
    kubectl(*listed, "daskjobs/images=another:1")
    try:  # its image is listed no more: nothing stops what is there, or Argo from labelling it
        enforced.kubectl("label", "pod", "honest", "completed=true")
    finally:
        kubectl(*listed, f"daskjobs/images={IMAGE}\n{EXECUTOR}")
        enforced.kubectl("delete", "pod", "honest", "--grace-period=0", "--force")


def attempt_shown(namespace: Namespace, manifest: Object) -> str:
    """What Kubernetes would store of a manifest."""
    return namespace.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", text=json.dumps(manifest))


def test_dask_cluster_that_is_there_cant_be_given_another_shape(enforced: Namespace) -> None:
    honest = put(dask_cluster(), "spec.worker.replicas", 0)
    enforced.kubectl("create", "-f", "-", text=json.dumps(honest))
    change = ("apply", "--server-side", "--force-conflicts")
    assert "may not have hostPID" in attempt(enforced, put(honest, f"{POD}.hostPID", True), *change)
    assert attempt(enforced, put(honest, "metadata.annotations", {"daskjobs/deadline": "later"}), *change) == ""


def test_secret_that_kubernetes_would_put_a_token_into_is_refused(policed: Namespace) -> None:
    """Who may create a Secret gets the token of any account that way, and reads it in a volume of a Dask cluster."""
    annotations = {"kubernetes.io/service-account.name": "daskjobs-janitor"}
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "dv-attack-tls"}, "type": "Opaque"}
    token = put(put(secret, "metadata.annotations", annotations), "type", "kubernetes.io/service-account-token")
    assert attempt(policed, secret) == ""
    assert "of the type kubernetes.io/service-account-token" in attempt(policed, token)
    assert "named dv-<run>-tls" in attempt(policed, put(secret, "metadata.name", "daskjobs-storage"))


@pytest.mark.parametrize("account", ["daskjobs-cluster", "daskjobs-cleanup"])
def test_secret_of_others_is_not_deleted(policed: Namespace, account: str) -> None:
    storage = policed.get("secret", "daskjobs-storage")
    assert "got daskjobs-storage" in attempt(policed, storage, "delete", account=account)


def test_network_policy_that_lets_others_in_is_refused(policed: Namespace) -> None:
    owner = DaskCluster({**dask_cluster(), "metadata": {**dask_cluster()["metadata"], "uid": "any"}})
    honest = run_policy(owner)
    assert attempt(policed, honest, rights=False) == ""
    for path, value in [
        ("spec.ingress", [{}]),
        ("spec.egress", [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]),
        ("spec.podSelector", {}),
        ("metadata.labels", {}),
    ]:
        assert "and let them reach each other and nothing else" in attempt(policed, put(honest, path, value)), path


@pytest.mark.usefixtures("argo")
def test_run_of_the_images_that_are_listed_succeeds_and_leaves_nothing(enforced: Namespace) -> None:
    workflow = enforced.finished(enforced.submit(rows=2000, seed=3, workers=1, worker_cpu="20m"))
    assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"])[:3000]
    assert left(enforced) == []


@pytest.mark.usefixtures("argo")
def test_step_of_an_image_that_is_listed_succeeds_and_leaves_nothing(enforced: Namespace) -> None:
    enforced.configure(DASKJOBS_IMAGE=IMAGE)  # of its exit hook
    given = {"call": "operator:truth", "image": IMAGE, "workers": "1", "worker-cpu": "20m", "worker-memory": "512Mi"}
    task = {
        "name": "step",
        "templateRef": {"name": "dask-step", "template": "run"},
        "hooks": {"exit": {"templateRef": {"name": "dask-step", "template": "cleanup"}}},
        "arguments": {"parameters": [{"name": name, "value": value} for name, value in given.items()]},
    }
    spec = {"entrypoint": "main", "templates": [{"name": "main", "dag": {"tasks": [task]}}]}
    flow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "step"}, "spec": spec}
    enforced.kubectl("create", "-f", "-", text=json.dumps(flow))
    workflow = enforced.finished("step")
    assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"])[:3000]
    (result,) = by_name(workflow)["step"]["outputs"]["parameters"]
    assert (result["name"], result["value"]) == ("result", "true")
    assert left(enforced) == []


@pytest.mark.usefixtures("argo")
def test_image_that_a_workflow_names_gets_no_token_unless_it_is_listed(enforced: Namespace) -> None:
    name = enforced.submit("smoke.yaml", image="evil:1")
    found = enforced.until(
        lambda: enforced.get("workflow", name), lambda each: "evil:1" in str(each.get("status", {}).get("nodes")), 60
    )
    assert "a pod with the account daskjobs-cluster may run the images" in str(found["status"]["nodes"])
    assert enforced.get("pods", "-l", f"workflows.argoproj.io/workflow={name}")["items"] == []


@pytest.mark.parametrize(
    ("account", "refused"),
    [
        ("daskjobs-stage", ["list pods", "list daskclusters", "create daskclusters", "get workflowtaskresults"]),
        ("daskjobs-cleanup", ["create daskclusters", "patch daskclusters", "create daskworkergroups", "get pods/log"]),
        ("daskjobs-cluster", ["create pods", "create pods/exec", "patch configmaps", "create workflows"]),
        ("daskjobs-janitor", ["create daskclusters", "create pods", "get pods/log"]),
    ],
)
def test_account_may_do_nothing_that_its_pods_need_not(place: Namespace, account: str, refused: list[str]) -> None:
    user = f"system:serviceaccount:{place.name}:{account}"
    for right in [*refused, "get secrets", "list secrets", "create rolebindings", "create serviceaccounts/token"]:
        assert place.kubectl("auth", "can-i", *right.split(), "--as", user, check=False).strip() == "no", right


@pytest.mark.usefixtures("argo")
def test_token_is_in_the_containers_that_need_it_and_in_no_others(namespace: Namespace) -> None:
    """Each template of the pipeline, with a shell command in the place of its own one."""
    script = f"test -e {TOKEN} && echo it has a token || echo it has none"
    spec = copy.deepcopy(PIPELINE)
    pods = [template for template in spec["templates"] if "container" in template]
    for template in pods:
        for key in ("inputs", "outputs", "retryStrategy"):
            template.pop(key, None)
        template["container"] = {"command": ["sh", "-c"], "args": [script]}
    tasks = [{"name": each["name"], "template": each["name"]} for each in pods]
    spec |= {"entrypoint": "all", "templates": [*pods, {"name": "all", "dag": {"tasks": tasks}}]}
    del spec["onExit"]
    for parameter in spec["arguments"]["parameters"]:
        if parameter["name"] == "image":
            parameter["value"] = IMAGE
            del parameter["valueFrom"]
    flow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "tokens"}, "spec": spec}
    namespace.kubectl("create", "-f", "-", text=json.dumps(flow))
    workflow = namespace.finished("tokens")
    assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"])[:3000]
    found = {}
    for pod in namespace.get("pods", "-l", "workflows.argoproj.io/workflow=tokens")["items"]:
        template = pod["metadata"]["annotations"]["workflows.argoproj.io/node-name"].rpartition(".")[2]
        found[template] = "it has a token" in namespace.kubectl("logs", pod["metadata"]["name"], "-c", "main")
        assert not [volume for volume in pod["spec"]["volumes"] if "service-account-token" in str(volume.get("secret"))]
    owners = {"cluster", "validate", "whole", "cleanup", "cleanup-each", "generate-split-validate", "smoke"}
    assert found == {each["name"]: each["name"] in owners for each in pods}


RULES = f"""
import os, socket, time
import s3fs

def spied(orders):
    return orders["quantity"] < 0

spied.__doc__ = f"Seen on {{socket.gethostname()}}."
token = os.path.exists("{TOKEN}")
storage = s3fs.S3FileSystem(endpoint_url=os.environ["AWS_ENDPOINT_URL"])
storage.pipe(f"daskjobs/spied/{{socket.gethostname()}}.{{os.getpid()}}", str(token).encode())
"""


@pytest.mark.usefixtures("argo")
@pytest.mark.parametrize("where", ["kubernetes", "local"])
def test_rules_run_on_workers_alone_where_no_token_is(namespace: Namespace, where: str) -> None:
    """A file of rules writes down, wherever it is loaded, on which host that is, and whether there is a token."""
    files = namespace.files()
    files.pipe("daskjobs/mine/spying.py", RULES.replace("spied/", f"spied/{where}/").encode())
    options = {"rows": 2000, "workers": 2, "worker_cpu": "20m", "rules": "s3://daskjobs/mine/spying.py"}
    name = namespace.submit(cluster=where, **options)
    workflow = namespace.finished(name)
    assert workflow["status"]["phase"] == "Succeeded", json.dumps(workflow["status"])[:3000]
    uid = workflow["metadata"]["uid"]
    host = f"dv-{uid}-default-worker-" if where == "kubernetes" else f"{name}-validate-"
    seen = {path.rpartition("/")[2]: files.cat(path) for path in files.ls(f"daskjobs/spied/{where}")}
    assert seen
    assert all(each.startswith(host) for each in seen), seen
    assert set(seen.values()) == {b"False"}
    assert json.loads(namespace.read(uid, "validate/rules.json"))["spied"].startswith(f"Seen on {host}")
