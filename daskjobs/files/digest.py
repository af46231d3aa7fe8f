"""The size and SHA-256 of files, which manifests record, and a file that computes them as it is written."""

import hashlib
from dataclasses import dataclass, field
from typing import IO, Any, Self

from daskjobs.files.documents import written_as


@dataclass(frozen=True)
class Output:
    """A file's size in bytes and its SHA-256 when it was written."""

    size: int = field(metadata=written_as("bytes"))
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the size and hash of ``data``."""
        return cls(len(data), hashlib.sha256(data).hexdigest())


@dataclass(frozen=True)
class Piece:
    """A part of a file that can be read and verified alone: ``size`` bytes from byte ``start``, and their SHA-256."""

    start: int
    size: int = field(metadata=written_as("bytes"))
    sha256: str


class HashingFile:
    """A file being written; ``output`` has the size and hash of what was written so far."""

    closed = False  # pyarrow needs this attribute

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
        """Do nothing: the file is flushed when it is closed."""

    def close(self) -> None:
        """Do nothing: the code that opened the file closes it."""

    def tell(self) -> int:
        """Return the number of bytes written so far."""
        return self._bytes

    @property
    def output(self) -> Output:
        """Return the size and hash of what was written so far."""
        return Output(self._bytes, self._hash.hexdigest())
