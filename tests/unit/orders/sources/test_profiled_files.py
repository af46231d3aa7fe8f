"""A profile's [file]: quotes, encodings, names, lines around the rows, and texts that mean nothing."""

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import inline
import oracle
from conftest import csv_text, row
from daskjobs.errors import ConfigError, InputError
from daskjobs.files.storage import Storage
from daskjobs.orders import sources
from daskjobs.orders.dialect import BACKSLASH, SPARK, Dialect, InputFormat
from daskjobs.orders.profiles import Column, FileForm, OrderForm, Profile
from daskjobs.orders.sources import fields, lines
from daskjobs.orders.sources.form import encodings
from daskjobs.orders.sources.format import Cuts, SourceFile

HEADER = ",".join(oracle.COLUMNS)
TWO_LINES = row(product='"two\r\nlines"')


def order(order_id: str, **values: str) -> str:
    return row(order_id=order_id, **values)


def described(folder: Path, data: bytes, form: FileForm, name: str = "x.csv", **profile: Any) -> SourceFile:
    (folder / name).write_bytes(data)
    storage = Storage(str(folder / "run"))
    return sources.describe(
        storage, str(folder / name), "x.plain", InputFormat(), Profile("mine.toml", file=form, **profile)
    )


def run(folder: Path, profile: str, pattern: str = "x.csv", run: str = "run", **options: Any) -> Path:
    (folder / "mine.toml").write_text(profile)
    inline.run(folder / run, str(folder / pattern), profile=str(folder / "mine.toml"), **options)
    return folder / run


def lines_of(folder: Path) -> dict[str, int]:
    lines = json.loads((folder / "report/quality.json").read_text())["lines"]
    del lines["rows_like_several"]
    return dict(lines)


def valid(folder: Path, column: str) -> list[Any]:
    files = sorted(folder.glob("validate/part-*/paid.parquet"))
    return [value for file in files for value in pq.read_table(file)[column].to_pylist()]


def rejected(folder: Path) -> list[tuple[int, list[str], str]]:
    found = pq.read_table(folder / "merge/quarantine.parquet").to_pylist()
    return [(line["row"], line["reasons"], line["raw"]) for line in found]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("last", ["\n", ""])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_around_the_rows_are_counted_apart_when_the_profile_says_how_many(
    tmp_path: Path, newline: str, last: str, pack: Any
) -> None:
    before, after = ['Orders "of', "", "----"], ["", "(4 rows affected)"]
    text = (
        newline.join([*before, HEADER, order("A1"), order("A2", product='"two\nlines"'), order("A3"), "x", *after])
        + last
    )
    (tmp_path / "x.csv").write_bytes(pack(text.encode()))
    found = run(
        tmp_path, "[file]\nskip_lines = 3\nfooter_lines = 2", partitions=3, block_bytes=100, run=f"r{len(newline)}"
    )
    assert lines_of(found) == {"in_files": 11, "headers": 1, "rows": 4, "inside_quotes": 1, "outside": 5}
    assert valid(found, "order_id") == ["A1", "A2", "A3"]
    assert rejected(found) == [(4, ["wrong_number_of_fields"], "x")]


@pytest.mark.parametrize(
    ("data", "form", "words"),
    [
        (b"", FileForm(skip_lines=1), "has fewer lines than skip_lines of [file] in the profile mine.toml leaves out"),
        (b"a\nb\n", FileForm(skip_lines=3), "has fewer lines than skip_lines"),
        (b"a\nb\n", FileForm(skip_lines=2), "has nothing behind the lines that skip_lines leaves out"),
        (b"a\nb", FileForm(skip_lines=2), "has nothing behind the lines that skip_lines leaves out"),
        (csv_text(row()), FileForm(footer_lines=2), "has fewer lines than footer_lines"),
        (csv_text(row()), FileForm(footer_lines=3), "has fewer lines than footer_lines"),
        (csv_text(row()), FileForm(skip_lines=1, footer_lines=2), "has fewer lines than footer_lines"),
        (b"x" * (1 << 20) + b"\n" + csv_text(), FileForm(skip_lines=1), "has more than 1 MiB in the lines that skip"),
        (csv_text() + b"x" * (1 << 20), FileForm(footer_lines=1), "has more than 1 MiB in the lines that footer"),
    ],
)
def test_file_is_refused_when_it_has_not_the_lines_that_are_left_out(
    tmp_path: Path, data: bytes, form: FileForm, words: str
) -> None:
    with pytest.raises(InputError) as raised:
        described(tmp_path, data, form)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("data", "form"),
    [
        (csv_text(row(), row()), FileForm(footer_lines=1)),
        (f"{row()}\n{row()}\n(2 rows)".encode(), FileForm(footer_lines=2, header=list(oracle.COLUMNS))),
        (f"{row()}\n{row()}\n".encode(), FileForm(skip_lines=1, header=list(oracle.COLUMNS))),
    ],
)
def test_file_is_refused_when_a_line_that_is_left_out_looks_like_an_order(
    tmp_path: Path, data: bytes, form: FileForm
) -> None:
    with pytest.raises(InputError, match=r"has a line that looks like an order, .* leave out fewer lines"):
        described(tmp_path, data, form)


LINE = ",U1,,kettle,2,5.00,10.00,,,"  # as an order's second line stands: without what fill_down fills in
SUMS = ["Total,,,,12,5.00,345.00,,,", ",,,,12,,345.00,,,", ",,,,,,,,,", "(12 rows affected)"]


@pytest.mark.parametrize("key", ["skip_lines", "footer_lines"])
@pytest.mark.parametrize(
    ("line", "profile"),
    [
        (order("7", quantity=""), Profile("", columns={"quantity": Column(names=["quantity"], empty="1")})),
        (LINE, Profile("", order=OrderForm(rows="line", fill_down=["order_id", "status", "timestamp"]))),
        (f"A7{LINE}", Profile("", order=OrderForm(rows="line", fill_down=["status", "timestamp"]))),
        (order("7", price=""), Profile("", order=OrderForm(without_rules=["unreadable_price"]))),
    ],
)
def test_line_that_is_left_out_may_be_an_order_of_which_the_profile_needs_little(
    tmp_path: Path, key: str, line: str, profile: Profile
) -> None:
    lines = [line, HEADER, order("A1")] if key == "skip_lines" else [HEADER, order("A1"), line]
    said = {"columns": profile.columns, "order": profile.order}
    with pytest.raises(InputError, match=rf"looks like an order, .* {key} .* name those that are no orders in \[furni"):
        described(tmp_path, "\n".join(lines).encode(), FileForm(**{key: 1}), **said)
    for sums in SUMS:
        data = "\n".join([sums if each == line else each for each in lines]).encode()
        assert described(tmp_path, data, FileForm(**{key: 1}), **said), sums


def test_line_that_is_left_out_may_be_one_of_an_order_with_a_total_of_its_own(tmp_path: Path) -> None:
    header, line = f"{HEADER},Sum", f"{LINE},"
    form = OrderForm(rows="line", total=["Sum"], fill_down=["order_id", "status", "timestamp", "total"])
    with pytest.raises(InputError, match="looks like an order"):
        described(tmp_path, csv_text(f"{row()},1", line, header=header), FileForm(footer_lines=1), order=form)
    nothing = csv_text(f"{row()},1", "Total,,,,12,,345.00,,,,", header=header)
    assert described(tmp_path, nothing, FileForm(footer_lines=1), order=form)


@pytest.mark.parametrize("left_out", ["Total,,,,12,,345.00,,,", ",,,,,,,,,", "12 orders of 2025-04-01"])
def test_sums_and_texts_may_be_left_out(tmp_path: Path, left_out: str) -> None:
    data = csv_text(row(), left_out)
    assert described(tmp_path, data, FileForm(footer_lines=1)).after == f"{left_out}\n"


def test_header_may_be_left_out_when_the_profile_names_the_columns(tmp_path: Path) -> None:
    source = described(tmp_path, csv_text(row()), FileForm(skip_lines=1, header=[f"{n}2" for n in oracle.COLUMNS]),
        columns={n: Column(names=[f"{n}2"]) for n in oracle.COLUMNS})  # fmt: skip
    assert (source.before, source.columns[0]) == (f"{HEADER}\n", "order_id2")


def test_footer_of_a_large_compressed_file_is_that_of_its_end(tmp_path: Path) -> None:
    many = [order(f"A{number}") for number in range(20_000)]  # 1.6 MiB
    data = gzip.compress(csv_text(*many) + b"(20000 rows)\n")
    source = described(tmp_path, data, FileForm(footer_lines=1))
    assert (source.after, source.header_lines and source.header_lines.lines) == ("(20000 rows)\n", 2)


def test_first_line_is_a_row_when_the_profile_names_the_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + f"{order('A1')}\n{order('A2', price='x')}\n".encode())
    (tmp_path / "b.csv").write_text(order("B1"))
    (tmp_path / "c.csv").write_text("")
    found = run(tmp_path, f"[file]\nheader = {oracle.COLUMNS}", "?.csv")
    assert valid(found, "order_id") == ["A1", "B1"]
    assert rejected(found) == [(2, ["unreadable_price"], order("A2", price="x"))]
    assert lines_of(found) == {"in_files": 3, "headers": 0, "rows": 3, "inside_quotes": 0}


def test_delimiter_is_the_one_that_makes_as_many_fields_as_the_profile_names(tmp_path: Path) -> None:
    source = described(tmp_path, row().replace(",", "|").encode(), FileForm(header=list(oracle.COLUMNS)))
    assert source.dialect == Dialect("|")
    with pytest.raises(InputError, match=r"has 19 fields in its first row, and header of \[file\] .* names 10"):
        described(tmp_path, order("A1", product="a,b,c,d,e,f,g,h,i,j").encode(), FileForm(header=list(oracle.COLUMNS)))


def test_delimiter_is_the_one_with_which_the_header_has_the_names_of_the_profile(tmp_path: Path) -> None:
    theirs = [f"{name}, theirs" for name in oracle.COLUMNS]
    columns = {ours: Column(names=[name]) for ours, name in zip(oracle.COLUMNS, theirs, strict=True)}
    source = described(tmp_path, ";".join(theirs).encode(), FileForm(), columns=columns)
    assert (source.dialect.delimiter, source.columns) == (";", theirs)


awkward = st.lists(
    st.sampled_from(["'", "'", ",", ",", "\n", "\r\n", "\\", "a", "''", ",'", "',", "'\n", "NULL", ",NULL,"]),
    max_size=20,
).map("".join)
line = st.text("ab,' ", max_size=5)


@hypothesis_settings(max_examples=80, deadline=None)
@given(
    awkward, st.lists(line, max_size=3), st.lists(line, max_size=3), st.booleans(), st.booleans(),
    st.sampled_from(["rfc4180", "none", "backslash", "spark"]), st.sampled_from(["\n", "\r\n"]), st.integers(1, 40),
)  # fmt: skip
def test_rows_are_those_between_the_lines_that_are_left_out(
    text: str, before: list[str], after: list[str], named: bool, last: bool, quoting: str, newline: str, size: int
) -> None:
    good = row() + "\n"
    rows = (good + text + ("" if text.endswith("\n") else "\n")).encode()
    head = "".join(each + newline for each in before) + ("" if named else HEADER + "\n")
    foot = newline.join(after) + newline * bool(after and (last or not after[-1]))
    data = head.encode() + rows + foot.encode()
    form = FileForm(
        quoting=quoting, quote="'", skip_lines=len(before), footer_lines=len(after), nulls=["NULL"],
        delimiter=",", header=list(oracle.COLUMNS) if named else [],
    )  # fmt: skip
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        source = described(Path(folder), data, form)
        patch.setattr(lines, "BLOCK_BYTES", size)
        each, storage = sources.format_of(source), Storage(folder)
        parts = [part for _, part in each.ranges(storage, source, Cuts(0, 0, each.weight(source), 3))]
        blocks = [block for part in parts for block in each.blocks(storage, source, part)]
    expected = oracle.rows_of(rows, ",", quoting, "'")
    read = [list(found.values()) for block in blocks for found in block.texts.to_pylist()]
    whole = [[value.decode() for value in values] for _, values in expected if len(values) == len(oracle.COLUMNS)]
    assert read == [["" if value == "NULL" else value for value in values] for values in whole]
    assert sum(block.rows for block in blocks) == len(expected)
    inside = sum(raw.count(b"\n") for raw, _ in expected)
    found = source.header_lines
    assert found
    assert found.lines + sum(part.lines or 0 for part in parts) == data.count(b"\n") + (not data.endswith(b"\n"))
    assert found.lines == found.headers + found.outside == (not named) + len(before) + len(after)
    assert sum(part.lines or 0 for part in parts) == len(expected) + inside


PROFILE = """
[file]
delimiter = ";"
quote = "'"
encoding = {"x*.csv" = "cp1252", "*" = "utf-16"}
skip_lines = 2
footer_lines = 1
nulls = ["NULL"]
"""


@pytest.mark.parametrize("names", [False, True])
def test_rejected_rows_are_read_as_before_with_the_same_profile(tmp_path: Path, names: bool) -> None:
    bad = [order("A1", price="x", product="thé"), order("NULL"), order("A3", product="'a;\n''b'", quantity="é"), "''"]
    rows = [order("A0"), *bad[:2], order("A4"), *bad[2:]]
    header = [] if names else [HEADER]
    text = "\n".join(["title of 'April", "é", *header, *rows, "4 rows"]).replace(",", ";")
    (tmp_path / "x.csv").write_bytes(text.encode("cp1252"))
    profile = PROFILE + (f"header = {oracle.COLUMNS}\n" if names else "")
    first = run(tmp_path, profile, partitions=2)
    (tmp_path / "mended.csv").write_bytes((first / "merge/rejected-00000.csv").read_bytes())
    again = run(tmp_path, profile, "mended.csv", "again")
    assert [each[1:] for each in rejected(first)] == [each[1:] for each in rejected(again)]
    assert [each[2] for each in rejected(again)] == [each.replace(",", ";") for each in bad]
    assert valid(again, "order_id") == []
    assert lines_of(again)["outside"] == 3


def test_each_file_has_the_first_encoding_that_fits_all_of_it(tmp_path: Path) -> None:
    texts = {"a.csv": "cp1252", "b.csv": "utf-8", "c.csv": "utf-16", "d.csv.gz": "utf-8-sig"}
    for number, (name, encoding) in enumerate(texts.items()):
        data = csv_text(*[order(f"{number}{each}") for each in range(30_000)], order(f"A{number}", product="thé"))
        data = data.decode().encode(encoding)
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = run(tmp_path, '[file]\nencoding = ["utf-8", "utf-16", "cp1252"]', "?.csv*")
    plan = json.loads((found / "split/partitions.json").read_text())
    assert [file["encoding"] for file in plan["files"]] == ["cp1252", "utf-8", "utf-16", "utf-8"]
    assert [product for product in valid(found, "product") if product != "lamp"] == ["thé"] * 4
    assert not plan["files"][1].get("unpacked"), "a file of UTF-8 is read where it is"


def test_file_is_refused_when_no_encoding_fits_all_of_it(tmp_path: Path) -> None:
    data = csv_text(row(), row(product="thé")).decode().encode("cp1252")
    with pytest.raises(InputError, match="is in none of the encodings utf-8, utf-16, ascii"):
        described(tmp_path, data, FileForm(encodings=[("*", ["utf-8", "utf-16", "ascii"])]))


def test_row_is_rejected_when_it_does_not_fit_the_only_encoding(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(csv_text(order("A1"), order("A2")).replace(b"A1", b"\x81"))
    found = run(tmp_path, '[file]\nencoding = "cp1252"')
    assert [reasons for _, reasons, _ in rejected(found)] == [["not_utf8"]]


def test_lines_of_json_are_read_in_the_encoding_of_their_profile(tmp_path: Path) -> None:
    one = dict(zip(oracle.COLUMNS, order("A1", product="thé").split(","), strict=True))
    (tmp_path / "x.jsonl").write_bytes(json.dumps(one, ensure_ascii=False).encode("cp1252"))
    assert valid(run(tmp_path, '[file]\nencoding = ["utf-8", "cp1252"]', "x.jsonl"), "product") == ["thé"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/shop/a1.csv", ["cp1252"]),
        ("s3://shop/2025/b.csv", ["utf-16"]),
        ("zip://a1.csv::/shop/b.zip", ["cp1252"]),
        ("/shop/c.txt", []),
    ],
)
def test_encodings_are_those_of_the_first_pattern_that_fits_a_name_or_its_end(name: str, expected: list[str]) -> None:
    form = FileForm(encodings=[("a*.csv", ["cp1252"]), ("*.csv", ["utf-16"]), ("a*", ["utf-8"])])
    assert encodings(form, name) == expected


def test_texts_that_mean_nothing_are_empty_in_every_format(tmp_path: Path) -> None:
    texts = [
        order("A1", user_id="NULL", product=r"\N") + ",NULL",
        order("A2", user_id="NULLs", product="NULL 2") + ",",
        order("NULL", user_id="null") + r",\N",
    ]
    names = [*oracle.COLUMNS, "note"]
    table = pa.table([pa.array(column) for column in zip(*(line.split(",") for line in texts), strict=True)], names)
    (tmp_path / "a.csv").write_text(",".join(names) + "\n" + "\n".join(texts).replace("NULL", '"NULL"', 1))
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, table.to_pylist())))
    pq.write_table(table, tmp_path / "c.parquet")
    profile = "[file]\nnulls = ['\\N', 'NULL']"
    for name in ("a.csv", "b.jsonl", "c.parquet"):
        found = run(tmp_path, profile, name, run=f"run-{name}")
        assert valid(found, "user_id") == ["", "NULLs"], name
        assert valid(found, "product") == ["", "NULL 2"], name
        assert valid(found, "note") == ["", ""], name
        assert [reasons for _, reasons, _ in rejected(found)] == [["missing_order_id"]], name


def test_texts_that_mean_nothing_may_have_blanks_and_tabs_around_them(tmp_path: Path) -> None:
    texts = ["NULL      ", "\tNULL", "-", " - ", " ", "NUL", "NULL NULL", "NULL\u00a0", "NULLL", "no", "  - x"]
    rows = [order(f"A{number}", product=text) for number, text in enumerate(texts)]
    (tmp_path / "x.csv").write_bytes(csv_text(*rows))
    found = run(tmp_path, '[file]\nnulls = [" NULL", "-"]')
    assert valid(found, "product") == [""] * 4 + texts[4:]
    found = run(tmp_path, '[file]\nnulls = [""]', run="blanks")
    assert valid(found, "product") == [*texts[:4], "", *texts[5:]]


ORDERS = ",".join(oracle.COLUMNS[1:])


@pytest.mark.parametrize(
    ("header", "again"),
    [
        (f"order_id,{ORDERS},Tax,Tax", f"order_id,{ORDERS},Tax,Tax"),
        (f"order_id,{ORDERS},,", f" order_id ,{ORDERS},,"),
        (f"order_id,{ORDERS},Tax,Net", f"\ufefforder_id,{ORDERS},Tax,Net"),
        (f'\ufeff"order_id",{ORDERS},Tax,Net', f'\ufeff"order_id",{ORDERS},Tax,Net'),
        (f"order_id,{ORDERS},Tax\u00a0,Net", f"order_id,{ORDERS},Tax\u00a0,Net"),
        (f"order_id,{ORDERS},Tax,Net", f"order_id,{ORDERS},Tax,Net\u00a0"),
        (f"order_id,{ORDERS},NULL ,Net", f"order_id,{ORDERS},NULL ,Net"),
        (f'"order_id",{ORDERS},"Tax, 19%",Net', f'order_id,{ORDERS},"Tax, 19%","Net"'),
    ],
)
def test_header_is_known_again_however_its_names_are_written(tmp_path: Path, header: str, again: str) -> None:
    rows = [f"{order('A1')},1,2", again, f"{order('A2')},NULL,2", f"{order('A3', product='order_id')},1,2"]
    (tmp_path / "x.csv").write_bytes(csv_text(*rows, header=header))
    found = run(tmp_path, '[file]\nnulls = ["NULL"]\n[furniture]\nheader = true', partitions=2, block_bytes=120)
    counted = json.loads((found / "report/quality.json").read_text())["rows"]
    assert (counted["in"], counted["valid"], counted["furniture"]) == (4, 3, 1)


@pytest.mark.parametrize("key", ["delimiter", "quoting", "quote", "header", "skip_lines", "footer_lines"])
@pytest.mark.parametrize(("name", "kind"), [("x.jsonl", "JSON Lines"), ("x.parquet", "Parquet")])
def test_profile_is_refused_when_a_file_of_another_format_has_nothing_of_what_it_says(
    tmp_path: Path, name: str, kind: str, key: str
) -> None:
    one = dict(zip(oracle.COLUMNS, row().split(","), strict=True))
    pq.write_table(pa.table({ours: [value] for ours, value in one.items()}), tmp_path / "x.parquet")
    data = (tmp_path / "x.parquet").read_bytes() if kind == "Parquet" else json.dumps(one).encode()
    said = {"delimiter": ";", "quoting": "none", "quote": "'", "header": ["a"], "skip_lines": 1, "footer_lines": 1}
    with pytest.raises(ConfigError, match=rf"{name} is {kind}, where {key} of \[file\] in the profile mine.toml means"):
        described(tmp_path, data, FileForm(**{key: said[key]}), name)


@pytest.mark.parametrize(
    ("text", "dialect", "expected"),
    [
        ('C:\\new,"C:\\new, 7\\"",\\\\x', Dialect(",", SPARK), ["C:\\new", 'C:\\new, 7"', "\\\\x"]),
        ('"\\\\","a\\,b",a\\"b', Dialect(",", SPARK), ["\\", "a\\,b", 'a\\"b']),
        ("'it''s, \"x\"',\"y\",z", Dialect(",", quote="'"), ['it\'s, "x"', '"y"', "z"]),
        ('"a"|b\\|c|d\\\n"e', Dialect("|", BACKSLASH, ""), ['"a"', "b|c", 'd\n"e']),
        ("\\N|\\\\N|'\\N'", Dialect("|", BACKSLASH, "'"), ["", "\\N", "N"]),
    ],
)
@pytest.mark.parametrize("others", [b"", b"plain,,\n" * 3])
def test_fields_are_what_the_writer_meant(text: str, dialect: Dialect, expected: list[str], others: bytes) -> None:
    line, others = text.encode() + b"\n", others.replace(b",", dialect.delimiter.encode())
    data = line + others
    ends = fields.row_ends(data, dialect)
    table, _, malformed, _ = fields.read_fields(data, ends, ["a", "b", "c"], dialect)
    assert (list(table.to_pylist()[0].values()), malformed) == (expected, {})


def test_block_of_sparks_is_read_by_the_fast_path_when_all_backslashes_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fields, "read_row_by_row")
    data = b'1,"7\\" kettle, ""x""",a\n2,"\\\\",b\n'
    table, *_ = fields.read_fields(
        data, fields.row_ends(data, Dialect(",", SPARK)), ["a", "b", "c"], Dialect(",", SPARK)
    )
    assert table["b"].to_pylist() == ['7" kettle, "x"', "\\"]
