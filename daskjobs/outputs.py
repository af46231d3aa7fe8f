"""What a manifest says of a file, and a file that can say it when it was written."""

import hashlib
from dataclasses import dataclass
from typing import IO, Any, Self

from daskjobs.manifest import FileSaid


@dataclass(frozen=True)
class Output:
    """What a file held when it was written: its size in bytes and its SHA-256."""

    size: int
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Describe ``data`` itself."""
        return cls(len(data), hashlib.sha256(data).hexdigest())

    @classmethod
    def vouched(cls, said: FileSaid) -> Self:
        """Read back what `json` wrote."""
        return cls(said["bytes"], said["sha256"])

    def json(self) -> FileSaid:
        """Return what a manifest says of the file."""
        return {"bytes": self.size, "sha256": self.sha256}


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
