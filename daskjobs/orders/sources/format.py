"""What a format of order files is: how to recognise, describe, cut and read its files. `FORMATS` has all of them."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import IO, ClassVar, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import ConfigError, InputError
from daskjobs.files.digest import Output
from daskjobs.files.documents import written_as
from daskjobs.files.storage import Storage
from daskjobs.orders.dialect import COMMAS, Dialect, InputFormat
from daskjobs.orders.parse import trimmed
from daskjobs.orders.plain import Plain
from daskjobs.orders.profiles import FileForm, Profile
from daskjobs.orders.profiles.columns import amount_names, raw_names
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources.names import needed_names, our_names

BLANKS = " \t"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class InputFile:
    """A file of the input that has not been described yet.

    ``name`` is its path or URI, and ``first`` its first MiB at least, if it has so much. ``said`` is what the user says
    of how it is written, and ``columns`` which of its columns stand for ours, by ours. ``open`` gives its bytes, of
    which there are ``size``. All this is unpacked, and decoded if it is text. ``read`` and ``unpacked`` are those of
    `SourceFile`, and so is ``encoding``. A packed file of text is described twice: by ``first`` alone, before all of it
    is unpacked.
    """

    name: str
    first: bytes
    said: InputFormat
    columns: dict[str, str]
    read: str
    size: int
    open: Callable[..., IO[bytes]]
    unpacked: Output | None = None
    profile: Profile | None = None
    encoding: str = ""

    def refuse_numbers(self, fractions: Collection[str]) -> None:
        """Raise InputError where columns of amounts hold numbers with a point that a profile reads as none.

        ``fractions`` are the columns with numbers that are no texts and not whole.
        """
        values = self.profile.values if self.profile else None
        if not self.profile or not values or (values.decimal == "." and "." not in values.thousands):
            return
        if found := sorted(amount_names(self.profile) & {*fractions}):
            raise InputError(
                f"{self.name} has numbers in {', '.join(found)}, which are no texts: their point is decimal, and "
                f"[values] of the profile {self.profile.name} says otherwise: leave decimal and thousands out for it"
            )

    def named(self, header: list[str]) -> list[str]:
        """Return a file's columns under our names, or with a profile its own. Raises InputError if one is missing."""
        if self.profile:
            return raw_names(header, self.profile, self.name)
        return our_names(header, self.columns, self.name)

    @property
    def form(self) -> FileForm:
        """What the profile says of how the file is written, or an empty form."""
        return self.profile.file if self.profile else FileForm()

    @property
    def meant(self) -> dict[str, str]:
        """The names of columns that the profile uses, each with the one of ours that it is for, if it is for one."""
        if not self.profile:
            return {}
        needed = needed_names(self.profile)
        return {name: ours for ours in reversed(needed) for name in needed[ours]}  # a column may be for two of ours

    @property
    def needed(self) -> set[str]:
        """The names of columns that are looked for in the file."""
        return {*self.meant} if self.profile else {self.columns.get(column, column) for column in COLUMNS}

    @property
    def beginning(self) -> "InputFile":
        """The beginning of the file, of which nobody knows yet where it ends."""
        if not self.profile:
            return self
        return replace(self, profile=replace(self.profile, file=replace(self.form, footer_lines=0)))

    def refuse_form(self, kind: str, keys: Iterable[str]) -> None:
        """Raise ConfigError when the profile says something that a file of this kind doesn't have."""
        for key in keys:
            if self.profile and getattr(self.form, key) != getattr(FileForm(), key):
                raise ConfigError(
                    f"{self.name} is {kind}, where {key} of [file] in the profile {self.profile.name} means nothing: "
                    "leave it out there, or give this file to a run of its own"
                )


@dataclass(frozen=True)
class HeaderLines:
    """The number of line ends before and after a file's rows, and of those inside the names of columns.

    ``headers`` is the number of header rows, one or none, and ``outside`` that of the lines that a profile leaves out,
    and of blank ones above a header.
    """

    lines: int
    inside: int
    headers: int = 1
    outside: int = 0


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file of the input, as the run's plan describes it; each format has a frozen dataclass that extends it.

    ``name`` is its path or URI, without passwords or tokens, ``kind`` the name of its format. ``read`` is the file that
    is read: itself, or its plain bytes in the run, which then are ``unpacked``; it has ``size`` bytes. ``columns`` are
    its columns under our names, ``header`` the first row of the file of its rejected rows, if that has one, whose name
    ends with ``ending``; ``before`` and ``after`` are what stands there around the rows. ``encoding`` is the one that a
    profile found, ``nulls`` are the texts that are to be read as empty. ``utf8`` says that it looks like UTF-8, though
    it was decoded as --encoding says.
    """

    ending: ClassVar[str] = "csv"  # or jsonl, or txt
    name: str
    read: str
    kind: str
    size: int = field(metadata=written_as("bytes"))
    columns: list[str]
    header: str = ""
    before: str = ""
    after: str = ""
    encoding: str = ""
    nulls: list[str] = field(default_factory=list)
    unpacked: Output | None = None
    utf8: bool = False

    @property
    def heading(self) -> list[str]:
        """What its header says of each of its columns, or else their names."""
        return self.columns

    @property
    def dialect(self) -> Dialect:
        """How its rejected rows are written: what `Block.raw` gives are lines of this dialect."""
        return COMMAS

    @property
    def header_lines(self) -> HeaderLines | None:
        """The line ends of its header, where all lines of the file are accounted for."""
        return None

    @property
    def written(self) -> dict[str, Output]:
        """The files that were written into the run in order to read it: its plain bytes, if it was unpacked."""
        return {self.read: self.unpacked} if self.unpacked else {}


@dataclass(frozen=True, kw_only=True)
class RowRange:
    """Consecutive rows of a file, which belong to one partition.

    ``file`` is the file's place in the input; ``start`` and ``end`` (not included) are in the format's unit.
    ``first_row`` counts from 1. ``sha256`` changes when the rows do, at least when their file is another one.
    ``lines`` are their line ends, where all lines of the file are accounted for.
    """

    file: int
    start: int
    first_row: int
    rows: int
    lines: int | None = None
    sha256: str
    end: int


@dataclass(frozen=True)
class Cuts:
    """Where to cut a file, so that all ``count`` partitions of the input have about the same weight.

    ``file`` is the file's position in the input; the files before it weigh ``before``, and all files ``total``.
    ``sha256`` is the hash that the whole file must have, or empty if it is not known. With a ``profile`` of line
    items, no run of an order's lines is cut. So many ``threads`` may cut a file that can be cut in several places.
    """

    file: int
    before: int
    total: int
    count: int
    sha256: str = ""
    profile: Profile | None = None
    threads: int = 1

    @property
    def of_lines(self) -> Profile | None:
        """The profile, if a row is a line of an order."""
        return self.profile if self.profile and self.profile.by_line else None

    def partition(self, weight: int) -> int:
        """Return the partition of the row that begins after rows of this ``weight``."""
        return min(self.count - 1, (self.before + weight) * self.count // max(1, self.total))

    def end(self, partition: int) -> int:
        """Return the weight in this file at which a partition ends."""
        return -(-(partition + 1) * self.total // self.count) - self.before


@dataclass(frozen=True)
class BlockLines:
    """The line ends in the fields of a block's rows.

    ``inside`` is their number. ``several`` has the rows that look like several rows, because at least two of their
    lines have as many fields as the header, each with the number of line ends in it.
    """

    inside: int
    several: dict[int, int]


@dataclass(frozen=True)
class Block:
    """Some ``rows`` of a source, one after another.

    ``fields`` are those of the rows that could be read, ``kept`` has the place of each of these in the block, and
    ``malformed`` the reason of each other row by its place; ``raw`` returns the text of rows, as it stands in the
    source, by their places. ``lines`` is there where all lines of the file are accounted for. ``furniture`` are the
    places of rows that a profile takes for no orders; they are neither kept nor malformed. ``apart`` are those of them
    with an order id of their own. ``runs`` is there where a row is a line of an order: the number of each kept row's
    run (see `profiles.runs`), from 0.
    """

    rows: int
    fields: pa.Table | Plain
    kept: Ints
    malformed: dict[int, str]
    raw: Callable[[Ints], pa.Array]
    lines: BlockLines | None = None
    furniture: Ints | None = None
    apart: Ints | None = None
    runs: Ints | None = None

    @cached_property
    def texts(self) -> pa.Table:
        """The fields as texts."""
        return self.fields.table() if isinstance(self.fields, Plain) else self.fields


def joined(blocks: list[Block]) -> Block:
    """Return the rows of blocks that have the same columns, one block after another, as one block."""
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(each.rows for each in blocks)])
    placed = list(zip(blocks, starts.tolist(), strict=False))

    def raw(which: Ints) -> pa.Array:
        of = np.split(which, np.searchsorted(which, starts[1:-1]))
        some = [each.raw(rows - start) for (each, start), rows in zip(placed, of, strict=True) if len(rows)]
        return pa.concat_arrays(some) if some else pa.array([], pa.string())

    counted = [(each.lines, start) for each, start in placed if each.lines]
    several = {row + start: count for each, start in counted for row, count in each.several.items()}
    furniture = [each.furniture + start for each, start in placed if each.furniture is not None]
    apart = [each.apart + start for each, start in placed if each.apart is not None]
    return Block(
        rows=int(starts[-1]),
        fields=pa.concat_tables([each.texts for each in blocks]).combine_chunks(),
        kept=np.concatenate([each.kept + start for each, start in placed]),
        malformed={row + start: reason for each, start in placed for row, reason in each.malformed.items()},
        raw=raw,
        lines=BlockLines(sum(each.inside for each, _ in counted), several) if counted else None,
        furniture=np.concatenate(furniture) if furniture else None,
        apart=np.concatenate(apart) if apart else None,
    )


def without_nulls(block: Block, nulls: list[str]) -> Block:
    """Return a block in which texts that are one of ``nulls``, but for blanks and tabs around them, are empty."""
    if not nulls:
        return block
    texts, wanted = block.texts, list(dict.fromkeys(each.strip(BLANKS) for each in nulls))
    for index, column in enumerate(texts.columns):
        values = column.combine_chunks()
        rows = _maybe(values, wanted)
        if len(rows):
            found = pc.is_in(trimmed(values.take(pa.array(rows))), pa.array(wanted, pa.string()))
            rows = rows[found.to_numpy(zero_copy_only=False)]
        if len(rows):
            empty = np.zeros(len(values), bool)
            empty[rows] = True
            texts = texts.set_column(index, texts.column_names[index], pc.if_else(pa.array(empty), "", values))
    return block if texts is block.texts else replace(block, fields=texts)


def _maybe(values: pa.StringArray, wanted: list[str]) -> Ints:
    """Return the places of texts that begin and end as one of these does, or with a blank: few, and quickly found."""
    _, offsets, data = values.buffers()
    if not len(values) or not data:
        return np.zeros(0, np.int64)
    bounds = np.frombuffer(offsets, np.int32)[values.offset : values.offset + len(values) + 1]
    text = np.frombuffer(data, np.uint8)
    rows = np.flatnonzero(_has(text.take(bounds[:-1], mode="clip"), [each[:1] for each in wanted]))
    rows = rows[bounds[rows] < bounds[rows + 1]]
    return rows[_has(text[bounds[rows + 1] - 1], [each[-1:] for each in wanted])]


def _has(ends: npt.NDArray[np.uint8], characters: list[str]) -> npt.NDArray[np.bool_]:
    """Tell which bytes are a blank, a tab or of these characters."""
    found = np.zeros(len(ends), bool)
    for each in {*BLANKS.encode(), *"".join(characters).encode()}:
        found |= ends == each
    return found


S = TypeVar("S", bound=SourceFile)


class Format(Protocol[S]):
    """A format of order files. A new one is a module of its own, and one line in `FORMATS`."""

    @property
    def name(self) -> str:
        """Its name, which `SourceFile.kind` holds."""

    @property
    def unit(self) -> str:
        """What `RowRange.start` and ``end`` count, in the plural: bytes, for example."""

    @property
    def source(self) -> type[S]:
        """The dataclass that describes its files."""

    @property
    def text(self) -> bool:
        """Whether its files are text, which is decoded as --encoding says."""

    def sniff(self, first: bytes) -> bool:
        """Tell whether a file that begins with these bytes, unpacked and decoded, is of this format."""

    def describe(self, file: InputFile) -> S:
        """Describe a file. Raises InputError when it can't be read, or doesn't have the columns of orders."""

    def weight(self, source: S) -> int:
        """Return about how many bytes a file's rows have, before compression: the measure of partitions."""

    def ranges(self, storage: Storage, source: S, cuts: Cuts) -> Iterator[tuple[int, RowRange]]:
        """Yield the ranges of all of a file's rows, each with the number of its partition, in ascending order."""

    def blocks(self, storage: Storage, source: S, part: RowRange) -> Iterator[Block]:
        """Yield a range's rows. Raises InputError, at its end at the latest, when they have changed since split."""
