"""A format of order files is one module and one line in `FORMATS`: here is one, of a JSON object a line."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest

from conftest import GOOD, Pipeline, csv_text, row
from daskjobs.errors import InputError
from daskjobs.files.storage import Storage
from daskjobs.orders import sources
from daskjobs.orders.rules.builtin import WRONG_FIELDS
from daskjobs.orders.sources.format import Block, Cuts, Format, InputFile, RowRange, SourceDefaults
from daskjobs.orders.sources.names import our_names
from daskjobs.orders.sources.rows import Ints
from daskjobs.stages import new_context
from daskjobs.stages.explain import explain
from daskjobs.stages.run_settings import Settings

STAGES = ("split", "validate", "merge", "clean", "report")


@dataclass(frozen=True, kw_only=True)
class JsonLinesSource(SourceDefaults):
    name: str
    kind: Literal["json lines"]
    keys: list[str]
    columns: list[str]
    header: str
    size: int


class JsonLinesFormat:
    name = "json lines"
    unit = "bytes"
    source = JsonLinesSource

    def sniff(self, first: bytes) -> bool:
        return first.startswith(b"{")

    def describe(self, storage: Storage, file: InputFile) -> JsonLinesSource:
        keys = list(json.loads(file.first.partition(b"\n")[0]))
        columns = our_names(keys, file.columns, file.name)
        size = storage.size(file.name) or 0
        return JsonLinesSource(
            name=file.name, kind="json lines", keys=keys, columns=columns, header=as_csv(keys), size=size
        )

    def weight(self, source: JsonLinesSource) -> int:
        return source.size

    def ranges(self, storage: Storage, source: JsonLinesSource, cuts: Cuts) -> Iterator[tuple[int, RowRange]]:
        start, first = 0, 1
        offsets = np.cumsum([0, *map(len, storage.read(source.name).splitlines(keepends=True))]).tolist()
        for partition, begins in groupby(offsets[:-1], cuts.partition):
            rows = len(list(begins))
            end = offsets[first - 1 + rows]
            digest = hashlib.sha256(storage.read(source.name)[start:end]).hexdigest()
            yield partition, RowRange(file=cuts.file, start=start, first_row=first, rows=rows, sha256=digest, end=end)
            start, first = end, first + rows

    def blocks(self, storage: Storage, source: JsonLinesSource, part: RowRange) -> Iterator[Block]:
        data = storage.read(source.name)[part.start : part.end]
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise InputError(f"{source.name} has changed since it was split: run again")
        values = [fields(line, source.keys) for line in data.splitlines()]
        kept = [place for place, each in enumerate(values) if each is not None]
        columns = zip(*(values[place] or () for place in kept), strict=True) if kept else ((),) * len(source.columns)

        def raw(which: Ints) -> pa.Array:
            lines = data.decode().splitlines()
            return pa.array([as_csv(values[place] or [lines[place]]) for place in which.tolist()], pa.string())

        yield Block(
            rows=len(values),
            texts=pa.table([pa.array(column, pa.string()) for column in columns], source.columns),
            kept=np.array(kept, np.int64),
            malformed={place: WRONG_FIELDS for place, each in enumerate(values) if each is None},
            raw=raw,
        )


def fields(line: bytes, keys: list[str]) -> list[str] | None:
    try:
        found = json.loads(line)
        return [str(found[key]) for key in keys]
    except (ValueError, KeyError):
        return None


def as_csv(values: list[str]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue()


@pytest.fixture
def json_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    formats: tuple[Format[Any], ...] = (JsonLinesFormat(), *sources.FORMATS)  # the one line
    monkeypatch.setattr(sources, "FORMATS", formats)


@pytest.mark.usefixtures("json_lines")
def test_file_of_a_new_format_goes_through_all_stages_beside_one_of_another(pipeline: Pipeline, tmp_path: Path) -> None:
    orders = [
        {**GOOD, "order_id": f"J{number}", "product": 'lamp, "big"', **more}
        for number, more in enumerate([{}, {"price": "10.5O"}, {}, {"status": "failed"}, {"order_id": "C1"}, {}])
    ]
    lines = [json.dumps(order) for order in orders]
    (tmp_path / "a.csv").write_bytes(csv_text(row(order_id="C1"), row(order_id="C2", price="-10.50")))
    (tmp_path / "b.json").write_text("\n".join([*lines[:3], '{"order_id": "J9"}', *lines[3:]]) + "\n")
    results = []
    for partitions in (1, 4):
        folder = tmp_path / f"run{partitions}"
        done = pipeline(*STAGES, where=folder.name, input=str(tmp_path / "[ab].*"), partitions=partitions)
        assert done["split"].rows == {"out": 9, "partitions": partitions}
        assert done["merge"].rows["reasons"] == {
            "duplicate_order_id": 1,
            "negative_price": 1,
            "unreadable_price": 1,
            "wrong_number_of_fields": 1,
            "wrong_total": 1,
        }
        names = ("report/analytics_report.json", "report/quality.json", "merge/quarantine.parquet")
        results.append([(folder / name).read_bytes() for name in names])
    assert results[0] == results[1]
    assert results[0][0] == b'{"orders": 4, "revenue": 84.00}\n'
    quality = json.loads(results[0][1])
    assert quality["lines"] | {"rows_like_several": None} == {
        "in_files": 3,  # the CSV file's
        "headers": 1,
        "rows": 2,
        "inside_quotes": 0,
        "rows_like_several": None,
    }
    context = new_context(Settings.of(run_uri=str(folder)))
    assert explain(context, 5, "b.json").status == "failed"
    assert explain(context, 4, "b.json").reasons.keys() == {"wrong_number_of_fields"}


@pytest.mark.usefixtures("json_lines")
def test_rejected_rows_of_a_new_format_are_an_input_when_they_are_mended(pipeline: Pipeline, tmp_path: Path) -> None:
    bad = {**GOOD, "product": 'lamp, "big"', "price": "10.5O"}
    (tmp_path / "a.json").write_text(f"{json.dumps(GOOD)}\n{json.dumps(bad)}\n")
    pipeline(*STAGES, input=str(tmp_path / "a.json"))
    rejected = (tmp_path / "run/merge/rejected-00000.csv").read_text()
    (tmp_path / "mended.csv").write_text(rejected.replace("10.5O", "10.50"))
    second = pipeline(*STAGES, where="second", input=str(tmp_path / "mended.csv"))["report"].rows
    assert (second["paid"], second["revenue"]) == (1, "21.00")


@pytest.mark.usefixtures("json_lines")
def test_run_fails_with_a_sentence_when_a_file_of_a_new_format_changes_after_split(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(GOOD) + "\n")
    pipeline("split", input=str(path))
    path.write_text(json.dumps({**GOOD, "region": "south"}) + "\n")
    with pytest.raises(InputError, match="a.json has changed since it was split"):
        pipeline("validate", input=str(path))
