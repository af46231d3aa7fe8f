"""Read, cut and hash ranges of lines, as CSV and JSON Lines both do; a format says where rows end in a block."""

import hashlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import IO, Any, ClassVar, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.cores import in_turn
from daskjobs.errors import InputError
from daskjobs.files.storage import Storage, damaged
from daskjobs.orders.dialect import NONE, Dialect
from daskjobs.orders.profiles.runs import Seam
from daskjobs.orders.sources.format import Block, Cuts, Ints, RowRange, SourceFile

BLOCK_BYTES = 4 << 20  # read, parsed and written at a time; a task's memory is proportional to it
BLOCK_ROWS = 1 << 17  # at most, since each row takes memory: a block of only line ends has four million rows
ROW_BYTES = 64 << 20  # of the longest row; a quote that is not closed within it opens no field
NEAR_BYTES = 64 << 10  # looked at, before and behind a place where a row is to be found
BOM = b"\xef\xbb\xbf"
NEWLINE = ord("\n")
WORD = 8  # bytes that are looked at together
ONE, HIGHEST = np.uint64(1), np.uint64(56)
PLACES = np.uint64(0x0001020304050607)  # times a word of which one byte is 1: the place of that in the highest byte

# What follows a block of bytes: more of the file; nothing; or more of a row that is already too long.
MORE, LAST, BEYOND = "more", "last", "beyond"

# Takes a block, which begins at a row's start, and what follows it; returns the offset behind each row that ends in it.
RowEnds = Callable[[bytes, str], Ints]


@dataclass(frozen=True, kw_only=True)
class LinesSource(SourceFile):
    """A file of lines. Its rejected rows are written as they stand.

    Its rows begin at byte ``start``, and ``footer`` bytes follow them.
    """

    ending: ClassVar[str] = "txt"
    start: int
    footer: int = 0

    @property
    def end(self) -> int:
        """The byte behind its last row."""
        return self.size - self.footer

    @property
    def dialect(self) -> Dialect:
        """How its rejected rows are written."""
        return Dialect(quoting=NONE)


S = TypeVar("S", bound=LinesSource)


@dataclass
class OpenRange:
    """A range to which rows are still added."""

    partition: int
    start: int
    first_row: int
    end: int = 0
    rows: int = 0
    lines: int | None = None
    digest: Any = field(default_factory=hashlib.sha256)

    def closed(self, file: int) -> tuple[int, RowRange]:
        """Return the range as it is now, after its partition."""
        return self.partition, RowRange(
            file=file,
            start=self.start,
            first_row=self.first_row,
            rows=self.rows,
            lines=self.lines,
            sha256=self.digest.hexdigest(),
            end=self.end,
        )


class _Here(Executor):
    """Does the work at once, where there is no next block to read meanwhile: starting a thread would take longer."""

    over = False

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Do it, and return its result. Raises RuntimeError after `shutdown`."""
        if self.over:
            raise RuntimeError("cannot schedule new futures after shutdown")
        done = Future[Any]()
        done.set_result(function(*arguments, **named))
        return done

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002  # nothing runs on
        """Take no more work, so that scans in other threads end with their block."""
        self.over = True


def line_ends(block: bytes, behind: str = MORE) -> Ints:  # noqa: ARG001  # each line is a row, whatever follows
    """Return the offset behind each line that ends in ``block``."""
    found = np.empty(-(-len(block) // WORD) * WORD, bool)
    np.equal(np.frombuffer(block, np.uint8), NEWLINE, out=found[: len(block)])
    found[len(block) :] = False
    words = found.view("<u8")
    some = np.flatnonzero(words != 0)  # which are fewer to look at than bytes
    words = words[some]
    if (words & (words - ONE)).any():  # two lines end within a word
        return np.flatnonzero(found) + 1
    ends: Ints = WORD * some + (words * PLACES >> HIGHEST).view(np.int64) + 1
    return ends


def count_lines(data: bytes | memoryview, last: bool) -> int:
    """Count line ends by their bytes; the end of the file (``last``) counts if the last row has no line end."""
    count = int(np.count_nonzero(np.frombuffer(data, np.uint8) == NEWLINE))
    return count + bool(last and len(data) and data[-1] != NEWLINE)


class LinesFormat(Generic[S]):
    """What formats of lines have in common: they add a name, the class of their sources, `sniff`, `describe`, `block`.

    Their line ends are ``counted`` where all of them are accounted for.
    """

    unit = "bytes"
    text = True
    counted = False

    def row_ends(self, source: S) -> RowEnds:  # noqa: ARG002  # those of CSV depend on it
        """Return what finds where rows end: each line is a row."""
        return line_ends

    def block(self, source: S, data: bytes, ends: Ints) -> Block:
        """Return the rows that end at ``ends``; bytes behind the last of them are ignored."""
        raise NotImplementedError

    def weight(self, source: S) -> int:
        """Return how many bytes of rows a file has."""
        return source.end - source.start

    def ranges(self, storage: Storage, source: S, cuts: Cuts) -> Iterator[tuple[int, RowRange]]:
        """Yield byte ranges that never cut a row: a row belongs to the partition in which it begins.

        Where a row is a line of an order, a range ends with the run in which it would end.
        Raises StorageError at the end when the whole file doesn't have the expected hash.
        """
        if cuts.threads > 1 and not (cuts.of_lines or cuts.sha256):  # both follow the file from its start
            yield from self._ranges_at_once(storage, source, cuts)
            return
        whole = hashlib.sha256() if cuts.sha256 else None
        aside = ThreadPoolExecutor(1) if source.size > BLOCK_BYTES else _Here()
        with storage.open(source.read, part=(0, source.end)) as file, aside:
            if whole:
                whole.update(file.read(source.start))
            yield from self._scan(file, source, cuts, source.start, aside, whole)
        if whole and whole.hexdigest() != cuts.sha256:
            raise damaged(storage.uri(source.read))

    def _ranges_at_once(self, storage: Storage, source: S, cuts: Cuts) -> Iterator[tuple[int, RowRange]]:
        """Yield the same ranges, each cut by one of several threads, from where its first row probably begins.

        Where the range before it turns out to end somewhere else, it is cut again from there.
        """
        here = _Here()

        def cut(file: IO[bytes], start: int) -> RowRange:
            with closing(self._scan(file, source, cuts, start, here)) as ranges:
                return next(ranges)[1]

        def ahead(partition: int) -> tuple[int, RowRange | Exception | None]:
            start = -1
            try:
                with storage.open(source.read) as file:
                    start = self._probable_start(file, source, source.start + max(0, cuts.end(partition - 1)))
                    return start, cut(file, start) if start >= 0 else None
            except Exception as error:  # perhaps only of this start
                return start, error

        partitions = range(cuts.partition(0), cuts.partition(self.weight(source) - 1) + 1)
        at, row = source.start, 1
        with closing(in_turn(ahead, partitions, cuts.threads, here.shutdown)) as found:
            for partition, (start, part) in zip(partitions, found, strict=True):
                if at == source.end or cuts.partition(at - source.start) != partition:  # no row begins in it
                    continue
                if start != at or part is None:
                    with storage.open(source.read) as file:
                        part = cut(file, at)
                elif isinstance(part, Exception):
                    raise part
                yield partition, replace(part, first_row=row)
                at, row = part.end, row + part.rows

    def _probable_start(self, file: IO[bytes], source: S, target: int) -> int:
        """Return where the first row from byte ``target`` on begins, if no quote that is open here hides it; else -1.

        It looks from the first line end on that is some KiB before: rows behind it soon show what quotes mean.
        """
        begin = max(source.start, target - NEAR_BYTES)
        file.seek(begin)
        data = file.read(min(source.end, target + NEAR_BYTES) - begin)
        first = data.find(b"\n") + 1 if begin > source.start else 0
        starts = begin + first + np.append(0, self.row_ends(source)(data[first:], MORE))
        starts = starts[starts >= target]
        return int(starts[0]) if len(starts) else -1

    def _scan(
        self, file: IO[bytes], source: S, cuts: Cuts, begin: int, aside: Executor, whole: Any = None
    ) -> Generator[tuple[int, RowRange], None, None]:
        """Yield the ranges of the rows from byte ``begin`` on, where one begins; their numbers count from 1.

        All that is read goes into the hash ``whole``, too, if one is given.
        """
        row, current, row_ends = 1, None, self.row_ends(source)
        seam: Seam | None = None
        counting: Future[Any] = aside.submit(int)  # counts and hashes a block while the next one is read

        def count_in(part: OpenRange, data: memoryview, last: bool) -> None:
            part.digest.update(data)
            if self.counted:
                part.lines = (part.lines or 0) + count_lines(data, last)
            if whole:
                whole.update(data)

        for offset, block, ends in blocks(file, begin, source.end, source.name, row_ends):
            starts, at = np.concatenate([[0], ends[:-1]]), 0  # at: rows of this block in a range already
            before = offset - source.start
            while at < len(ends):
                first = int(starts[at])
                partition = cuts.partition(before + first)
                upto = int(np.searchsorted(starts, cuts.end(partition) - before))
                if seam and current and current.partition != partition:
                    rest = self._rest(source, seam, block, ends, at)
                    if rest:
                        partition, upto = current.partition, at + rest
                    seam = seam if upto == len(ends) else None
                counting.result()
                if current is None or current.partition != partition:
                    if current:
                        yield current.closed(cuts.file)
                    current = OpenRange(partition, offset + first, row)
                    seam = Seam(cuts.of_lines, source.heading) if cuts.of_lines else None
                current.end = offset + int(ends[upto - 1])
                last = current.end == source.end
                counting = aside.submit(count_in, current, memoryview(block)[first : int(ends[upto - 1])], last)
                current.rows += upto - at
                row, at = row + upto - at, upto
        counting.result()
        if current:
            yield current.closed(cuts.file)

    def _rest(self, source: S, seam: Seam, data: bytes, ends: Ints, at: int) -> int:
        """Return how many rows of a block, from row ``at`` on, belong to the run before a partition's end."""
        back = 1 if at and not seam.asked else 0

        def parse(first: int, upto: int) -> Block:
            rows = ends[at - back + first : at - back + upto]
            begin = int(ends[at - back + first - 1]) if at - back + first else 0
            return self.block(source, data[begin : int(rows[-1])], rows - begin)

        return seam.rest(parse, len(ends) - at + back) - back

    def blocks(self, storage: Storage, source: S, part: RowRange) -> Iterator[Block]:
        """Yield a range's rows. Raises InputError at its end when they have changed since split."""
        digest = hashlib.sha256()
        with storage.open(source.read, part=(part.start, part.end)) as file:
            for _, data, ends in blocks(file, part.start, part.end, source.name, self.row_ends(source)):
                digest.update(memoryview(data)[: ends[-1]])
                yield self.block(source, data, ends)
        if digest.hexdigest() != part.sha256:
            raise InputError(f"{source.name} has changed since it was split: run again")


def raw_texts(data: bytes, ends: Ints) -> Callable[[Ints], pa.Array]:
    """Return what `Block.raw` is for the rows that end at ``ends``: their text, without what ends them."""

    def raw(which: Ints) -> pa.Array:
        starts = np.concatenate([[0], ends]).astype(np.int32)
        rows = pa.Array.from_buffers(pa.binary(), len(ends), [None, *map(pa.py_buffer, (starts, data))])
        text = _without_ends(rows.take(pa.array(which)), data, ends[which])
        try:
            return text.cast(pa.string())
        except pa.ArrowInvalid:
            return pa.array([row.decode(errors="backslashreplace") for row in text.to_pylist()], pa.string())

    return raw


def _without_ends(rows: pa.Array, data: bytes, ends: Ints) -> pa.Array:
    """Return rows, which end at ``ends`` of ``data``, without what ends them."""
    text = np.frombuffer(data, np.uint8)
    if len(rows) and len(text) and (text[ends - 1] == NEWLINE).all():
        returns = text[np.maximum(ends - 2, 0)] == ord("\r")
        if returns.all() == returns.any():  # all alike, as usual
            return pc.binary_slice(rows, 0, -2 if returns.all() else -1)
    return pc.replace_substring_regex(rows, r"\r?\n?\z", "")


def raw_rows(data: bytes, ends: Ints, which: Ints) -> list[bytes]:
    """Return the bytes of some rows, without what ends them."""
    starts = np.concatenate([[0], ends[:-1]])
    return [
        data[start:end].removesuffix(b"\n").removesuffix(b"\r")
        for start, end in zip(starts[which].tolist(), ends[which].tolist(), strict=True)
    ]


def blocks(
    file: IO[bytes], start: int, end: int, name: str, row_ends: RowEnds = line_ends
) -> Iterator[tuple[int, bytes, Ints]]:
    """Read bytes ``start`` to ``end`` of a file in blocks of whole rows.

    Yields each block's offset in the file, its bytes, and the offset in it after each of its rows. The bytes after the
    last row belong to the next block, and are read again with it: copying them would take longer, with Python's lock
    held. The file's last row needs no line end. A quote that is not closed before ``end`` is a plain character: a range
    always ends with a row, so an open field would have made the range longer.
    Raises InputError for a row longer than ROW_BYTES.
    """
    size = BLOCK_BYTES
    while start < end:
        file.seek(start)
        wanted = min(size, ROW_BYTES, end - start)
        data = file.read(wanted)
        if len(data) < wanted:
            raise InputError(
                f"{name} ended at byte {start + len(data)}, before byte {end}: it changed while it was read; run again"
            )
        last = start + len(data) == end
        ends = row_ends(data, LAST if last else MORE)
        if last and (not len(ends) or ends[-1] < len(data)):
            ends = np.append(ends, len(data))
        if not len(ends) and wanted == ROW_BYTES:
            ends = row_ends(data, BEYOND)[:1]
            if not len(ends):
                raise InputError(
                    f"{name} has a row of more than {ROW_BYTES >> 20} MiB from byte {start}: check that it is a "
                    "text file with a row on each line"
                )
        if not len(ends):
            size, data = 2 * size, b""
            continue
        if len(data) > BLOCK_BYTES:  # it grew until its first row ended; the next blocks have the usual size
            ends = ends[: max(1, np.searchsorted(ends, BLOCK_BYTES, "right"))]
            data = data[: ends[-1]]
        for first in range(0, len(ends), BLOCK_ROWS):
            begin, upto = int(ends[first - 1]) if first else 0, ends[first : first + BLOCK_ROWS]
            yield start + begin, data[begin : upto[-1]] if len(upto) < len(ends) else data, upto - begin
        start, size = start + int(ends[-1]), BLOCK_BYTES
