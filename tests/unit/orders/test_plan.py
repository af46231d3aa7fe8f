import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import TESTS, Pipeline, csv_text, row
from daskjobs.errors import ConfigError, StorageError
from daskjobs.files.documents import dump, parse
from daskjobs.orders.plan import Plan
from daskjobs.series import layout
from daskjobs.stages import new_context, split
from daskjobs.stages.run_settings import Settings

CORPUS = TESTS / "corpus"


@pytest.fixture
def planned(pipeline: Pipeline, tmp_path: Path) -> bytes:
    (tmp_path / "a.csv").write_bytes(csv_text(row(), row(), row()))
    (tmp_path / "b.parquet").write_bytes((CORPUS / "parquet_of_texts.parquet").read_bytes())
    (tmp_path / "c.csv.gz").write_bytes((CORPUS / "gzip.csv.gz").read_bytes())
    pipeline("split", input=str(tmp_path / "[abc].*"), partitions=3)
    return (tmp_path / "run/split/partitions.json").read_bytes()


def test_plan_is_the_same_bytes_when_it_is_read_and_written_again(planned: bytes) -> None:
    plan = parse(planned, Plan)
    assert dump(plan) == planned
    assert [file.kind for file in plan.files] == ["csv", "parquet", "csv"]
    assert sum(part.rows for partition in plan.partitions for part in partition.ranges) == plan.rows


def test_place_names_the_files_of_a_partition_in_the_units_of_their_formats(planned: bytes) -> None:
    plan = parse(planned, Plan)
    places = "; ".join(plan.place(partition) for partition in plan.partitions)
    assert "a.csv bytes " in places
    assert "b.parquet row groups 0 to " in places


def test_task_is_sent_only_the_files_that_its_partition_has_rows_of(planned: bytes) -> None:
    plan = parse(planned, Plan)
    assert [sorted(plan.files_of(partition)) for partition in plan.partitions] == [
        sorted({part.file for part in partition.ranges}) for partition in plan.partitions
    ]
    partition = plan.partitions[0]
    assert len(pickle.dumps((partition, plan.files_of(partition)))) < len(planned)


def changed(value: dict[str, Any], path: tuple[Any, ...], new: Any) -> bytes:
    inner: Any = value
    for key in path[:-1]:
        inner = inner[key]
    if new is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("path", "new", "words"),
    [
        (("rows",), -1, "rows must be a whole number"),
        (("rows",), None, "has no rows"),
        (("files", 0, "kind"), "xml", r"files\[0\].kind must be one of parquet, .*csv, got 'xml'"),
        (("files", 0, "start"), "7", r"files\[0\].start must be a whole number"),
        (("files", 0, "columns"), ["a", 7], r"files\[0\].columns\[1\] must be text"),
        (("files", 1, "groups", 0), [1, -1], r"files\[1\].groups\[0\]\[1\] must be a whole number"),
        (("files", 2, "unpacked", "sha256"), None, r"files\[2\].unpacked has no sha256"),
        (("partitions", 1, "partition"), 7, r"partitions\[1\] is of the number 7"),
        (("partitions", 0, "ranges", 0, "file"), 9, r"partitions\[0\] has rows of files\[9\], which is not there"),
        (("partitions", 0, "ranges", 0, "rows"), 1 << 63, r"ranges\[0\].rows must be a whole number"),
    ],
)
def test_plan_is_refused_when_it_has_another_shape(planned: bytes, path: tuple[Any, ...], new: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(changed(json.loads(planned), path, new), Plan)


def test_stage_says_so_when_the_plan_is_not_what_split_wrote(planned: bytes, tmp_path: Path) -> None:
    (tmp_path / "run/split/partitions.json").write_bytes(planned.replace(b'"rows"', b'"r0ws"'))
    with pytest.raises(StorageError, match=r"partitions.json is damaged"):
        split.read_plan(new_context(Settings.of(run_uri=str(tmp_path / "run"))))


def test_stage_says_so_when_another_version_wrote_the_plan(planned: bytes, tmp_path: Path) -> None:
    old = json.loads(planned)
    del old["files"][1]["read"]  # as 0.5.0 wrote it for Parquet
    context = new_context(Settings.of(run_uri=str(tmp_path / "run")))
    manifest = context.manifest("split")
    outputs = {**manifest.outputs, layout.PARTITIONS: context.storage.put(layout.PARTITIONS, dump(old))}
    context.storage.put("split/manifest.json", replace(manifest, daskjobs="0.4.9", outputs=outputs).to_json())
    context.known.clear()
    words = r"partitions.json can't be read by daskjobs .*, since daskjobs 0.4.9 wrote it \(files\[1\] has no read\)"
    with pytest.raises(ConfigError, match=words):
        split.read_plan(context)
