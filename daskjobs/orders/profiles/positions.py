"""Finds the line of a TOML text that says something, since Python's reader of TOML tells no positions."""

import re
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from typing import Any

Path = tuple[str, ...]


def line_of(text: str, path: Path) -> int:
    r"""Return the line, from 1, in which a key of a TOML text is said, or else the nearest table around it.

    The last part of a path may also be one of the key's texts.

    >>> line_of('[file]\n# Semicolons.\ndelimiter = ";"\n', ("file", "delimiter"))
    3
    """
    table, found, depth = Path(), 1, 0
    for number, lines in _statements(text.replace("\r\n", "\n").split("\n")):
        paths = list(_paths(tomllib.loads("\n".join(lines))))
        if lines[0].lstrip().startswith("["):
            table, paths = Path(), [max(paths, key=len)]
        for each in (table + each for each in paths):
            same = _shared(each, path)
            if same > depth:
                found, depth = number, same
            if same == len(path) - 1 == len(each):  # one of the key's texts
                found = next(
                    (
                        number + at
                        for at, line in enumerate(lines)
                        if re.search(f"""["']{re.escape(path[-1])}["']""", line)
                    ),
                    found,
                )
        if lines[0].lstrip().startswith("["):
            table = paths[0]
    return found


def _statements(lines: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of each key with its value, and of each table's name, and the number of the first of them."""
    begin = 0
    for end in range(1, len(lines) + 1):
        said = lines[begin:end]
        if len(said) > 1 and said[-1].rstrip().endswith(","):  # in a list; to read it each time would take long
            continue
        try:
            if tomllib.loads("\n".join(said)):
                yield begin + 1, said
        except tomllib.TOMLDecodeError:  # its value goes on
            continue
        begin = end


def _paths(said: dict[str, Any]) -> Iterator[Path]:
    for key, value in said.items():
        yield (key,)
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from ((key, *rest) for rest in _paths(each))


def _shared(one: Path, other: Path) -> int:
    """Return how many parts two paths have in common at their beginning."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))
