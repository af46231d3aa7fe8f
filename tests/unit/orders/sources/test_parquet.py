"""Parquet: no row lost unseen, no more memory than a few blocks, and a sentence for whatever is damaged."""

import random
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conftest import GOOD, TESTS
from daskjobs.errors import InputError
from daskjobs.files.parquetpages.footer import row_groups
from daskjobs.files.parquetpages.headers import Chunk, PagedFile
from daskjobs.files.storage import Storage
from daskjobs.orders import sources
from daskjobs.orders.dialect import InputFormat
from daskjobs.orders.sources.format import Cuts
from daskjobs.orders.sources.inputs import find_inputs

CORPUS = TESTS / "corpus"
PLAIN = {"write_statistics": False, "compression": "none"}


def constant(path: Path, rows: int) -> bytes:
    """Write orders that are all alike: files of 40 and of 50 differ in their counts alone."""
    pq.write_table(pa.table({name: pa.array([value] * rows) for name, value in GOOD.items()}), path, **PLAIN)
    return path.read_bytes()


def footer_at(data: bytes) -> int:
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")


def read(path: Path) -> int:
    """Return how many rows a file has, read to its end."""
    storage = Storage(str(path.parent / "run"))
    source = sources.describe(storage, str(path), "plain", InputFormat())
    parts = sources.format_of(source).ranges(storage, source, Cuts(0, 0, sources.format_of(source).weight(source), 2))
    return sum(block.rows for _, part in parts for block in sources.format_of(source).blocks(storage, source, part))


def texts(path: Path, name: str) -> list[str]:
    """Return the texts that a column has."""
    storage = Storage(str(path.parent / "run"))
    source = sources.describe(storage, str(path), "plain", InputFormat())
    form = sources.format_of(source)
    (part,) = [part for _, part in form.ranges(storage, source, Cuts(0, 0, form.weight(source), 1))]
    return [text for block in form.blocks(storage, source, part) for text in block.texts[name].to_pylist()]


@pytest.mark.parametrize(
    ("rows", "claimed", "words"),
    [
        (50, 40, "its footer says 40 values of order_id in a row group, its pages 50"),
        (40, 50, "is damaged: "),
        (5003, 1 << 40, "is damaged: "),
        (5003, -3, "is damaged: .*negative"),
    ],
)
def test_footer_that_claims_other_rows_than_there_are_is_damaged(
    tmp_path: Path, rows: int, claimed: int, words: str
) -> None:
    data, path = constant(tmp_path / "x.parquet", rows), tmp_path / "y.parquet"
    if claimed in (40, 50):
        other = constant(path, claimed)
        footer = other[footer_at(other) : -8]
    else:
        zigzag, varint = (claimed << 1) ^ (claimed >> 63), b""
        while zigzag > 127:
            varint, zigzag = varint + bytes([zigzag & 127 | 128]), zigzag >> 7
        varint += bytes([zigzag])
        footer, found = re.subn(rb"\x96\x4e", varint, data[footer_at(data) : -8])
        assert found >= 12  # the file's rows, its row group's, and the values of ten columns
    path.write_bytes(data[: footer_at(data)] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(InputError, match=words):
        read(path)


def test_file_is_read_or_refused_with_a_sentence_when_bytes_of_its_footer_are_flipped(tmp_path: Path) -> None:
    chance, path, outcomes = random.Random(4), tmp_path / "x.parquet", set()
    files = [path.read_bytes() for path in sorted(CORPUS.glob("parquet_*.parquet"))]
    for _ in range(300):
        data = bytearray(chance.choice(files))
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(max(0, footer_at(data)), len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            found = read(path)
        except InputError:
            outcomes.add("refused")
            continue
        assert found == pq.read_metadata(path).num_rows
        outcomes.add("read")
    assert outcomes == {"read", "refused"}


def test_page_headers_are_counted_when_they_pass_by_in_pieces_and_when_they_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"n": pa.array([f"{number:09d}" for number in range(5000)])})
    pq.write_table(table, path, use_dictionary=False, data_page_size=1000, write_batch_size=100, compression="none")
    data = path.read_bytes()
    (group,) = row_groups(data[footer_at(data) : -8])
    for size in (1, 7, 1000, len(data)):
        chunk = Chunk(group.columns[0], group.columns[0].start)
        for offset in range(0, len(data), size):
            chunk.take(offset, data[offset : offset + size])
        assert (chunk.counted, chunk.at, chunk.held) == (5000, group.columns[0].end, b"")
    with path.open("rb") as file:
        unread = PagedFile(file, "x")
        unread.walk(group.columns)
        unread.walked()


MEMORY = """
import sys
from pathlib import Path
import inline

def kib(name):
    return int(Path("/proc/self/status").read_text().split(name)[1].split()[0])

inline.run(Path(sys.argv[1] + "-small"), sys.argv[2])
before = kib("VmHWM:")
results = inline.run(Path(sys.argv[1]), sys.argv[3])
print(kib("VmHWM:") - before, results["report/analytics_report.json"].decode())
"""


def wide(rows: int, kind: pa.DataType) -> Iterator[pa.Table]:
    text = pa.array(["x" * 36_000], kind)
    for first in range(0, rows, 1024):
        size = min(1024, rows - first)
        columns = {name: pa.array([value] * size) for name, value in GOOD.items()}
        columns["order_id"] = pa.array([f"A{first + row}" for row in range(size)])
        yield pa.table({**columns, "payload": pa.DictionaryArray.from_arrays(pa.array([0] * size, pa.int32()), text)})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("encoding", ["PLAIN", "RLE_DICTIONARY", "DELTA_BYTE_ARRAY"])
def test_memory_is_bounded_by_bytes_when_rows_are_wide_and_the_file_is_small(tmp_path: Path, encoding: str) -> None:
    rows, paths = 6144, [tmp_path / "small.parquet", tmp_path / "wide.parquet"]
    coded = encoding == "RLE_DICTIONARY"
    how = (
        {"use_dictionary": ["payload"]}
        if coded
        else {"use_dictionary": False, "column_encoding": {"payload": encoding}}
    )
    schema = pa.schema([*((name, pa.string()) for name in GOOD), ("payload", pa.large_string())])
    for path, count in zip(paths, (10, rows), strict=True):
        with pq.ParquetWriter(path, schema, compression="zstd", write_batch_size=16, **how) as writer:
            writer.write_table(pa.concat_tables(table.cast(schema) for table in wide(count, pa.large_string())), count)
    assert paths[1].stat().st_size < 1 << 20
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "run"), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=True, cwd=TESTS)
    peak, report = done.stdout.split(" ", 1)
    assert report.strip() == f'{{"orders": {rows}, "revenue": {21 * rows}.00}}'
    assert int(peak) < 150 << 10  # of 211 MiB of texts


NAN, INFINITE = float("nan"), float("inf")
TEXTS = {
    "floats": (
        pa.array([1001.0, NAN, None, INFINITE, -0.0, 1e10, 12345678901.25, 1e16]),
        ["1001", "", "", "inf", "0", "10000000000", "12345678901.25", "1e+16"],
    ),
    "floats of four bytes": (pa.array([1.5, NAN, -INFINITE], pa.float32()), ["1.5", "", "-inf"]),
    "floats of two bytes": (pa.array([1.5, NAN], pa.float16()), ["1.5", ""]),
    "dictionary-encoded floats": (pa.array([1.0, NAN, None, 1.0]).dictionary_encode(), ["1", "", "", "1"]),
    "nested floats": (pa.array([[1.0, NAN], None, [INFINITE]]), ["[1.0, null]", "", '["inf"]']),
    "structs": (pa.array([{"a": NAN, "b": [NAN]}]), ['{"a": null, "b": [null]}']),
    "NaT in nanoseconds": (pa.array([-(2**63), 0]).view(pa.timestamp("ns")), ["", "1970-01-01 00:00:00.000000"]),
    "NaT in a zone": (pa.array([-(2**63), 0]).view(pa.timestamp("us", "UTC")), ["", "1970-01-01 00:00:00.000000Z"]),
    "NaT as a duration": (pa.array([-(2**63)]).view(pa.duration("us")), [""]),
    "NaT as a time of the day": (pa.array([-(2**63)]).view(pa.time64("us")), [""]),
    "texts": (pa.array(["nan", "NaN", "inf"]), ["nan", "NaN", "inf"]),  # are texts
}


@pytest.mark.parametrize("what", TEXTS)
def test_value_is_an_empty_text_when_it_is_not_there(tmp_path: Path, what: str) -> None:
    column, expected = TEXTS[what]
    table = pa.table({name: pa.array([value] * len(column)) for name, value in GOOD.items()} | {"extra": column})
    pq.write_table(table, tmp_path / "x.parquet")
    assert texts(tmp_path / "x.parquet", "extra") == expected


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.dictionary(pa.int32(), pa.float64())])
def test_id_is_missing_when_it_is_no_number(tmp_path: Path, kind: pa.DataType) -> None:
    ids = pa.array([1.0, NAN, None, INFINITE, -INFINITE], getattr(kind, "value_type", kind))
    ids = ids.dictionary_encode() if pa.types.is_dictionary(kind) else ids
    table = pa.table({name: pa.array([value] * 5) for name, value in GOOD.items()})
    pq.write_table(table.set_column(0, "order_id", ids), tmp_path / "x.parquet")
    assert texts(tmp_path / "x.parquet", "order_id") == ["1", "", "", "", ""]


@pytest.mark.parametrize("name", ["_metadata", "_common_metadata"])
def test_summary_of_a_dataset_is_said_to_be_one_when_it_is_given_by_its_name(tmp_path: Path, name: str) -> None:
    table = pa.table({column: [value] for column, value in GOOD.items()})
    kept: list[pq.FileMetaData] = []
    pq.write_to_dataset(table, tmp_path, metadata_collector=kept)
    pq.write_metadata(table.schema, tmp_path / name, kept if name == "_metadata" else None)
    with pytest.raises(InputError, match=f"{name} is a summary that stands beside the files of a dataset"):
        read(tmp_path / name)
    assert [read(Path(uri.removeprefix("file://"))) for uri in find_inputs(f"{tmp_path}/*")] == [1]


@pytest.mark.parametrize(
    "reason",
    ["Logical type Variant cannot be applied to group node", "Unknown logical type 19", "Unknown physical type"],
)
def test_column_of_a_type_that_pyarrow_does_not_know_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise pa.ArrowInvalid(reason)

    constant(tmp_path / "x.parquet", 1)
    monkeypatch.setattr(pq, "ParquetFile", unknown)
    with pytest.raises(InputError, match=f"x.parquet can't be read: {reason}; leave that column out"):
        read(tmp_path / "x.parquet")


def test_parquet_in_an_archive_is_held_against_the_archives_checksum(tmp_path: Path) -> None:
    data = constant(tmp_path / "x.parquet", 50)
    with zipfile.ZipFile(tmp_path / "o.zip", "w") as archive:
        archive.writestr("x.parquet", data)
    path = f"zip://x.parquet::{tmp_path}/o.zip"
    storage = Storage(str(tmp_path / "run"))
    assert sources.describe(storage, path, "plain", InputFormat()).kind == "parquet"
    packed = (tmp_path / "o.zip").read_bytes()
    (tmp_path / "o.zip").write_bytes(packed.replace(b"north", b"south", 1))
    with pytest.raises(InputError, match="is damaged: Bad CRC-32"):
        sources.describe(storage, path, "plain", InputFormat())
