"""The plan of a run: its files, and which of their rows each partition has."""

from dataclasses import dataclass, field

from daskjobs.files.digest import Output
from daskjobs.files.documents import read_by, written_as
from daskjobs.orders.profiles import Profile
from daskjobs.orders.sources import format_of, read_sources
from daskjobs.orders.sources.format import RowRange, SourceFile


@dataclass(frozen=True)
class Partition:
    """The rows of one Dask task: its number, counted from 0, the number of its rows, and their ranges."""

    number: int = field(metadata=written_as("partition"))
    rows: int
    ranges: list[RowRange]


@dataclass(frozen=True)
class Plan:
    """All rows of the input, and the partition of each.

    ``extra`` are the columns of the files that aren't ours. ``truth`` is what the file of the known anomalies
    must hold, where the orders were generated. ``profile`` says what the columns mean, if one was given.
    """

    rows: int
    extra: list[str]
    truth: Output | None
    files: list[SourceFile] = field(metadata=read_by(read_sources))
    partitions: list[Partition]
    profile: Profile | None = None

    def __post_init__(self) -> None:
        for number, partition in enumerate(self.partitions):
            if partition.number != number:
                raise ValueError(f"partitions[{number}] is of the number {partition.number}")
            for part in partition.ranges:
                if part.file >= len(self.files):
                    raise ValueError(f"partitions[{number}] has rows of files[{part.file}], which is not there")

    def files_of(self, partition: Partition) -> dict[int, SourceFile]:
        """Return the files of a partition's rows, by their position in the input."""
        return {part.file: self.files[part.file] for part in partition.ranges}

    def place(self, partition: Partition) -> str:
        """Return a text about a partition's rows: their files, and the position in each."""
        places = []
        for part in partition.ranges:
            file = self.files[part.file]
            places.append(f"{file.name} {format_of(file).unit} {part.start} to {part.end}, {part.rows} rows")
        return "; ".join(places)
