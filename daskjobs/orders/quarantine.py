"""The rejected rows of all partitions, as Parquet and CSV in the order of the source, and by file, to be mended."""

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from operator import itemgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from daskjobs.display import escaped
from daskjobs.files.digest import Output
from daskjobs.files.storage import Storage
from daskjobs.files.tables import column, rebatched, row_groups, writing
from daskjobs.orders.schema import QUARANTINE, WRITING
from daskjobs.orders.sources.fields import standalone_row, standalone_rows
from daskjobs.orders.sources.format import SourceFile
from daskjobs.orders.sources.lines import BOM

FORMULA = r"[-=+@\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}]"  # the first character of a formula; four are full-width
STARTS = pa.array(list("-=+@\t\r\n \uff1d\uff0b\uff0d\uff20"))  # first characters of texts that `AT_START` may match
AT_START = rf"^([\t\r\n]| *{FORMULA})"
SEPARATORS = b";\t\r\n"  # separators of cells in spreadsheets that don't use commas, and so see no quotes around a text
AFTER_SEPARATOR = rf'([;\t\r\n][ "]*)({FORMULA})'
# Without the partition's number, so that the bytes don't depend on the partitions.
MERGED = pa.schema([field for field in QUARANTINE if field.name != "partition"])


def gather(storage: Storage, parts: dict[str, Output], parquet: str, csv: str) -> dict[str, Output]:
    """Write the rows of the partitions' files, ``parts``, to one file of Parquet and one of CSV."""
    groups = (group.select(MERGED.names) for name in parts for group in row_groups(storage, name, parts[name]))
    with writing(storage, parquet, MERGED, WRITING) as (table, file), storage.write(csv) as text:
        text.write((",".join(MERGED.names) + "\n").encode())
        for batch in rebatched(groups, "raw"):
            table.write_table(batch)
            reasons = pc.binary_join(batch["reasons"], ";")
            source, raw = no_formula(batch["source"]), no_formula(visible(batch["raw"]))
            cells = pa.table([batch["row"], source, reasons, raw], MERGED.names)
            pa.csv.write_csv(cells, text, pa.csv.WriteOptions(include_header=False))
    return {parquet: file.output, csv: text.output}


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


def by_file(
    storage: Storage, parquet: str, vouched: Output, files: Iterable[tuple[str, SourceFile]]
) -> dict[str, Output]:
    """Write the rejected rows of each file that has some, as they stood there, below its header if it has one.

    ``parquet`` is what `gather` wrote; ``files`` are those of the input, each after the name of the file to write.
    """
    sources = {file.name: (name, file) for name, file in files}
    groups = row_groups(storage, parquet, vouched, ["source", "raw"])
    pieces = (piece for rows in groups for piece in _runs(rows))
    outputs = dict[str, Output]()
    for source, rejected in groupby(pieces, itemgetter(0)):
        name, file = sources[source]
        with storage.write(name) as text:
            if file.encoding:  # so that a profile that names another one reads it as UTF-8
                text.write(BOM)
            text.write(file.before.encode())
            if file.header:
                text.write(standalone_row(file.header, file.dialect).encode())
            for _, raw in rejected:
                text.write(standalone_rows(raw.to_pylist(), file.dialect).encode())
            text.write(file.after.encode())
        outputs[name] = text.output
    return outputs


def _runs(rows: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    """Yield each source with its rejected rows, which stand one after another."""
    sources = column(rows, "source").dictionary_encode()
    codes = sources.indices.to_numpy()
    for start, end in pairwise([0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]):
        yield sources.dictionary[codes[start]].as_py(), rows["raw"].slice(start, end - start)
