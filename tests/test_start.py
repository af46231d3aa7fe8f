"""Starting a run's Dask cluster ahead of validate; what it needs of Kubernetes is played here, e2e/ has a real one."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import kr8s
import pytest

from conftest import Command
from daskjobs import kubernetes
from daskjobs.resource import HASH
from daskjobs.settings import Settings

RESOURCE = {"metadata": {"name": "dv-x", "annotations": {HASH: "same"}}}
SETTINGS = Settings(run="s3://x", start_timeout=60, delete_timeout=5)


class Cluster:
    """A DaskCluster that is there, until it is deleted."""

    kind, name, there, patched = "DaskCluster", "dv-x", True, False

    def __init__(self, seconds: float, spec: str) -> None:
        created = (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
        self.metadata = {"creationTimestamp": created, "annotations": {HASH: spec}, "uid": "u-1"}

    def create(self) -> None:
        if self.there:
            raise kr8s.ServerError("conflict", response=httpx.Response(409))

    def end(self) -> None:
        self.there = False

    def patch(self, change: dict[str, Any]) -> None:
        self.patched = True


@pytest.mark.parametrize(
    ("seconds", "spec", "answers", "how"),
    [
        (5, "same", False, "reused"),  # it is starting
        (600, "same", True, "reused"),
        (600, "same", False, "created"),
        (5, "another", True, "created"),
    ],
)
def test_cluster_is_taken_over_when_it_answers_or_may_be_starting_still(
    seconds: float, spec: str, answers: bool, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Cluster(seconds, spec)
    monkeypatch.setattr(kubernetes, "DaskCluster", lambda *_, **__: there)
    monkeypatch.setattr(kubernetes, "find", lambda *_: [there])
    monkeypatch.setattr(kubernetes, "delete", Cluster.end)
    api: Any = type("Api", (), {"namespace": "x"})
    assert kubernetes.ensure(api, RESOURCE, SETTINGS, lambda: answers) == (how, "u-1")
    assert there.patched == (how == "reused")


def test_cluster_of_this_machine_is_left_to_validate(daskjobs: Command) -> None:
    done = daskjobs("cluster", "--run", "run")
    assert json.loads(done.stdout)["how"] == "left to validate"


def test_stages_run_one_after_another_and_the_one_that_fails_is_named(daskjobs: Command) -> None:
    done = daskjobs("stages", "cluster", "generate", "split", "--run", "run", "--rows", "10")
    assert [json.loads(line)["stage"] for line in done.stdout.splitlines()] == ["cluster", "generate", "split"]
    done = daskjobs("stages", "merge", "clean", "--run", "run")
    assert (done.returncode, done.stdout) == (11, "")
    assert "daskjobs: merge: " in done.stderr


def test_cluster_says_what_it_needs_when_it_has_no_run(daskjobs: Command) -> None:
    done = daskjobs("cluster")
    assert (done.returncode, done.stderr) == (
        2,
        "daskjobs: daskjobs cluster needs --run: where the stages write their files\n",
    )
