"""A format of order files is one module and one line in `FORMATS`: here is one, of fields of fixed width."""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest

from conftest import GOOD, TESTS, Pipeline, csv_text, row
from daskjobs.errors import InputError
from daskjobs.orders import sources
from daskjobs.orders.rules.builtin import WRONG_FIELDS
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources.format import Block, Format, InputFile, Ints
from daskjobs.orders.sources.lines import LinesFormat, LinesSource, raw_rows, raw_texts
from daskjobs.stages import new_context
from daskjobs.stages.explain import explain
from daskjobs.stages.run_settings import Settings

STAGES = ("split", "validate", "merge", "clean", "report")
WIDTH = 20


@dataclass(frozen=True, kw_only=True)
class FixedSource(LinesSource):
    kind: Literal["fixed width"]


class FixedFormat(LinesFormat[FixedSource]):
    name = "fixed width"
    source = FixedSource

    def sniff(self, first: bytes) -> bool:
        return first.startswith(b"#ORDERS\n")

    def describe(self, file: InputFile) -> FixedSource:
        return FixedSource(
            name=file.name,
            read=file.read,
            kind="fixed width",
            size=file.size,
            start=len("#ORDERS\n"),
            columns=list(COLUMNS),
            header="#ORDERS",
            unpacked=file.unpacked,
        )

    def block(self, source: FixedSource, data: bytes, ends: Ints) -> Block:
        rows = raw_rows(data, ends, np.arange(len(ends)))
        kept = [place for place, row in enumerate(rows) if len(row) == WIDTH * len(COLUMNS)]
        texts = [[rows[at][start : start + WIDTH].decode() for at in kept] for start in range(0, 200, WIDTH)]
        return Block(
            rows=len(rows),
            fields=pa.table([pa.array(text, pa.string()) for text in texts], source.columns),
            kept=np.array(kept, np.int64),
            malformed={place: WRONG_FIELDS for place in range(len(rows)) if place not in kept},
            raw=raw_texts(data, ends),
        )


def fixed(*orders: dict[str, str]) -> bytes:
    return b"#ORDERS\n" + b"".join(line(order) for order in orders)


def line(order: dict[str, str]) -> bytes:
    return "".join(value.ljust(WIDTH) for value in order.values()).encode() + b"\n"


@pytest.fixture
def fixed_width(monkeypatch: pytest.MonkeyPatch) -> None:
    formats: tuple[Format[Any], ...] = (FixedFormat(), *sources.FORMATS)  # the one line
    monkeypatch.setattr(sources, "FORMATS", formats)


@pytest.mark.usefixtures("fixed_width")
def test_file_of_a_new_format_goes_through_all_stages_beside_one_of_another(pipeline: Pipeline, tmp_path: Path) -> None:
    orders = [
        {**GOOD, "order_id": f"J{number}", "product": 'lamp, "big"', **more}
        for number, more in enumerate([{}, {"price": "10.5O"}, {}, {"status": "failed"}, {"order_id": "C1"}, {}])
    ]
    (tmp_path / "a.csv").write_bytes(csv_text(row(order_id="C1"), row(order_id="C2", price="-10.50")))
    (tmp_path / "b.txt").write_bytes(fixed(*orders[:3]) + b"J9\n" + fixed(*orders[3:]).removeprefix(b"#ORDERS\n"))
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
    assert explain(context, 5, "b.txt").status == "failed"
    assert explain(context, 4, "b.txt").reasons.keys() == {"wrong_number_of_fields"}


@pytest.mark.usefixtures("fixed_width")
def test_rejected_rows_of_a_new_format_are_an_input_when_they_are_mended(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(fixed(GOOD, {**GOOD, "product": 'lamp, "big"', "price": "10.5O"}))
    pipeline(*STAGES, input=str(tmp_path / "a.txt"))
    rejected = (tmp_path / "run/merge/rejected-00000.txt").read_text()
    (tmp_path / "mended.txt").write_text(rejected.replace("10.5O", "10.50"))
    second = pipeline(*STAGES, where="second", input=str(tmp_path / "mended.txt"))["report"].rows
    assert (second["paid"], second["revenue"]) == (1, "21.00")


@pytest.mark.usefixtures("fixed_width")
def test_run_fails_with_a_sentence_when_a_file_of_a_new_format_changes_after_split(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(fixed(GOOD))
    pipeline("split", input=str(path))
    path.write_bytes(fixed({**GOOD, "region": "south"}))
    with pytest.raises(InputError, match="a.txt has changed since it was split"):
        pipeline("validate", input=str(path))


PARQUET = (TESTS / "corpus/parquet_of_texts.parquet").read_bytes()


@pytest.mark.usefixtures("fixed_width")
@pytest.mark.parametrize(
    ("data", "encoding", "clean"),
    [
        (fixed(GOOD), "", 1),
        (fixed(GOOD).decode().encode("utf-16"), "utf-16", 1),
        (json.dumps(GOOD).encode(), "", 1),
        (json.dumps(GOOD).encode("utf-16"), "utf-16", 1),
        (PARQUET, "", 1),
        (PARQUET, "utf-16", 1),  # which is of the texts beside it
    ],
)
def test_file_of_any_format_is_read_when_it_is_compressed(
    pipeline: Pipeline, tmp_path: Path, data: bytes, encoding: str, clean: int
) -> None:
    (tmp_path / "x").write_bytes(data)
    (tmp_path / "x.gz").write_bytes(gzip.compress(data))
    for name in ("x", "x.gz"):
        done = pipeline(*STAGES, where=f"run-{name}", input=str(tmp_path / name), encoding=encoding)
        assert done["report"].rows["paid"] == clean
    plain = {path.name for path in (tmp_path / "run-x.gz/split").iterdir()}
    assert "input-00000.plain" in plain
