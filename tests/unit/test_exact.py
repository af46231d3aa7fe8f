"""Whatever is in a file: the results are the oracle's, to the cent and to the row."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inline
import opinions
import oracle
from daskjobs.orders.money import amount_text
from daskjobs.orders.sources import many
from daskjobs.orders.validation import duplicates
from daskjobs.stages.run_settings import QUOTINGS

GOOD = dict(
    user_id="U1", region="north", product="lamp", quantity="2", price="10.50", total_amount="21.00",
    payment_mode="card", status="success", timestamp="2025-03-01 12:00:00",
)  # fmt: skip
ODD = [
    "", " ", "0", "-0", "-1", "2", " 2\t", "2.0", "+2", "1e3", "1E3", "NaN", "nan", "inf", "-Infinity", "0x10", "٣",
    "1_0", "10.5", "10.50", "10.500", "10.505", "-10.50", "-0.00", ".5", "5.", ".50", "-.5", ".", ".0", "2.",
    "1,050.00", "1.050,00", "10,50",
    "$10.50", "10.50 €", "9" * 9, "9" * 10, "9" * 16, "9" * 17, "9" * 30, "0" * 30, "9999999999999999.99", "21",
    "21.00", "42.00", "1" * 3000, "success", "Success", "SUCCESS", " failed ", "pending", "refunded", "cancelled",
    "lost", "NULL", "2025-02-30", "2024-02-29", "2025-03-01T12:00:00Z", "2025-03-01 12:00:00+02:00",
    "2025-03-01T12:00:00.123", "2025-03-01 12:00:00 +0000", "2025-03-01 12:00+02", "1.5000",
    "2.00000", "01.03.2025", "03/01/2025", "2025-13-01", "20250301", "1740830400",
    "2025-03-01 12:00:00.0000000", "2025-03-01 12:00:00.1234567",
    "2025-03-01 12:00:00 UTC", "2025-03-01T12:00:00.000000000Z",
    "2025-03-01 25:00:00", "0000-00-00", "yesterday", "a\nb", "a\r\nb", 'say "hi"', "a,b", "a;b", "\x00", "\x07",
    "\x1b[31m", "ünï", "🧾", "\u2028", "\u00a05", "\ufeff",
]  # fmt: skip

value = st.sampled_from(ODD) | st.text(max_size=6)
order_id = st.integers(0, 30).map(lambda n: f"A{n}") | st.sampled_from(["", " A1", "A1\t", "a1", "1", "01", "A" * 100])
money = st.decimals(-100, 10**6, places=2).map(str)


@st.composite
def order(draw: st.DrawFn) -> dict[str, str]:
    """An order that is good, but for up to three of its values."""
    quantity, price = draw(st.integers(1, 99)), draw(st.decimals(0, 10**6, places=2))
    good = GOOD | {"quantity": str(quantity), "price": str(price), "total_amount": str(quantity * price)}
    spoilt = draw(st.dictionaries(st.sampled_from(list(GOOD)), value, max_size=3) | st.just({}))
    return {"order_id": draw(order_id), **good, **spoilt}


broken = (
    st.sampled_from(
        [
            b"",
            b",",
            b"a,b,c",
            b"\xff\xfe",
            b'x"y"z',
            b"\r",
            b'"a"b,c',
            b" ",
            b'"',
            b'a,"b',
            b'b",c',
            b'"a\\"',
            b"\\",
            b"\\N",
        ]
    )
    | st.binary(max_size=30)
    | st.text(alphabet='",;\t|\\\n\ra', max_size=12).map(str.encode)
)


@st.composite
def orders_file(draw: st.DrawFn, delimiter: str, quoting: str) -> bytes:
    """A CSV file: columns in any order, one more perhaps, any quoting and line ends, and rows that are no orders."""
    columns = draw(st.permutations([*oracle.COLUMNS, *draw(st.sampled_from([[], ["note"]]))]))
    quotes = csv.QUOTE_MINIMAL if quoting == "none" else draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    text = io.BytesIO()

    def line(values: list[str]) -> None:
        row = io.StringIO(newline="")
        csv.writer(row, delimiter=delimiter, quoting=quotes, lineterminator=newline).writerow(values)
        text.write(row.getvalue().encode(errors="replace"))

    line(columns)
    for each in draw(st.lists(order() | broken, max_size=20)):
        if isinstance(each, bytes):
            text.write(each + newline.encode())
        elif draw(st.integers(0, 3)) == 0:  # as who knows nothing of quotes writes it
            text.write(delimiter.join(each.get(column, 'say "hello"') for column in columns).encode(errors="replace"))
            text.write(newline.encode())
        else:
            line([each.get(column, "hello") for column in columns])
    data = text.getvalue()
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + (data.rstrip(b"\r\n") if draw(st.booleans()) else data)


@pytest.mark.slow
@settings(max_examples=60)
@given(st.data(), st.sampled_from(",;\t|"), st.sampled_from(QUOTINGS))
def test_results_are_the_oracles_when_files_are_dirty(data: st.DataObject, delimiter: str, quoting: str) -> None:
    each = orders_file(delimiter, quoting)
    files = dict(
        sorted(data.draw(st.dictionaries(st.sampled_from(["a.csv", "b.csv", "c.csv"]), each, min_size=1)).items())
    )
    first, second = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    with TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        options = {"delimiter": delimiter, "quoting": quoting}
        results = inline.run(folder / "one", f"{folder}/*.csv", partitions=first, **options)
        inline.assert_as_expected(results, oracle.expect(files, delimiter, quoting))
        opinions.assert_agreed(folder / "one")
        block = data.draw(st.integers(50, 2000))
        again = inline.run(folder / "two", f"{folder}/*.csv", block, partitions=second, **options)
        assert again == results


def test_oracle_reads_rows_as_the_contract_says() -> None:
    data = b'a,"b\nc"\r\nd,"e""\n",f\n"g"h,"\n"i\n'
    assert oracle.rows_of(data, ",", "rfc4180") == [
        (b'a,"b\nc"', [b"a", b"b\nc"]),
        (b'd,"e""\n",f', [b"d", b'e"\n', b"f"]),
        (b'"g"h,"', [b'"g"h', b'"']),
        (b'"i', [b'"i']),
    ]
    assert oracle.rows_of(b'a,"b\nc"\n', ",", "none") == [(b'a,"b', [b"a", b'"b']), (b'c"', [b'c"'])]
    assert oracle.rows_of(b'\\,\\n,"\\"",\\N,"\\N"\\\nx\n', ",", "backslash") == [
        (b'\\,\\n,"\\"",\\N,"\\N"\\\nx', [b",\n", b'"', b"", b'"N"\nx'])
    ]


@pytest.mark.slow
@settings(max_examples=40)
@given(st.data(), st.integers(1, 6), st.booleans())
def test_what_is_received_is_what_the_oracle_counts(data: st.DataObject, partitions: int, small: bool) -> None:
    names = data.draw(st.lists(st.sampled_from(["a.csv", "b.csv", "c.csv"]), min_size=1, unique=True))
    files = {name: data.draw(orders_file(",", "rfc4180")) for name in sorted(names)}
    expected = oracle.expect(files)
    with TemporaryDirectory() as name, patch.object(many, "SMALL_BYTES", many.SMALL_BYTES if small else 0):
        folder = Path(name)
        for each, text in files.items():
            (folder / each).write_bytes(text)
            sums = {"total_amount": amount_text(expected.sums[each]), "ids": len(expected.ids.get(each, ()))}
            said = json.dumps({"rows": expected.files[each], **sums})
            (folder / f"{each}.control.json").write_text(said)
        whole = {"rows": expected.rows, "ids": len(set[str]().union(*expected.ids.values())),
                 "total_amount": amount_text(expected.sums.total())}  # fmt: skip
        with patch.object(duplicates, "BUCKET_ROWS", 3), patch.object(duplicates, "MOST_PIECES", 5):
            inline.run(folder / "run", str(folder / "*.csv"), 300, partitions=partitions, expect=whole)
        found = json.loads((folder / "run/report/quality.json").read_text())["sent"]
        assert all(line["sent"] == line["received"] for line in found)
        assert [line["by"] for line in found][:3] == ["--expect"] * 3
        unread = {line["by"].rsplit("/", 1)[-1]: line["unread"] for line in found if "unread" in line}
        if len(files) > 1:
            alone = {f"{name}.control.json": count for name, count in expected.unread.items() if count}
            assert {name: count for name, count in unread.items() if name in alone} == alone
        assert unread.get("--expect", 0) == expected.unread.total()
        assert all(line["missing"] == ("" if line.get("unread") else line["missing"]) for line in found)
