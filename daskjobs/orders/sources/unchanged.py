"""Tells whether a file still reads as it did when a run was planned, by the hashes that its plan has."""

import hashlib
import tempfile
from collections.abc import Iterable
from contextlib import closing

from daskjobs.errors import InputError
from daskjobs.files.storage import Storage
from daskjobs.orders.dialect import InputFormat
from daskjobs.orders.profiles import Profile
from daskjobs.orders.sources import describe, format_of, unpack
from daskjobs.orders.sources.format import RowRange, SourceFile
from daskjobs.orders.sources.lines import BLOCK_BYTES, LinesFormat


def reads_the_same(
    uri: str, file: SourceFile, ranges: Iterable[RowRange], said: InputFormat, profile: Profile | None
) -> bool:
    """Tell whether the file at ``uri`` has the rows that ``file`` describes, of which ``ranges`` have the hashes.

    Reads the file to its end, unless its size or its header says that it has changed. A plan has the hash of all of an
    unpacked file, and of all rows of a file of lines. It has no hash of a Parquet file's rows: returns False.
    """
    with tempfile.TemporaryDirectory() as folder:  # where nothing is written, unless the file is of another kind by now
        storage = Storage(folder, secrets={file.name: uri})
        try:
            if file.unpacked:
                encoding = file.encoding if profile else said.encoding
                return unpack.plain_output(storage, file.name, encoding) == file.unpacked
            if not isinstance(format_of(file), LinesFormat) or storage.size(file.name) != file.size:
                return False
            found = describe(storage, file.name, "unpacked", said, profile)
        except InputError:
            return False
        return found == file and all(_has(storage, file.name, part) for part in ranges)


def _has(storage: Storage, name: str, part: RowRange) -> bool:
    """Tell whether a file has the bytes of a range."""
    digest, left = hashlib.sha256(), part.end - part.start
    with closing(storage.open(name, part=(part.start, part.end))) as opened:
        opened.seek(part.start)
        while left and (data := opened.read(min(left, BLOCK_BYTES))):
            digest.update(data)
            left -= len(data)
    return not left and digest.hexdigest() == part.sha256
