"""What a manifest says of a file, and a file that can say it when it was written."""

import hashlib
from dataclasses import dataclass, field
from typing import IO, Any, Self

from daskjobs.files.documents import written_as


@dataclass(frozen=True)
class Output:
    """What a file held when it was written: its size in bytes and its SHA-256."""

    size: int = field(metadata=written_as("bytes"))
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Describe ``data`` itself."""
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Piece:
    """A part of a file that is read, and held against its SHA-256, alone: ``size`` bytes from byte ``start``."""

    start: int
    size: int = field(metadata=written_as("bytes"))
    sha256: str


class HashingFile:
    """A file being written; ``output`` says what has gone into it so far."""

    closed = False  # pyarrow asks

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._bytes = 0

    def write(self, data: Any) -> int:
        """Write anything that has the buffer protocol."""
        view = memoryview(data).cast("B")
        self._hash.update(view)
        self._bytes += len(view)
        self._file.write(view)
        return len(view)

    def flush(self) -> None:
        """Do nothing: the whole file counts, when it is closed."""

    def close(self) -> None:
        """Do nothing: who opened the file closes it."""

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._bytes

    @property
    def output(self) -> Output:
        """Describe what was written so far."""
        return Output(self._bytes, self._hash.hexdigest())
