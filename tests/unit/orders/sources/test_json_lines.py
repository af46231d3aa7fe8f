"""JSON Lines: what the keys, the values and the lines are that can't be read, and what becomes of each."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import inline
import oracle
from conftest import GOOD, Pipeline, csv_text, row
from daskjobs.errors import InputError
from daskjobs.files.storage import Storage
from daskjobs.orders import sources
from daskjobs.orders.dialect import InputFormat
from daskjobs.orders.sources import lines
from daskjobs.orders.sources.json_lines import JsonLinesFormat, JsonLinesSource
from daskjobs.orders.sources.unpack import START_BYTES
from daskjobs.stages import new_context
from daskjobs.stages.explain import explain
from daskjobs.stages.run_settings import Settings


def order(**values: Any) -> str:
    return json.dumps({**GOOD, **values})


def written(path: Path, *rows: str) -> str:
    path.write_text("\n".join(rows) + "\n")
    return str(path)


def valid(folder: Path) -> pa.Table:
    return pa.concat_tables(map(pq.read_table, sorted(folder.glob("validate/part-*/paid.parquet"))))


def texts(line: str, keys: list[str]) -> list[dict[str, str]]:
    """The rows that are read of one line."""
    data = line.encode() + b"\n"
    source = JsonLinesSource(
        name="x", read="x", kind="json lines", size=len(data), columns=[*keys, "other_keys"], start=0, keys=keys
    )
    rows: list[dict[str, str]] = JsonLinesFormat().block(source, data, lines.line_ends(data)).texts.to_pylist()
    return rows


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("10.10", "10.10"),
        ("1e2", "1e2"),
        ("-0", "-0"),
        ("123456789012345678901234567890.10", "123456789012345678901234567890.10"),
        ("9" * 5000, "9" * 5000),
        ('"10.10"', "10.10"),
        ('" a\\"\\u00e9\\ud83e\\uddfe\\n\\u0000"', ' a"é🧾\n\0'),
        ('"\\\\ud83d"', "\\ud83d"),
        ("null", ""),
        ("true", "true"),
        ("false", "false"),
        ('[1.50, {"b": 1e5, "c": [true, null, "é"]}]', '[1.50, {"b": 1e5, "c": [true, null, "\\u00e9"]}]'),
        ("{}", "{}"),
        ('"{"', "{"),
        ('"["', "["),
    ],
)
def test_value_is_the_text_that_stands_there(value: str, text: str) -> None:
    assert texts(f'{{"a": {value}}}', ["a", "b"]) == [{"a": text, "b": "", "other_keys": ""}]
    assert texts(f' {{"z": {value}}}\t\r', ["a"]) == [
        {"a": "", "other_keys": texts(f'{{"a": {{"z": {value}}}}}', ["a"])[0]["a"]}
    ]


@pytest.mark.parametrize(
    "line",
    [
        "", " ", "7", '"a"', "null", "[]", "{'a': 1}", '{"a": 1}{"a": 2}',
        '{"a": 1},', '{"a": 1', '{"a": 01}', '{"a": .5}', '{"a": +1}',
        '{"a": NaN}', '{"a": -Infinity}', '{"a": 1, "a": 1}', '{"a": {"b": 1, "b": 2}}', '{"z": [{"b": 1, "b": 2}]}',
        '{"a": "\\ud83d"}', '{"a": "\\ude00\\ud83d"}', '{"\\ud83d": 1}', '{"a": ["\\ud83d"]}', '{"a": "\t"}',
        '\ufeff{"a": 1}', '{"a": ' + "[" * 100 + "]" * 100 + "}", '{"a": ' + "[" * 100_000,
        '{"a": "\\x"}', '{"a": truE}',
    ],
)  # fmt: skip
def test_line_is_malformed_when_it_is_not_one_object_of_text(line: str) -> None:
    assert texts(line, ["a"]) == []
    assert oracle.object_of(line.encode())[0] == ["malformed_json"]


pieces = st.lists(
    st.sampled_from(
        ['{"a": 1}', "{", "}", "[", "]", ":", ",", '"', '"a"', '"b": ', " ", "\r", "\\", "\\u00e9", "\\ud83d",
         "\\ude00", "1.50", "-", "1e5", "null", "true", "NaN", "\n", "\n",
         '{"a": "x", "b": [1.0]}\n', '{"b": {"c": 2.00}, "z": 1}', "é", "\t"]
    ),
    max_size=16,
).map("".join)  # fmt: skip


# Rows that are written alike, or nearly so: these are read all together where they are.
alike = st.lists(
    st.tuples(
        st.sampled_from(['{"a": %s, "b": "%s"}'] * 8 + ['{"a":%s, "b": "%s"}', '{"b": %s, "a": "%s"}',
                         ' {"a": %s, "b": "%s"}', '{"a": %s, "a": "%s"}', '{"a": %s, "c": "%s"}',
                         '{"a": %s, "b": "%s", "c": 1}', '{"a": %s, "b": "%s"}}']),
        st.sampled_from(["1.50", "-0", "1e5", "01", "1.", "null", "true", "nul", '"x"', '""',
                         "[1]", "{}", "1, 2", "", " 7 "]),
        st.sampled_from(["", "x", "a, b", "é", ": ", "{", "[1]", "\\n", "\t", '", "b": "', "\r"]),
        st.sampled_from(["\n"] * 9 + ["\r\n"]),
    ).map(lambda parts: parts[0] % parts[1:3] + parts[3]),
    max_size=12,
).map("".join)  # fmt: skip


@hypothesis_settings(max_examples=300)
@given(pieces | alike, st.sampled_from([b"", b"\xff", b"\n\xc3"]), st.integers(1, 20) | st.just(1 << 20))
def test_rows_are_the_oracles_when_lines_hold_anything_and_blocks_are_of_any_size(
    text: str, end: bytes, size: int
) -> None:
    data, found = text.encode() + end, list[tuple[str, str, dict[str, str]]]()
    source = JsonLinesSource(
        name="x", read="x", kind="json lines", size=len(data), columns=["a", "b", "more"], start=0, keys=["a", "b"]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK_BYTES", size)
        for _, part, ends in lines.blocks(io.BytesIO(data), 0, len(data), "x"):
            block = JsonLinesFormat().block(source, part, ends)
            values = dict(zip(block.kept.tolist(), block.texts.to_pylist(), strict=True))
            raw = block.raw(np.arange(block.rows)).to_pylist()
            found += [(raw[at], block.malformed.get(at, ""), values.get(at, {})) for at in range(block.rows)]
    expected = []
    for line, reasons, each in oracle.objects_of(data):
        others = each.keys() - {"a", "b", *oracle.COLUMNS}
        known = {"a": each.get("a", ""), "b": each.get("b", ""), "more": bool(others)} if each else {}
        expected.append((line.decode(errors="backslashreplace"), "".join(reasons), known))
    assert [(*row, {**values, "more": bool(values["more"])} if values else {}) for *row, values in found] == expected


def test_columns_are_the_keys_in_the_order_in_which_they_are_first_seen(pipeline: Pipeline, tmp_path: Path) -> None:
    rows = [order(order_id="A1", note="x"), "no object", order(order_id="A2", coupon=1.50)]
    pipeline(*inline.STAGES, input=written(tmp_path / "x.jsonl", *rows))
    table = valid(tmp_path / "run")
    assert table.column_names[10:] == ["note", "coupon"]
    assert table.select(["order_id", "note", "coupon"]).to_pylist() == [
        {"order_id": "A1", "note": "x", "coupon": ""},
        {"order_id": "A2", "note": "", "coupon": "1.5"},
    ]


def test_keys_that_stand_behind_the_first_mebibyte_only_are_kept_in_a_column(tmp_path: Path) -> None:
    early = [order(order_id=f"A{number}", note="x" * 5000) for number in range(START_BYTES // 5000)]
    late = order(order_id="B1").replace("}", ', "coupon": 1.50, "tags": [1.0], "gift": null}')
    path = written(tmp_path / "x.jsonl", *early, late, order(order_id="B2", price="x"), order(order_id="B3", note="y"))
    one = inline.run(tmp_path / "one", path, partitions=1)
    assert inline.run(tmp_path / "two", path, 3000, partitions=5) == one
    table = valid(tmp_path / "one")
    assert table.column_names[10:] == ["note", "other_keys"]
    assert table.slice(len(early)).select(["note", "other_keys"]).to_pylist() == [
        {"note": "", "other_keys": '{"coupon": 1.50, "tags": [1.0], "gift": null}'},
        {"note": "y", "other_keys": ""},
    ]
    assert set(table["other_keys"].slice(0, len(early)).to_pylist()) == {""}


def test_rejected_rows_are_json_lines_as_they_stood_and_an_input_when_they_are_mended(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    bad = [
        order(order_id="A2", price="10.5O", note={"a": 1}),
        order(order_id="A3") + "x",
        '{"order_id": "A4"'.ljust(20),
    ]
    path = written(tmp_path / "x.jsonl", order(order_id="A1"), *bad)
    pipeline(*inline.STAGES, input=path)
    rejected = tmp_path / "run/merge/rejected-00000.jsonl"
    assert rejected.read_text().splitlines() == bad
    rejected.write_text(rejected.read_text().replace("10.5O", "10.50").replace("}x\n", "}\n"))
    (tmp_path / "mended").mkdir()
    mended = rejected.rename(tmp_path / "mended/again.jsonl")
    done = pipeline(*inline.STAGES, where="second", input=str(mended))["merge"].rows
    assert (done["valid"], done["reasons"]) == (2, {"malformed_json": 1})


def test_row_is_explained_with_its_line_and_reasons(pipeline: Pipeline, tmp_path: Path) -> None:
    rows = [order(order_id="A1", status="failed"), order(order_id="A2", price=-10.5), "", order(order_id="A3")]
    pipeline(*inline.STAGES, input=written(tmp_path / "x.jsonl", *rows))
    context = new_context(Settings.of(run_uri=str(tmp_path / "run")))
    explained = [explain(context, number, "") for number in (1, 2, 3, 4)]
    assert [each.raw for each in explained] == rows
    assert [each.status for each in explained] == ["failed", "", "", "success"]
    assert [list(each.reasons) for each in explained] == [[], ["negative_price", "wrong_total"], ["malformed_json"], []]


def test_json_lines_and_csv_are_read_in_one_run_and_only_csv_has_an_account_of_lines(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    written(tmp_path / "b.jsonl", order(order_id="B1"), order(order_id="C1"))
    (tmp_path / "a.csv").write_bytes(csv_text(row(order_id="C1")))
    done = pipeline(*inline.STAGES, input=str(tmp_path / "[ab].*"), delimiter=",")["merge"].rows
    assert (done["valid"], done["reasons"]) == (2, {"duplicate_order_id": 1})
    assert done["lines"] | {"rows_like_several": 0} == {
        "in_files": 2, "headers": 1, "rows": 1, "inside_quotes": 0, "rows_like_several": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            order(note="x" * START_BYTES).encode() + b"\n" + order().encode(),
            "in its first MiB, no line is one JSON object",
        ),
        (b"[\n" + order().encode() + b"\n]\n", "x.jsonl is a JSON array: .* as jq -c '.\\[\\]' does"),
        (
            b"{}\n" + order(other_keys=1).encode() + (b"\n" + order(note="y" * 9000).encode()) * 120,
            "column other_keys more than once",
        ),
        (b'{"order_id": 1}\n', "x.jsonl has no column user_id, "),
        (b'{"\xff}\n', "no line is one JSON object with a key; .* in UTF-8 or with --encoding"),
        (b"{}\n{}\n", "no line is one JSON object with a key"),
        (b"{'order_id': 1}\n", "no line is one JSON object with a key"),
    ],
)
def test_file_is_refused_with_a_sentence_when_its_beginning_is_no_json_lines_of_orders(
    tmp_path: Path, data: bytes, words: str
) -> None:
    (tmp_path / "x.jsonl").write_bytes(data)
    with pytest.raises(InputError, match=words):
        sources.describe(Storage(str(tmp_path / "run")), str(tmp_path / "x.jsonl"), 0, InputFormat())


@pytest.mark.parametrize("broken", ["{bad", "{'order_id': 1}", "{ // orders", "{"])
def test_first_line_that_is_broken_is_a_rejected_row(pipeline: Pipeline, tmp_path: Path, broken: str) -> None:
    done = pipeline(*inline.STAGES, input=written(tmp_path / "x.jsonl", broken, order()))["merge"].rows
    assert (done["valid"], done["reasons"]) == (1, {"malformed_json": 1})


def test_row_may_be_long_and_is_refused_with_a_sentence_when_it_is_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "x.jsonl", order(), order(order_id="A2", note="x" * 3000), order(order_id="A3"))
    assert b'"orders": 3,' in inline.run(tmp_path / "one", path, 100)["report/analytics_report.json"]
    monkeypatch.setattr(lines, "ROW_BYTES", 2000)
    with pytest.raises(InputError, match=r"x.jsonl has a row of more than .* MiB from byte"):
        inline.run(tmp_path / "two", path, 100)


def test_run_fails_with_a_sentence_when_the_file_changes_after_split(pipeline: Pipeline, tmp_path: Path) -> None:
    path = written(tmp_path / "x.jsonl", order())
    pipeline("split", input=path)
    written(tmp_path / "x.jsonl", order(region="south"))
    with pytest.raises(InputError, match="x.jsonl has changed since it was split"):
        pipeline("validate", input=path)
