"""The rejected rows of all partitions, as Parquet and CSV in the order of the source, and by file, to be mended."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from daskjobs.cores import cores, in_turn
from daskjobs.display import escaped
from daskjobs.files.ahead import ahead
from daskjobs.files.digest import HashingFile, Output
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, rebatched, row_groups, writing
from daskjobs.orders.samples import Samples
from daskjobs.orders.schema import QUARANTINE, WRITING
from daskjobs.orders.sources.fields import standalone_row, standalone_rows
from daskjobs.orders.sources.format import SourceFile
from daskjobs.orders.sources.lines import BOM

GROUPS_AHEAD = 2  # row groups that are read while others are prepared
PREPARING = 3  # threads that prepare rows; one writes them, and more would wait for it
FORMULA = r"[-=+@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"  # the first character of a formula; four are full-width
STARTS = pa.array(list("-=+@\t\r\n \uff1d\uff0b\uff0d\uff20"))  # first characters of texts that `AT_START` may match
AT_START = rf"^([\t\r\n]| *{FORMULA})"
SEPARATORS = b";\t\r\n"  # separators of cells in spreadsheets that don't use commas, and so see no quotes around a text
AFTER_SEPARATOR = rf'([;\t\r\n][ "]*)({FORMULA})'
# Without the partition's number, so that the bytes don't depend on the partitions.
MERGED = pa.schema([field for field in QUARANTINE if field.name != "partition"])


def gather(
    storage: Storage,
    parts: dict[str, Output],
    parquet: str,
    csv: str,
    files: Iterable[tuple[str, SourceFile]] = (),
    samples: Samples | None = None,
) -> dict[str, Output]:
    """Write the rows of the partitions' files, ``parts``, to one file of Parquet and one of CSV, and to one by source.

    The last ones have the rejected rows of each file that has some, as they stood there, below its header if it has
    one. ``files`` are those of the input, each after the name of the file to write; without any, none of these is
    written. Rows are read and prepared in threads, and written in their order. ``samples`` looks at all of them on the
    way.
    """
    read = _read(storage, parts, samples)
    sources = {file.name: (name, file) for name, file in files}

    def prepared(batch: pa.Table) -> tuple[pa.Table, pa.Buffer, list[tuple[str, Any]]]:
        runs = by_source(batch) if sources else ()
        return batch, _cells(batch), [(source, standalone(rows, sources[source][1])) for source, rows in runs]

    with (
        closing(ahead(read, GROUPS_AHEAD)) as groups,
        writing(storage, parquet, MERGED, WRITING) as (table, file),
        storage.write(csv) as text,
        _BySource(storage, sources) as of_each,
        closing(in_turn(prepared, rebatched(groups, "raw"), min(cores(), PREPARING))) as batches,
        ThreadPoolExecutor(1) as aside,
    ):
        text.write((",".join(MERGED.names) + "\n").encode())
        for batch, cells, rejected in batches:
            written = aside.submit(table.write_table, batch)
            text.write(cells)
            for source, rows in rejected:
                of_each.write(source, rows)
            written.result()
    return {parquet: file.output, csv: text.output, **of_each.outputs}


def _read(storage: Storage, parts: dict[str, Output], samples: Samples | None) -> Iterator[pa.Table]:
    for name, output in parts.items():
        for group in row_groups(storage, name, output):
            if samples:
                samples.look(group)
            yield group.select(MERGED.names)


def _cells(batch: pa.Table) -> pa.Buffer:
    """Return the lines of a CSV file that spreadsheets can open safely."""
    reasons = pc.binary_join(batch["reasons"], ";")
    source, raw = no_formula(batch["source"]), no_formula(visible(batch["raw"]))
    cells = pa.table([batch["row"], source, reasons, raw], MERGED.names)
    lines = pa.BufferOutputStream()
    pa.csv.write_csv(cells, lines, pa.csv.WriteOptions(include_header=False))
    return lines.getvalue()


def standalone(rows: pa.ChunkedArray, file: SourceFile) -> Any:
    """Return the bytes of rows as `standalone_rows` writes them; of most, Arrow does that."""
    text = rows.combine_chunks()
    whole = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(text)], pa.int32()), text), "\n")
    lines = b"".join([whole[0].as_buffer(), b"\n"])
    if any(mark in lines for mark in (file.dialect.quote + "\\\r").encode()):
        return standalone_rows(text.to_pylist(), file.dialect).encode()
    return lines


class _BySource:
    """Writes the rejected rows of each source to a file of its own, one after another, as `gather` describes.

    ``outputs`` is complete when the ``with`` block has ended.
    """

    def __init__(self, storage: Storage, sources: dict[str, tuple[str, SourceFile]]) -> None:
        self.outputs = dict[str, Output]()
        self._storage, self._sources = storage, sources
        self._stack, self._source = ExitStack(), ""
        self._text: HashingFile

    def write(self, source: str, rows: Any) -> None:
        """Write rows of a source, behind those that it has so far."""
        if source != self._source:
            self._finish()
            name, file = self._sources[source]
            self._text, self._source = self._stack.enter_context(self._storage.write(name)), source
            if file.encoding:  # so that a profile that names another one reads it as UTF-8
                self._text.write(BOM)
            self._text.write(file.before.encode())
            if file.header:
                self._text.write(standalone_row(file.header, file.dialect).encode())
        self._text.write(rows)

    def _finish(self) -> None:
        if self._source:
            name, file = self._sources[self._source]
            self._text.write(file.after.encode())
            self._stack.close()
            self.outputs[name] = self._text.output

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        if error[0] is None:
            with self._stack:
                self._finish()
        else:
            self._stack.__exit__(*error)


def visible(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    r"""Write invisible characters, and those that a terminal obeys, like \u200b; tabs and line ends stay."""
    odd = pc.match_substring_regex(cells, r"[^\t\r\n -~]")
    if not pc.any(odd).as_py():
        return cells
    texts = [escaped(text, but="\t\r\n") for text in cells.filter(odd).to_pylist()]
    whole = pc.replace_with_mask(cells.combine_chunks(), odd.combine_chunks(), pa.array(texts, pa.string()))
    return pa.chunked_array([whole])


def no_formula(cells: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put a single quote before text that a spreadsheet would take for a formula, as OWASP advises on CSV injection.

    A spreadsheet that separates cells at semicolons, as in half of the world, or at tabs, makes several cells of one
    text, so each of these gets a quote if it needs one. The other columns are a number and names of Python functions.
    """
    starts = pc.is_in(pc.utf8_slice_codeunits(cells, 0, 1), value_set=STARTS)
    if pc.any(starts).as_py():
        cells = pc.replace_substring_regex(cells, AT_START, r"'\1")
    # Most texts have no separator, and their bytes show that faster than the expression.
    texts = [chunk.buffers()[2].to_pybytes() for chunk in cells.chunks if chunk.buffers()[2]]
    if any(bytes([separator]) in text for separator in SEPARATORS for text in texts) and (
        pc.any(pc.match_substring_regex(cells, AFTER_SEPARATOR)).as_py()
    ):
        cells = pc.replace_substring_regex(cells, AFTER_SEPARATOR, r"\1'\2")
    return cells


def by_source(rows: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield each source with its rejected rows, which stand one after another."""
    sources = column(rows, "source").dictionary_encode()
    codes = sources.indices.to_numpy()
    for start, end in pairwise([0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]):
        yield sources.dictionary[codes[start]].as_py(), rows["raw"].slice(start, end - start)
