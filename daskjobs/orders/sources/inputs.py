"""Finds the files that --input names by a path, a URI or a glob, or says what the name is instead."""

import hashlib
import logging
import os
import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import zip_longest
from typing import Any

from fsspec.core import OpenFile, has_magic
from fsspec.implementations.local import LocalFileSystem

from daskjobs.display import listed
from daskjobs.errors import DaskjobsError, InputError
from daskjobs.events import event
from daskjobs.files import web
from daskjobs.files.storage import UnavailableError, explained, file_uri, filesystem, local_path

CONTROL_ENDING = ".control.json"  # of the name of a control file, behind that of its file of orders
KINDS = {
    stat.S_IFIFO: "a pipe, which can be read only once: write what comes out of it to a file",
    stat.S_IFSOCK: "a socket: give a file",
    stat.S_IFCHR: "a device: give a file",
    stat.S_IFBLK: "a device: give a file",
}
NUMBER = re.compile(r"([0-9]+)")
NAMED = 3  # names in a message
FEW = 16  # files whose control files are asked for one by one; of more, their folders are listed
LEVELS = 3  # of folders between a file and its table's folder, not counting those of partitions
PARTITIONS = re.compile(r".*=.*|[01]+")  # day=1, or the hashes that Iceberg makes of names in object stores
# Every table has such a folder, with a file whose name matches. An empty folder doesn't make a table.
TABLES = {
    "Delta": ("_delta_log", re.compile(r"\d+(\.json|\.checkpoint\b.*\.(parquet|json))")),
    "Iceberg": ("metadata", re.compile(r"(v\d+|\d+-[0-9a-fA-F-]+)(\.gz)?\.metadata\.json(\.gz)?")),
    "Hudi": (".hoodie", re.compile(r"hoodie\.properties")),
}
# Bookkeeping files like _SUCCESS, _metadata and .part-0.crc, which Spark, Hive and pyarrow write and skip, too. A
# warning names skipped files that don't match.
BOOKKEEPING = re.compile(
    r"\..*|_SUCCESS|_metadata|_common_metadata|_(committed|started)_.*|_delta_log|_temporary|_spark_metadata|__MACOSX"
)


class NoFilesError(InputError):
    """A path, URI or glob names no file."""


def find_inputs(pattern: str, ignore_table: bool = False, marked: bool = True) -> dict[str, str]:
    """Return the files that a path, URI or glob names, each with a mark that changes when the file does.

    A file with exactly this name takes precedence, even if the name looks like a glob. A glob skips control files (see
    `find_controls`), and names that begin with a dot or an underscore, unless its own do. Unless the files are to be
    ``marked``, which takes the longest, all marks are empty. Raises InputError, which says what is there instead, when
    there is no file, when a file belongs to a table, unless ``ignore_table``, and for a control file without its file.
    """
    name = f"--input {listed(pattern)}"
    try:
        fs, path = filesystem(pattern)
        with explained(f"look for {listed(pattern)}"):
            fs.invalidate_cache()
            found = _files(fs, path)
            files = [each for each in found if not _hidden(each, path)]
            inside = _inside(fs, files, path, ignore_table)
            marks = {_uri(fs, each, pattern): _mark(fs, each) if marked else "" for each in files}
            passed = sorted({_hidden(each, path) for each in found} - {""})
            twice = next((each for each in files if _times(fs, each) > 1), "")
            alone = next((each for each in found if each not in files and _is_alone(fs, each, files)), "")
            instead = "" if files else _finds_only(passed) if passed else _instead(fs, path, pattern)
    except UnavailableError:
        raise
    except DaskjobsError as error:
        raise InputError(f"{name} can't be reached: {error}") from error
    except Exception as error:  # fsspec's file systems raise their clients' exceptions
        raise InputError(f"{name} can't be reached: {type(error).__name__}: {error}") from error
    if inside:
        advice = "; if it is no table, or these rows may count, give --ignore-table true" if marks else ""
        raise InputError(
            f"{name} is of {inside}, and its Parquet files alone may hold rows that were deleted or replaced; export "
            f"the table's rows (COPY, or a query that writes Parquet or CSV) and give that file{advice}"
        )
    if twice:
        raise InputError(
            f"{name} is of a zip archive with several files named {listed(twice)}: unpack the one that you mean, and "
            "give its path"
        )
    if found == [path] and path.lower().endswith(CONTROL_ENDING):
        raise InputError(f"{name} is a control file, which says how many orders were sent: give the file of orders")
    if alone:
        raise InputError(
            f"{name} has the control file {listed(alone)}, and {listed(alone.removesuffix(CONTROL_ENDING))} is not "
            "there: ask its sender for it, or remove the control file"
        )
    if not marks:
        raise NoFilesError(f"{name} {instead}")
    if unknown := [each for each in passed if not BOOKKEEPING.fullmatch(each) and not each.endswith(CONTROL_ENDING)]:
        event("input.passed_over", level=logging.WARNING, names=listed(", ".join(unknown[:NAMED])), of=len(unknown))
    return marks


def find_controls(files: Iterable[str]) -> dict[str, str]:
    """Return the control file of each of the ``files`` that has one, by URI: beside it, with its name and an ending.

    Files in archives and on web servers have none: a web server may answer anything for a name that it doesn't have.
    A warning names those whose ending is written in other letters, where a folder is listed: on this machine, and for
    more than `FEW` files.
    """
    wanted = [uri for uri in files if "::" not in uri and not uri.startswith(("http://", "https://"))]
    listings, found = dict[str, dict[str, str]](), dict[str, str]()
    with explained("look for control files"):
        for uri in wanted:
            local = uri.startswith("file://")
            folder, _, last = (local_path(uri) if local else uri).rpartition("/")
            lists = len(wanted) > FEW and not folder.endswith("/")  # which is no folder, as in memory://orders.csv
            if (lists or local) and folder not in listings:
                listings[folder] = _controls_in(folder)
            seen = listings.get(folder, {}).get(last, "")
            if seen.endswith(CONTROL_ENDING) or (not lists and _exists(*filesystem(f"{uri}{CONTROL_ENDING}"))):
                found[uri] = f"{uri}{CONTROL_ENDING}"
            elif seen:
                why = f"the name of a control file ends with {CONTROL_ENDING}, in small letters"
                event("control.passed_over", level=logging.WARNING, file=listed(seen), why=why)
    return found


def _controls_in(folder: str) -> dict[str, str]:
    """Return the names of the control files in a folder by those of their files, whatever letters their ending has."""
    names = [each for each in _listing(folder) if each.lower().endswith(CONTROL_ENDING)]
    names.sort(key=lambda each: each.endswith(CONTROL_ENDING))  # of two with one file, the right one comes last
    return {each[: -len(CONTROL_ENDING)]: each for each in names}


def _exists(fs: Any, path: str) -> bool:
    with _allowed(path):
        return bool(fs.exists(path))
    return False


def _listing(folder: str) -> list[str]:
    with _allowed(folder):
        return _names(*filesystem(folder or "/"))
    return []


@contextmanager
def _allowed(name: str) -> Iterator[None]:
    """Take no for an answer: it is what S3 gives for a file that isn't there to who may not list its folder."""
    try:
        yield
    except PermissionError:
        event("control.unseen", level=logging.WARNING, file=listed(name))


def _is_alone(fs: Any, file: str, files: list[str]) -> bool:
    """Tell whether a file is a control file whose file of orders isn't there."""
    of = file.removesuffix(CONTROL_ENDING)
    return of != file and of not in files and not _exists(fs, of)


def _files(fs: Any, path: str) -> list[str]:
    if web.is_web(fs):
        return [path] if web.look(fs, path) else sorted(fs.glob(path), key=_counted) if has_magic(path) else []
    if fs.exists(path):
        return [path] if fs.isfile(path) and not _special(fs, path) else []
    return sorted((name for name in fs.glob(path) if fs.isfile(name)), key=_counted) if has_magic(path) else []


def _counted(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """Return the key by which names are sorted as people count: numbers in them by their value, o-2 before o-10.

    >>> sorted(["o-10", "o-2", "o-02", "o"], key=_counted)
    ['o', 'o-02', 'o-2', 'o-10']
    """
    texts, numbers = NUMBER.split(name)[::2], (each.lstrip("0") for each in NUMBER.findall(name))
    values = [(len(number), number) for number in numbers]
    return [part for pair in zip_longest(texts, values) for part in pair if part is not None], name


def _times(fs: Any, path: str) -> int:
    """Return the number of files of this name in a zip archive, of which fsspec would read the last; 1 elsewhere."""
    archive = getattr(fs, "zip", None)
    return archive.namelist().count(path) if isinstance(archive, zipfile.ZipFile) else 1


def _hidden(file: str, path: str) -> str:
    """Return the first part of a file's path that makes a glob skip it, or an empty text.

    These are names that begin with a dot or an underscore, unless the glob's own do, as in data/_*.csv; and the names
    of control files.
    """
    if file.lower().endswith(CONTROL_ENDING):
        return file.rpartition("/")[2]
    if file == path:
        return ""
    wanted, parts = path.split("/"), file.split("/")
    literal = next(at for at, part in enumerate(wanted) if has_magic(part))
    said = {part[:1] for part in wanted[literal:]}
    return next((part for part in parts[literal:] if part[:1] in {".", "_"} - said and "=" not in part), "")


def _finds_only(passed: list[str]) -> str:
    shown = ", ".join(map(listed, passed[:NAMED])) + (", …" if len(passed) > NAMED else "")
    return f"finds nothing but {shown}, which globs pass over: give a file by its name, or names that begin so"


def _special(fs: Any, path: str) -> str:
    """Return what a local path is if it is neither a file nor a folder, or an empty text."""
    if not isinstance(fs, LocalFileSystem):
        return ""
    return KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")


def _uri(fs: Any, path: str, pattern: str) -> str:
    """Return the URI of a file; the URI of a file in an archive ends with the archive's own."""
    first, chained, rest = pattern.partition("::")
    if isinstance(fs, LocalFileSystem):
        return file_uri(path)
    if not chained:
        return str(fs.unstrip_protocol(path))
    protocol = first.partition("://")[0]
    return f"{protocol}://{path}::{rest if '://' in rest else os.path.abspath(os.path.expanduser(rest))}"


def _mark(fs: Any, path: str) -> str:
    """Return a text that changes when a file does; unlike fsspec's own, it doesn't depend on a token in the address."""
    if web.is_web(fs):
        return web.mark(fs, path, listed(path))
    archive = getattr(fs, "of", None)
    if isinstance(archive, OpenFile):  # fsspec's own mark is another one in each process
        return f"{_mark(archive.fs, archive.path)} {path}"
    if not isinstance(fs, LocalFileSystem):
        return str(fs.ukey(path))
    about = sorted((key, str(value)) for key, value in fs.info(path).items() if key != "name")
    return hashlib.sha256(repr(about).encode()).hexdigest()


def _inside(fs: Any, files: list[str], path: str, ignore_table: bool) -> str:
    """Return what `_table` says about the first table that has one of the files or, without files, about the path."""
    if files:
        parquet = [] if ignore_table else [each for each in files if each.endswith(".parquet")]
        return next(filter(None, (_table(fs, folder) for folder in _folders(parquet))), "")
    with suppress(PermissionError):  # `_instead` reports it
        return next(filter(None, (_table(fs, folder) for folder in _folders([path]))), "")
    return ""


def _folders(paths: list[str]) -> list[str]:
    """Return the folders above these paths, and a single path itself, that may be a table's."""
    folders = dict.fromkeys(paths[:1] if len(paths) == 1 else [])
    for folder in list(dict.fromkeys(path.rpartition("/")[0] for path in paths))[:100]:
        levels = 0
        while folder and levels < LEVELS:
            folders[folder] = None
            folder, _, last = folder.rpartition("/")
            levels += not PARTITIONS.fullmatch(last)
    return [folder for folder in folders if folder]


def _table(fs: Any, folder: str) -> str:
    """Say which kind of table a folder is, and which file makes it one, or return an empty text."""
    for kind, (inner, mark) in TABLES.items():
        if file := next(filter(mark.fullmatch, _names(fs, f"{folder}/{inner}")), ""):
            return (
                f"{'an' if kind[0] in 'AEIOU' else 'a'} {kind} table: {listed(f'{folder}/{inner}/{file}')} makes it one"
            )
    return ""


def _names(fs: Any, folder: str) -> list[str]:
    """Return the sorted names in a folder, or none where there is no such folder."""
    try:
        return sorted(each.rstrip("/").rpartition("/")[2] for each in fs.ls(folder, detail=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except Exception:
        if web.is_web(fs):  # hardly any web server lists its folders
            return []
        raise


def _instead(fs: Any, path: str, pattern: str) -> str:
    """Say what a path is that names no file."""
    if not web.is_web(fs) and fs.isdir(path):
        try:
            fs.ls(path)
        except PermissionError:
            return "is a folder that may not be looked into: ask for the right to it"
        glob = f"{path.rstrip('/')}/*.csv"
        like = listed(_uri(fs, glob, pattern) if "://" in pattern else glob)
        return f"is a folder: give a glob in quotes, like '{like}'"
    if isinstance(fs, LocalFileSystem):
        try:
            kind = _special(fs, path)
        except PermissionError:
            return "may not be looked at: ask for the right to its folder"
        except OSError:
            kind = ""
        if kind:
            return f"is {kind}"
    return "names no file; give the path, URI or glob of files of orders"
