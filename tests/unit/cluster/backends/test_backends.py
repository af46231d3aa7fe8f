"""What is asked of every backend, and that a new one is one file and one line in the registry."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from conftest import Pipeline
from daskjobs.cluster.backends import BACKENDS, Backend, backend_of, connect
from daskjobs.cluster.connection import ClusterFacts, Connection, Requested, WorkerEnd, Workload
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.removed import ObjectName, Remaining, Removed
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import ClusterError, UsageError
from daskjobs.stages import new_context
from daskjobs.stages.ahead import ahead
from daskjobs.stages.run_settings import Settings

NAMED = ObjectName("Toy", "toy", "1")


class Toy:
    """A backend of one's own: Dask's LocalCluster as it is."""

    shares_disk = True
    stuck = kept = False
    named = NAMED

    def check(self, settings: ClusterSettings) -> None:
        if settings.workers > 3:
            raise UsageError("a toy has three workers at most")

    @contextmanager
    def connect(self, settings: ClusterSettings, workload: Workload) -> Iterator[Connection]:
        workers = settings.workers or 1
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            facts = ClusterFacts("toy", workers, cluster.dashboard_link, how="created", objects=[self.named])
            yield Connection(settings, client, facts, Requested(workers), "buy a bigger toy", WorkerEnd)

    def start_ahead(self, settings: ClusterSettings, workload: Workload) -> tuple[str, list[ObjectName]]:
        assert "daskjobs.orders.validation.partition" in workload.preload
        return "created", [self.named]

    def remove(self, settings: ClusterSettings) -> Removed:
        if self.kept:
            return Removed(kept=[self.named])
        return Removed([self.named], [Remaining(NAMED, "it is stuck", "rm toy")] if self.stuck else [])

    def examine(self, settings: ClusterSettings, image: str) -> Iterator[Finding]:
        yield Finding(True, "toys are fine")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    backend = Toy()
    entry: Backend = backend
    monkeypatch.setitem(BACKENDS, "toy", entry)
    return backend


@pytest.mark.slow
def test_all_stages_work_with_a_backend_that_is_one_class_and_one_line(
    toy: Toy, pipeline: Pipeline, tmp_path: Path
) -> None:
    ours = pipeline(where="local")
    theirs = pipeline(where="toy", backend="toy", workers=2)
    assert theirs["report"].rows == ours["report"].rows
    assert theirs["validate"].outputs == ours["validate"].outputs
    facts = json.loads((tmp_path / "toy/validate/facts.json").read_text())
    assert (facts["cluster"], facts["workers"], facts["how"]) == ("toy", 2, "created")
    assert facts["resources"]["asked"]["workers"] == 2
    receipt = json.loads((tmp_path / "toy/cleanup/receipt.json").read_text())
    assert (receipt["cluster"], receipt["objects"]) == ("toy", [{"kind": "Toy", "name": "toy", "uid": "1"}])
    assert "Dask Performance Report" in (tmp_path / "toy/validate/performance.html").read_text()
    assert not (tmp_path / "local/validate/performance.html").exists()


def test_receipt_names_the_clusters_of_all_attempts(toy: Toy, pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline("generate", "split", "validate", backend="toy")
    (tmp_path / "run/validate/manifest.json").unlink()
    toy.named = ObjectName("Toy", "toy", "2")
    pipeline("validate", "cleanup", backend="toy")
    receipt = json.loads((tmp_path / "run/cleanup/receipt.json").read_text())
    assert [each["uid"] for each in receipt["objects"]] == ["1", "2"]


def test_cleanup_fails_with_the_backends_words_once_the_receipt_is_written(
    toy: Toy, pipeline: Pipeline, tmp_path: Path
) -> None:
    toy.stuck = True
    with pytest.raises(ClusterError, match="Toy toy: it is stuck; to remove it at once: rm toy"):
        pipeline("cleanup", backend="toy")
    receipt = json.loads((tmp_path / "run/cleanup/receipt.json").read_text())
    assert receipt["remaining"] == [
        {"kind": "Toy", "name": "toy", "uid": "1", "why": "it is stuck", "command": "rm toy"}
    ]


def test_receipt_says_which_cluster_was_left_up_for_a_look(toy: Toy, pipeline: Pipeline, tmp_path: Path) -> None:
    toy.kept = True
    counts = pipeline("cleanup", backend="toy")["cleanup"].rows
    receipt = json.loads((tmp_path / "run/cleanup/receipt.json").read_text())
    assert (receipt["kept"], receipt["remaining"]) == ([NAMED.to_json()], [])
    assert (counts["kept"], counts["remaining"]) == (1, 0)


def test_cluster_is_started_ahead_where_the_backend_can_do_so(toy: Toy, tmp_path: Path) -> None:
    context = new_context(Settings.of(run_uri=str(tmp_path / "run"), backend="toy"))
    assert ahead(context) == "created"
    assert json.loads((tmp_path / "run/validate/facts.json").read_text())["objects"] == [NAMED.to_json()]


def test_settings_are_refused_by_the_backend_that_they_name(toy: Toy) -> None:
    backend_of(ClusterSettings("toy", workers=3))
    with pytest.raises(UsageError, match="a toy has three workers at most"):
        Settings.of(run_uri="run", backend="toy", workers=4)
    allowed = "local or kubernetes or tcp://host:port or tls://host:port or toy"
    with pytest.raises(UsageError, match=f"--cluster must be {allowed}, got 'top'"):
        Settings.of(run_uri="run", backend="top")


def test_block_s_own_error_is_no_failure_of_the_scheduler(toy: Toy) -> None:
    with pytest.raises(TimeoutError, match="mine"), connect(ClusterSettings("toy")):
        raise TimeoutError("mine")
