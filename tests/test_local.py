import json
from pathlib import Path

import pytest

from conftest import RESULTS, Pipeline
from daskjobs import local


@pytest.mark.parametrize(
    ("workers", "rows", "processes"),
    [(2, 50_000, False), (2, 10**9, False), (4, 10**9, False), (8, 50_000, False), (8, 10**8, True)],
)
def test_workers_are_processes_when_they_are_many_and_so_are_the_rows(workers: int, rows: int, processes: bool) -> None:
    chosen, why = local.choose(workers, rows)
    assert chosen is processes
    assert str(workers) in why or f"{rows}" in why


def test_results_are_the_same_bytes_when_workers_are_processes(
    pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline(where="threads", rows=3000)
    monkeypatch.setattr(local, "MOST_THREADS", 1)
    monkeypatch.setattr(local, "PROCESS_ROWS", 0)
    pipeline(where="processes", rows=3000)
    for where in ("threads", "processes"):
        assert json.loads((tmp_path / where / "validate/run.json").read_text())["workers_are"] == where
    for name in RESULTS:
        assert (tmp_path / "threads" / name).read_bytes() == (tmp_path / "processes" / name).read_bytes()
