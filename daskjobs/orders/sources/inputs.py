"""Find the files that --input names by a path, a URI or a glob, or say what it names instead."""

import hashlib
import os
import stat
from typing import Any

from fsspec.core import has_magic
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from daskjobs.display import listed
from daskjobs.errors import DaskjobsError, InputError
from daskjobs.files.storage import explained, filesystem

KINDS = {
    stat.S_IFIFO: "a pipe, which can be read only once: write what comes out of it to a file",
    stat.S_IFSOCK: "a socket: give a file",
    stat.S_IFCHR: "a device: give a file",
    stat.S_IFBLK: "a device: give a file",
}
LEVELS = 3  # of folders between a file and its table's folder, as partitioned tables have them
TABLES = {
    "_delta_log": "Delta",
    "metadata/*.metadata.json": "Iceberg",
    ".hoodie": "Hudi",
}


def find_inputs(pattern: str) -> dict[str, str]:
    """Return the files that a path, URI or glob names, each with a mark that changes when the file does.

    A file that has exactly this name is meant, even if the name looks like a glob. Raises InputError when there is no
    file, and says what there is instead.
    """
    name = f"--input {listed(pattern)}"
    try:
        fs, path = filesystem(pattern)
        with explained(f"look for {listed(pattern)}"):
            fs.invalidate_cache()
            files = _files(fs, path)
            parquet = [each for each in files if each.endswith(".parquet")] if files else [path]
            inside = next(filter(None, (_table(fs, folder) for folder in _folders(parquet))), None)
            marks = {_uri(fs, each, pattern): _mark(fs, each) for each in files}
            instead = "" if files else _instead(fs, path)
    except DaskjobsError as error:
        raise InputError(f"{name} can't be reached: {error}") from error
    except Exception as error:  # file systems of fsspec raise what their clients do
        raise InputError(f"{name} can't be reached: {type(error).__name__}: {error}") from error
    if inside:
        raise InputError(
            f"{name} is of {inside} table: its Parquet files alone may hold rows that were deleted or replaced; export "
            "the table's rows (COPY, or a query that writes Parquet or CSV) and give that file"
        )
    if not marks:
        raise InputError(f"{name} {instead}")
    return marks


def _files(fs: Any, path: str) -> list[str]:
    if fs.exists(path):
        return [path] if fs.isfile(path) and not _special(fs, path) else []
    return sorted(name for name in fs.glob(path) if fs.isfile(name)) if has_magic(path) else []


def _special(fs: Any, path: str) -> str:
    """Return what a local path is if it is neither a file nor a folder, or an empty text."""
    if not isinstance(fs, LocalFileSystem):
        return ""
    return KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")


def _uri(fs: Any, path: str, pattern: str) -> str:
    """Return the URI of a file; the URI of a file in an archive ends with the archive's own."""
    first, chained, rest = pattern.partition("::")
    if isinstance(fs, LocalFileSystem) or not chained:
        return str(fs.unstrip_protocol(path))
    protocol = first.partition("://")[0]
    return f"{protocol}://{path}::{rest if '://' in rest else os.path.abspath(os.path.expanduser(rest))}"


def _mark(fs: Any, path: str) -> str:
    """Return a text that changes when a file does; fsspec's own text for a web address depends on the token in it."""
    if not isinstance(fs, LocalFileSystem) and get_protocol(path) not in ("http", "https"):
        return str(fs.ukey(path))
    about = sorted((key, str(value)) for key, value in fs.info(path).items() if key not in ("name", "url"))
    return hashlib.sha256(repr(about).encode()).hexdigest()


def _folders(paths: list[str]) -> list[str]:
    """Return the folders that these paths are or lie in, and that may be a table's."""
    folders = dict.fromkeys(paths[:1] if len(paths) == 1 else [])
    for folder in list(dict.fromkeys(path.rpartition("/")[0] for path in paths))[:100]:
        for _ in range(LEVELS):
            folders[folder] = None
            folder = folder.rpartition("/")[0]
    return [folder for folder in folders if folder]


def _table(fs: Any, folder: str) -> str:
    """Return the kind of table that a folder is, with its article, or an empty text."""
    for mark, kind in TABLES.items():
        if fs.glob(f"{_literal(folder)}/{mark}") if has_magic(mark) else fs.exists(f"{folder}/{mark}"):
            return f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind}"
    return ""


def _literal(path: str) -> str:
    """Return a glob that matches nothing but a path."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in path)


def _instead(fs: Any, path: str) -> str:
    """Say what a path that names no file names."""
    if fs.isdir(path):
        try:
            fs.ls(path)
        except PermissionError:
            return "is a folder that may not be looked into: ask for the right to it"
        return f"is a folder: give a glob in quotes, like '{listed(path)}/*.csv'"
    if isinstance(fs, LocalFileSystem):
        try:
            kind = _special(fs, path)
        except PermissionError:
            return "may not be looked at: ask for the right to its folder"
        except OSError:
            kind = ""
        if kind:
            return f"is {kind}"
    return "names no file; give the path, URI or glob of CSV or Parquet files of orders"
