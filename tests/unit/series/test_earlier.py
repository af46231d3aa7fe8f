"""Which earlier runs a run looks at, fixed by split and kept afterwards."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import daskjobs
from daskjobs.errors import ConfigError, UsageError
from daskjobs.series.earlier import Earlier
from daskjobs.series.layout import EARLIER
from daskjobs.stages import new_context, run_stage, split
from daskjobs.stages.run_settings import Settings


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    series = tmp_path_factory.mktemp("series")
    for name, day in (("b", "2026-11-02"), ("a", "2026-11-05"), ("c", "2026-11-01")):
        daskjobs.run_orders(rows=10, run=series / name, as_of=day)
    return series


@pytest.fixture
def series(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


@pytest.fixture
def looks(series: Path) -> Callable[..., Earlier | None]:
    """Split a run of the series, and return what it looks at."""

    def look(**settings: Any) -> Earlier | None:
        given = {"run_uri": str(series / "now"), "rows": 10, "as_of": "2026-11-03", **settings}
        context = new_context(Settings.of(**given))
        with context.held() as held:
            run_stage("generate", held)
            run_stage("split", held)
            return split.read_earlier(held)

    return look


def names(earlier: Earlier | None) -> list[str]:
    assert earlier
    return [each.run.rpartition("/")[2] for each in earlier.known]


def test_known_runs_are_those_of_the_series_within_the_days_before_and_after(series: Path, looks: Any) -> None:
    assert names(looks(known=str(series))) == ["c", "b", "a"]
    assert names(looks(known=str(series), known_days=1)) == ["b"]
    assert names(looks(known=str(series), known_days=2)) == ["c", "b", "a"]
    assert looks(known=str(series)).compare is None
    assert looks() is None
    assert not (series / "now" / EARLIER).exists()


def test_a_series_that_does_not_exist_yet_is_a_first_night(tmp_path: Path, looks: Any) -> None:
    said: list[str] = []
    context = new_context(Settings.of(run_uri=str(tmp_path / "new/a"), rows=10, known=str(tmp_path / "none")))
    run_stage("generate", context)
    run_stage("split", type(context)(context.settings, context.stages, tell=said.append))
    assert said == [f"0 earlier runs in {tmp_path / 'none'}"]
    assert names(looks(known=str(tmp_path / "none"))) == []


def test_the_run_to_compare_with_is_the_newest_before_this_one_or_the_one_that_is_named(
    series: Path, looks: Any
) -> None:
    assert looks(compare="last").compare.run == f"{series}/b"
    assert looks(compare="a").compare.run == f"{series}/a"
    assert looks(compare=f"{series}/c/").compare.run == f"{series}/c"
    assert looks(compare="last", as_of="2026-10-01").compare is None


def test_a_run_that_is_no_good_one_is_refused(series: Path, looks: Any) -> None:
    with pytest.raises(UsageError, match=r"--compare now is this run itself"):
        looks(compare="now")
    with pytest.raises(UsageError, match=r"--compare x is no good run: \S+/x has no committed report"):
        looks(compare="x")
    with pytest.raises(UsageError, match=r"/a is a run, and a series is"):
        looks(known=str(series / "a"))
    with pytest.raises(UsageError, match=r"/x.csv is a file, and a series is"):
        (series / "x.csv").touch()
        looks(known=str(series / "x.csv"))


def test_the_list_is_kept_by_a_later_attempt_and_made_anew_when_a_run_is_gone_or_has_come(
    series: Path, looks: Any
) -> None:
    first = looks(known=str(series), known_days=2, compare="last")
    daskjobs.run_orders(rows=10, run=series / "d", as_of="2026-12-02")  # which it doesn't look at
    assert looks(known=str(series), known_days=2, compare="last") == first
    shutil.rmtree(series / "c")
    with pytest.raises(ConfigError, match=r"/c is gone since this run looked at it"):
        first.known_runs(new_context(Settings()).stages)
    assert names(looks(known=str(series), known_days=2, compare="last")) == ["b", "a"]
    daskjobs.run_orders(rows=10, run=series / "e", as_of="2026-11-02")  # which report would refuse
    assert names(looks(known=str(series), known_days=2, compare="last")) == ["b", "e", "a"]


def test_a_run_that_is_made_again_names_those_that_looked_at_it_before(series: Path) -> None:
    for name in "xy":
        daskjobs.run_orders(rows=10, run=series / name, known=series)
    said: list[str] = []
    context = new_context(Settings.of(run_uri=str(series / "x"), rows=10, known=str(series), partitions=2))
    run_stage("split", type(context)(context.settings, context.stages, tell=said.append))
    assert said == [
        "y looked at this run as it was before: run all stages of it again after this",
        f"4 earlier runs in {series}",
    ]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"known_days": 7}, "--known-days says how --known looks at earlier runs: give --known"),
        ({"again": "newest"}, "--again newest says how --known looks at earlier runs: give --known"),
        ({"known": "https://host/runs"}, r"--known must be a path, or a URI of file:// or s3://"),
        ({"known": " "}, "--known must be a path or a URI without a line break around it, got ' ': in YAML"),
        ({"known": "runs\n"}, "--known must be a path or a URI without a line break around it"),
        ({"run_uri": "runs/daskjobs-series"}, "--run can't be called daskjobs-series, which is the lock of a series"),
        ({"run_uri": "runs/3/", "known": "runs/3"}, "--known .*/runs/3 is this run itself, and a series is the folder"),
        ({"max_drift": 0.2, "compare": "last"}, r"--max-drift must be limits by measure.*, got 0\.2"),
        ({"max_drift": {"rows": True}, "compare": "last"}, r"--max-drift rows=True can't be read"),
        ({"compare": "s3://me:secret@bucket/runs"}, "--compare must be a path.* without user, password or query"),
    ],
)
def test_options_that_make_no_sense_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Settings(**given)
