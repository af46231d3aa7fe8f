from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daskjobs.errors import StorageError
from daskjobs.files.storage import Storage
from daskjobs.files.tables import ColumnWriting, read_pieces, row_groups, rows_between, write_piece, writing

COLUMNS = ColumnWriting(few_values=("kind", "absent"), ascending=("row", "absent"), statistics=("row", "absent"))
TABLE = pa.table({"row": pa.array(range(1000)), "kind": ["a", "b"] * 500, "text": [f"t{n}" for n in range(1000)]})


def test_columns_are_written_as_asked_for_and_those_that_a_file_does_not_have_are_passed_over(tmp_path: Path) -> None:
    with writing(Storage(str(tmp_path)), "x.parquet", TABLE.schema, COLUMNS) as (writer, file):
        writer.write_table(TABLE)
    assert file.output.size == (tmp_path / "x.parquet").stat().st_size
    group = pq.read_metadata(tmp_path / "x.parquet").row_group(0)
    row, kind, text = (group.column(number) for number in range(3))
    assert "DELTA_BINARY_PACKED" in row.encodings
    assert [column.has_dictionary_page for column in (row, kind, text)] == [False, True, False]
    assert [column.is_stats_set for column in (row, kind, text)] == [True, False, False]


def test_amounts_are_stored_as_differences_and_read_as_they_were_texts_of_such_a_name_as_texts(tmp_path: Path) -> None:
    amounts = pa.array([Decimal(cents).scaleb(-2) for cents in (10**17, -(10**17), 0, 5)], pa.decimal128(18, 2))
    table = pa.table({"price": amounts, "gross": ["1", "2", "3", "4"]})
    columns = ColumnWriting(amounts=("price", "gross", "absent"))
    with writing(Storage(str(tmp_path)), "x.parquet", table.schema, columns) as (writer, _):
        writer.write_table(table)
    group = pq.read_metadata(tmp_path / "x.parquet").row_group(0)
    assert ["DELTA_BINARY_PACKED" in group.column(number).encodings for number in range(2)] == [True, False]
    assert pq.read_table(tmp_path / "x.parquet").equals(table)


def test_rows_between_are_those_asked_for_when_they_lie_in_several_row_groups(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with writing(storage, "x.parquet", TABLE.schema, COLUMNS) as (writer, file):
        for start in range(0, 1000, 100):
            writer.write_table(TABLE.slice(start, 100))
    assert rows_between(storage, "x.parquet", file.output, "row", 250, 420)["row"].to_pylist() == list(range(250, 420))
    assert sum(map(len, row_groups(storage, "x.parquet", file.output))) == 1000


def test_piece_is_read_alone_and_refused_when_it_has_changed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with storage.write("x.pieces") as file:
        pieces = [write_piece(file, TABLE.slice(start, 500)) for start in (0, 500)]
    assert [table["row"][0].as_py() for table in read_pieces(storage, "x.pieces", pieces[::-1])] == [500, 0]
    data = bytearray((tmp_path / "x.pieces").read_bytes())
    data[pieces[1].start + 50] ^= 1
    (tmp_path / "x.pieces").write_bytes(data)
    assert len(next(read_pieces(storage, "x.pieces", pieces[:1]))) == 500
    with pytest.raises(StorageError, match=r"x.pieces is damaged"):
        list(read_pieces(storage, "x.pieces", pieces))
