"""What is asked of every backend, and that a new one is one file and one line in the registry."""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

import daskjobs
from conftest import Pipeline
from daskjobs.cluster.backends import BACKENDS, Backend, backend_of, connect, settings_kinds, settings_of
from daskjobs.cluster.connection import ClusterFacts, Connection, End, Requested, Workload
from daskjobs.cluster.findings import Finding
from daskjobs.cluster.kubernetes import KubernetesSettings
from daskjobs.cluster.removed import ObjectName, Remaining, Removed
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.errors import ClusterError, UsageError
from daskjobs.options import option, options, sections
from daskjobs.stages import new_context
from daskjobs.stages.ahead import ahead
from daskjobs.stages.run_settings import Settings

NAMED = ObjectName("Toy", "toy", "1")
TITLE = "On toys, where --workers 0 is one"


@dataclass(frozen=True)
class ToySettings(ClusterSettings):
    """On toys, where --workers 0 is one."""

    toy_size: str = option("small", "How large the toy is.", cleanup=True)


class Toy:
    """A backend of one's own: Dask's LocalCluster as it is."""

    settings = ToySettings
    shares_disk = True
    stuck = kept = stays = False
    named = NAMED

    def __init__(self) -> None:
        self.connected = list[ToySettings]()

    def check(self, settings: ToySettings) -> None:
        if settings.workers > 3:
            raise UsageError("a toy has three workers at most")

    @contextmanager
    def connect(self, settings: ToySettings, workload: Workload) -> Iterator[Connection]:
        self.connected.append(settings)
        workers = settings.workers or 1
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
            ) as cluster,
            Client(cluster, set_as_default=False) as client,
        ):
            facts = ClusterFacts("toy", workers, cluster.dashboard_link, how="created", objects=[self.named])
            yield Connection(settings, client, facts, Requested(workers), "buy a bigger toy", End, kept=self.stays)

    def start_ahead(self, settings: ToySettings, workload: Workload) -> tuple[str, list[ObjectName]]:
        assert "daskjobs.orders.validation.partition" in workload.preload
        return "created", [self.named]

    def remove(self, settings: ToySettings) -> Removed:
        if self.kept:
            return Removed(kept=[self.named])
        if settings.toy_size != "small":
            return Removed([ObjectName("Toy", settings.toy_size, "1")])
        return Removed([self.named], [Remaining(NAMED, "it is stuck", "rm toy")] if self.stuck else [])

    def examine(self, settings: ToySettings, image: str) -> Iterator[Finding]:
        yield Finding(True, "toys are fine")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Toy:
    backend = Toy()
    entry: Backend[ToySettings] = backend
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
    assert (receipt["kept"], receipt["remaining"]) == ([asdict(NAMED)], [])
    assert (counts["kept"], counts["remaining"]) == (1, 0)


def test_cluster_is_started_ahead_where_the_backend_can_do_so(toy: Toy, tmp_path: Path) -> None:
    context = new_context(Settings.of(run_uri=str(tmp_path / "run"), backend="toy"))
    assert ahead(context) == "created"
    assert json.loads((tmp_path / "run/validate/facts.json").read_text())["objects"] == [asdict(NAMED)]


def test_settings_are_refused_by_the_backend_that_they_name(toy: Toy) -> None:
    backend_of(ToySettings("toy", workers=3))
    with pytest.raises(UsageError, match="a toy has three workers at most"):
        Settings.of(run_uri="run", backend="toy", workers=4)
    with pytest.raises(UsageError, match="--cluster must be local or .*tls://host:port.* or toy, got 'top'"):
        Settings.of(run_uri="run", backend="top")


def test_block_s_own_error_is_no_failure_of_the_scheduler(toy: Toy) -> None:
    with pytest.raises(TimeoutError, match="mine"), connect(ToySettings("toy")):
        raise TimeoutError("mine")


def command(*arguments: str, **environment: str) -> str:
    """What the command line prints in a process where a toy is among the backends: see the end of this file."""
    environment |= {"PYTHONPATH": str(Path(__file__).parents[3]), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["run", "validate", "step"])
def test_help_has_a_section_for_the_options_of_each_backend(name: str) -> None:
    text = command(name, "--help")
    titles = re.findall(r"^(\w.*):$", text, re.M)
    assert titles.index("The Dask cluster") < titles.index("On this machine") < titles.index(TITLE)
    (of_toy,) = re.findall(rf"^{TITLE}:\n((?:  .*\n)+)", text, re.M)
    assert re.fullmatch(r" +--toy-size TEXT +How large the toy is\. .*DASKJOBS_TOY_SIZE; default: small\]\n", of_toy)


def test_option_of_a_backend_is_read_from_the_command_line_and_the_environment(tmp_path: Path) -> None:
    for number, given in enumerate(({"DASKJOBS_TOY_SIZE": "huge"}, {})):
        run = tmp_path / str(number)
        flags = [] if given else ["--toy-size", "huge"]
        command("cleanup", "--run", str(run), "--cluster", "toy", *flags, DASKJOBS_IDLE_TIMEOUT="x", **given)
        assert json.loads((run / "cleanup/receipt.json").read_text())["objects"][0]["name"] == "huge"


def test_option_of_a_backend_is_a_keyword_and_a_variable_in_python(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASKJOBS_TOY_SIZE", "huge")
    own: Any = {"toy_size": "tiny"}
    for given in ({}, own):
        with daskjobs.dask_cluster(backend="toy", key="k", **given) as client:
            assert len(client.ncores()) == 1
    assert toy.connected == [ToySettings("toy", key="k", toy_size=size) for size in ("huge", "tiny")]
    with pytest.raises(UsageError, match="run_orders has no option toy_sizes: did you mean toy_size='tiny'"):
        daskjobs.run_orders(rows=1, backend="toy", toy_sizes="tiny")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="run_orders needs orders"):
        daskjobs.run_orders(backend="toy", **own)


def test_cluster_is_gone_after_its_block_unless_its_backend_keeps_it(toy: Toy) -> None:
    toy.stuck = True
    with pytest.raises(ClusterError, match="^still there 0 s after"), daskjobs.dask_cluster(backend="toy"):
        pass
    toy.stays = True
    with daskjobs.dask_cluster(backend="toy"):
        pass


def test_what_another_backend_has_is_without_effect_but_refused_when_it_makes_no_sense(toy: Toy) -> None:
    values = {"workers": 2, "toy_size": "huge", "worker_memory": "8Gi", "dashboard": "127.0.0.1:1", "pod": "me"}
    assert settings_of(backend="toy", **values) == ToySettings("toy", workers=2, toy_size="huge", pod="me")
    kubernetes = KubernetesSettings("kubernetes", workers=2, worker_memory="8Gi", pod="me")
    assert settings_of(backend="kubernetes", **values) == kubernetes
    for bad, said in (
        ({"idle_timeout": 0}, "--idle-timeout must be between 1 and 2,592,000, got 0"),
        ({"security": "none?"}, "--security must be tls or none, got 'none?'"),
        ({"dashboard": "here"}, "--dashboard must be host:port"),
    ):
        with pytest.raises(UsageError, match=f"^{re.escape(said)}"):
            settings_of(backend="toy", **bad)
    with pytest.raises(TypeError, match="toy_sizes"):
        settings_of(backend="toy", toy_sizes="huge")


def test_help_of_cluster_names_every_backend() -> None:
    help = next(option.help for field, option in options(ClusterSettings) if field.name == "backend")
    for name in BACKENDS.keys() - {"tls://"}:  # which is written as tcp:// is
        assert f"`{name}" in help, f"daskjobs/cluster/settings.py must name {name} in the help of --cluster"


def twice(kinds: list[type[ClusterSettings]]) -> set[str]:
    """The flags that settings classes, of backends and of the run, have more than once between them."""
    found = [each.flag for section in sections([Settings, *kinds]).values() for _, each in section]
    return {flag for flag, times in Counter(found).items() if times > 1}


def test_no_two_backends_have_an_option_of_the_same_name(toy: Toy) -> None:
    @dataclass(frozen=True)
    class Other(ClusterSettings):
        toy_size: int = option(1, "How large it is.")
        rows: int = option(1, "How many rows of toys.")

    assert twice(settings_kinds()) == set()
    assert twice([*settings_kinds(), Other]) == {"--toy-size", "--rows"}


if __name__ == "__main__":
    BACKENDS["toy"] = Toy()
    from daskjobs.cli.main import entry

    entry()
