"""Whose dashboard is shown, and when there is none; e2e/test_dashboard.py shows one. See kubeapi.py for the server."""

import re
from urllib.request import HTTPCookieProcessor, build_opener

import kr8s
import pytest
from click.testing import CliRunner
from distributed import LocalCluster

from conftest import listening
from daskjobs.cli.main import main
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.kubernetes.dashboard import await_cluster, is_there, watch
from daskjobs.cluster.kubernetes.naming import CLUSTER_LABEL, NODE, PART_OF, RUN_LABEL, node_key
from daskjobs.errors import ClusterError, ConfigError, UsageError
from kubeapi import KubeApi, Object


def labels(run: str) -> dict[str, str]:
    return {**PART_OF, RUN_LABEL: run, CLUSTER_LABEL: f"dv-{run}"}


def steps(kube: KubeApi, *nodes: str, **status: str) -> None:
    """Have the workflow flow, with the Dask clusters of the steps of these nodes."""
    uid = kube.add("Workflow", "flow", status=status or {"phase": "Running"})["metadata"]["uid"]
    for node in nodes:
        kube.add("DaskCluster", f"dv-{uid}-{node_key(node)}", labels(uid), metadata={"annotations": {NODE: node}})


def test_workflow_that_is_not_there_is_a_sentence(kube: KubeApi, settings: KubernetesSettings) -> None:
    with pytest.raises(ConfigError, match=f"there is no workflow flow in {kube.namespace}: `argo list"):
        next(watch(settings))


def test_workflow_that_is_over_is_a_sentence_that_names_the_pages(kube: KubeApi, settings: KubernetesSettings) -> None:
    kube.add("Workflow", "flow", status={"phase": "Failed", "finishedAt": "2026-01-01T00:00:00Z"})
    with pytest.raises(ConfigError, match="flow has failed, and its Dask cluster is gone; the artifact performance"):
        next(watch(settings))


def test_cluster_of_the_workflow_is_waited_for_and_no_other_is_taken(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    uid = kube.add("Workflow", "flow", status={"phase": "Running"})["metadata"]["uid"]
    kube.add("DaskCluster", "dv-other", labels("other"))
    kube.add("DaskCluster", "dv-ending", labels(uid), metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    made: list[Object] = []

    def make_at_the_second_look(plural: str) -> None:
        if plural == "daskclusters":
            made.append(kube.add("DaskCluster", "dv-mine", labels(uid)) if made else {})

    kube.before_list = make_at_the_second_look
    cluster = await_cluster(api, settings)
    assert cluster.name == "dv-mine"
    assert len(made) == 2


NODES = ("flow.features", "flow.nested.features", "flow.risk(0:a.b)", "flow.risk(1:(b))", "flow.each(0:x).train(0:y)")


@pytest.mark.parametrize(
    ("step", "node"),
    [
        ("flow.features", "flow.features"),
        ("features", "flow.features"),
        ("nested.features", "flow.nested.features"),
        ("risk(1:(b))", "flow.risk(1:(b))"),
        ("flow.risk(0:a.b)", "flow.risk(0:a.b)"),
        ("train", "flow.each(0:x).train(0:y)"),
    ],
)
def test_step_is_chosen_by_its_name_or_the_end_of_it(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, step: str, node: str
) -> None:
    steps(kube, *NODES)
    assert await_cluster(api, settings, step).name.endswith(f"-{node_key(node)}")


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            "",
            f"the workflow flow has several Dask clusters now, those of {', '.join(map(repr, sorted(NODES)))}: choose",
        ),
        (
            "risk",
            "several Dask clusters of the step 'risk' now, those of 'flow.risk(0:a.b)', 'flow.risk(1:(b))': choose",
        ),
    ],
)
def test_choice_among_several_steps_is_usage_that_lists_them(kube: KubeApi, step: str, words: str) -> None:
    steps(kube, *NODES)
    command = ["dashboard", "--workflow", "flow", "--namespace", kube.namespace, *(["--step", step] if step else [])]
    with pytest.raises(UsageError, match=re.escape(words)):
        CliRunner().invoke(main, command, catch_exceptions=False)


def test_long_list_of_steps_is_cut(kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings) -> None:
    steps(kube, *(f"flow.each({number}:x)" for number in range(10, 30)))
    with pytest.raises(UsageError, match=r"'flow.each\(19:x\)' and 10 more: choose"):
        await_cluster(api, settings)


def test_step_that_has_no_cluster_yet_is_waited_for(kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings) -> None:
    steps(kube, "flow.other")
    looks: list[str] = []

    def make_at_the_second_look(plural: str) -> None:
        if plural == "daskclusters" and len(looks) == 1:
            uid = kube.get("Workflow", "flow")["metadata"]["uid"]
            kube.add("DaskCluster", "dv-mine", labels(uid), metadata={"annotations": {NODE: "flow.mine"}})
        looks.extend([plural] if plural == "daskclusters" else [])

    kube.before_list = make_at_the_second_look
    assert await_cluster(api, settings, "mine").name == "dv-mine"


@pytest.mark.parametrize("step", ["min", "ine", "other.mine", "mine.*", "flow"])
def test_step_that_no_name_fits_is_a_sentence_that_lists_what_is_there(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings, step: str
) -> None:
    steps(kube, "flow.mine")
    object.__setattr__(settings, "start_timeout", 0.05)
    words = f"the workflow flow has no Dask cluster of the step {step!r} within 0 s: it has those of 'flow.mine'"
    with pytest.raises(ClusterError, match=re.escape(words)):
        await_cluster(api, settings, step)


def test_cluster_without_a_node_is_chosen_by_its_own_name(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    """As one of orders is, beside a step."""
    steps(kube, "flow.mine")
    uid = kube.get("Workflow", "flow")["metadata"]["uid"]
    kube.add("DaskCluster", f"dv-{uid}", labels(uid))
    with pytest.raises(UsageError, match=f"those of 'dv-{uid}', 'flow.mine': choose one by --step"):
        await_cluster(api, settings)
    assert await_cluster(api, settings, f"dv-{uid}").name == f"dv-{uid}"


def test_cluster_that_is_kept_after_its_workflow_has_failed_is_shown(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    steps(kube, "flow.mine", phase="Failed", finishedAt="2026-01-01T00:00:00Z")
    assert await_cluster(api, settings).name.endswith(node_key("flow.mine"))
    with pytest.raises(ConfigError, match="flow has failed, and has no Dask cluster of the step 'x' now: it has those"):
        await_cluster(api, settings, "x")


def test_cluster_that_does_not_come_is_a_sentence(kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings) -> None:
    kube.add("Workflow", "flow", status={"phase": "Running"})
    object.__setattr__(settings, "start_timeout", 0.05)
    with pytest.raises(ClusterError, match="the workflow flow has no Dask cluster within 0 s: it has not started one"):
        await_cluster(api, settings)


def test_end_of_the_cluster_is_seen_when_it_is_gone_ending_or_replaced(
    kube: KubeApi, api: kr8s.Api, settings: KubernetesSettings
) -> None:
    uid = kube.add("Workflow", "flow", status={"phase": "Running"})["metadata"]["uid"]
    raw = kube.add("DaskCluster", "dv-mine", labels(uid))
    cluster = await_cluster(api, settings)
    assert is_there(api, cluster)
    raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not is_there(api, cluster)
    kube.finalize()
    assert not is_there(api, cluster)
    kube.add("DaskCluster", "dv-mine", labels(uid))
    assert not is_there(api, cluster)


def test_dashboard_is_shown_until_its_cluster_is_gone_by_a_link_alone(
    kube: KubeApi, settings: KubernetesSettings
) -> None:
    """A cluster without TLS has no port forwarded: whoever reached it could run code in the cluster."""
    uid = kube.add("Workflow", "flow", status={"phase": "Running"})["metadata"]["uid"]
    raw = kube.add("DaskCluster", "dv-mine", labels(uid))
    options = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0", "processes": False}
    with LocalCluster(n_workers=0, **options) as pod:
        kube.serve("dv-mine-scheduler", 8787, pod.scheduler.http_server.port)
        before = listening()
        lines = watch(settings)
        link = next(lines).removeprefix("dashboard  ")
        assert len(listening() - before) == 1
        with build_opener(HTTPCookieProcessor()).open(link, timeout=20) as answer:
            assert "Dask Diagnostic UI" in answer.read().decode()
        raw["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert list(lines) == ["the Dask cluster has been removed: its work is over"]
        assert listening() <= before


def test_scheduler_that_does_not_answer_is_a_sentence(kube: KubeApi, settings: KubernetesSettings) -> None:
    uid = kube.add("Workflow", "flow", status={"phase": "Running"})["metadata"]["uid"]
    kube.add("DaskCluster", "dv-mine", labels(uid))
    object.__setattr__(settings, "start_timeout", 0.5)
    with pytest.raises(ClusterError, match="the Dask cluster dv-mine does not answer within 0.5 s"):
        next(watch(settings))
    kube.serve("dv-mine-scheduler", 8787, 1)
    with pytest.raises(ClusterError, match="the Dask cluster dv-mine does not answer within 0.5 s"):
        next(watch(settings))
