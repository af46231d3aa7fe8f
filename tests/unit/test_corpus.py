"""The files of tests/corpus: each comes to what corpus.yaml says, through every stage and a real Dask."""

import csv
import io
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import inline
import opinions
import oracle
from conftest import TESTS, Pipeline
from daskjobs.errors import InputError, UsageError
from daskjobs.files.storage import Storage
from daskjobs.orders import sources
from daskjobs.orders.dialect import InputFormat
from daskjobs.pipeline.context import AccountedError

CORPUS = TESTS / "corpus"
ITEMS: dict[str, dict[str, Any]] = yaml.safe_load((CORPUS / "corpus.yaml").read_text())
READ = [name for name, item in ITEMS.items() if "error" not in item]


def pattern(name: str) -> str:
    return str(CORPUS / ITEMS[name].get("file", f"{name}.csv"))


def options_of(name: str, folder: Path) -> dict[str, Any]:
    """Return the settings of an item; its profile is written into a folder."""
    options = dict(ITEMS[name].get("options", {}))
    if "profile" in ITEMS[name]:
        folder.mkdir(exist_ok=True)
        (folder / "mine.toml").write_text(ITEMS[name]["profile"])
        options["profile"] = str(folder / "mine.toml")
    return options


def rejected(text: bytes) -> dict[int, str]:
    lines = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
    return {int(line["row"]) + (100 if "several_b" in line["source"] else 0): line["reasons"] for line in lines}


@pytest.mark.parametrize("name", READ)
def test_file_comes_to_what_it_must(pipeline: Pipeline, tmp_path: Path, name: str) -> None:
    item = ITEMS[name]
    options = {"partitions": 2, **options_of(name, tmp_path / "profile")}
    run, nothing_valid = tmp_path / "run", "rejected" in item and not {"orders", "unpaid"} & item.keys()
    with pytest.raises(AccountedError) if nothing_valid else nullcontext():
        pipeline(*inline.STAGES, input=pattern(name), **options)
    quality, path = json.loads((run / "report/quality.json").read_text()), run / "report/analytics_report.json"
    assert path.exists() != nothing_valid
    report = json.loads(path.read_text()) if path.exists() else {"orders": 0, "revenue": 0.0}
    assert rejected((run / "merge/quarantine.csv").read_bytes()) == item.get("rejected", {})
    assert (report["orders"], f"{report['revenue']:.2f}") == (item.get("orders", 0), item.get("revenue", "0.00"))
    assert quality["rows"]["unpaid"] == item.get("unpaid", 0)
    assert quality["warnings"] == item.get("warnings", [])
    files = [path for kind in ("paid", "unpaid") for path in sorted(run.glob(f"validate/part-*/{kind}.parquet"))]
    valid = pa.concat_tables(map(pq.read_table, files))
    assert {column: valid[column].to_pylist() for column in valid.column_names[10:]} == item.get("extra", {})
    if "days" in item:
        lines = pq.read_table(run / "clean/summary.parquet").to_pylist()
        assert {line["value"]: line["orders"] for line in lines if line["dimension"] == "day"} == item["days"]


@pytest.mark.parametrize("name", READ)
def test_results_are_the_same_bytes_when_partitions_and_blocks_are_others(tmp_path: Path, name: str) -> None:
    options = {name: value for name, value in options_of(name, tmp_path).items() if name != "partitions"}
    one = inline.run(tmp_path / "one", pattern(name), partitions=1, **options)
    assert inline.run(tmp_path / "two", pattern(name), 100, partitions=7, **options) == one
    opinions.assert_agreed(tmp_path / "two")
    files = {path.name: path.read_bytes() for path in sorted(CORPUS.glob(ITEMS[name].get("file", f"{name}.csv")))}
    if all(file.endswith(("sv", "jsonl", "ndjson")) for file in files) and options.keys() <= {"quoting", "delimiter"}:
        delimiter = {"semicolon": ";", "pipe": "|"}.get(name, "\t" if pattern(name).endswith("tsv") else ",")
        inline.assert_as_expected(one, oracle.expect(files, **{"delimiter": delimiter, **options}))


@pytest.mark.parametrize("name", sorted(ITEMS.keys() - set(READ)))
def test_run_ends_with_a_sentence_when_the_file_or_an_option_is_no_use(
    pipeline: Pipeline, tmp_path: Path, name: str
) -> None:
    with pytest.raises((InputError, UsageError)) as raised:
        pipeline("split", input=pattern(name), **options_of(name, tmp_path / "profile"))
    assert ITEMS[name]["error"] in str(raised.value)


def test_corpus_has_a_file_of_every_format(tmp_path: Path) -> None:
    formats = {
        sources.describe(Storage(str(tmp_path)), str(CORPUS / ITEMS[name]["file"]), "plain", InputFormat()).kind
        for name in READ
        if "*" not in ITEMS[name].get("file", "*") and not {"options", "profile"} & ITEMS[name].keys()
    }
    assert formats == {each.name for each in sources.FORMATS}, "tests/corpus must have a file of each format"


def test_every_file_is_in_the_list() -> None:
    listed = {path for name in ITEMS for path in CORPUS.glob(Path(pattern(name)).name)}
    assert {path for path in CORPUS.iterdir() if path.suffix != ".yaml"} == listed
