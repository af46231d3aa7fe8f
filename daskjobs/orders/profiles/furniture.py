"""Sorts out rows that are no orders, as a profile names them: titles, repeated headers, rules of dashes, sums."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daskjobs.errors import ConfigError
from daskjobs.files.tables import column, mask
from daskjobs.orders.parse import trimmed
from daskjobs.orders.profiles import FileForm, Profile
from daskjobs.orders.profiles.columns import order_ids

if TYPE_CHECKING:
    from daskjobs.orders.sources.format import Block, Ints

BOM = "\ufeff"

Mask = npt.NDArray[np.bool_]


def sort_out(block: "Block", profile: Profile, header: list[str]) -> "Block":
    """Return a block whose rows that are furniture stand in `Block.furniture`, and nowhere else.

    ``header`` is what the file's header says of each of its columns, as `SourceFile.heading` has it.
    """
    is_furniture = np.zeros(block.rows, bool)
    for _, rows in causes(block, profile, header):
        is_furniture |= rows
    if not is_furniture.any():
        return block
    rest = ~is_furniture[block.kept]
    lines = block.lines
    if lines:
        lines = replace(lines, several={row: ends for row, ends in lines.several.items() if not is_furniture[row]})
    return replace(
        block,
        apart=_apart(block, profile),
        fields=block.texts.filter(pa.array(rest)),
        kept=block.kept[rest],
        malformed={row: reason for row, reason in block.malformed.items() if not is_furniture[row]},
        lines=lines,
        furniture=np.flatnonzero(is_furniture),
    )


def causes(block: "Block", profile: Profile, header: list[str]) -> Iterator[tuple[str, Mask]]:
    """Yield each thing that a profile names as furniture, in words, and the rows of a block that are it."""
    named = profile.furniture
    if named.lines:
        raw = block.raw(np.arange(block.rows))
        for pattern in named.lines:
            try:
                matches = pc.match_substring_regex(raw, pattern)
            except pa.ArrowInvalid as error:
                raise ConfigError(
                    f"the profile {profile.name}: [furniture] lines has {pattern!r}, which is no regular expression of "
                    f"RE2: {error}"
                ) from error
            yield f"its text matches {pattern}", mask(matches)
    yield from _named(block, profile)
    if named.header and header:
        rows = np.ones(len(block.texts), bool)
        for number, (texts, name) in enumerate(zip(block.texts.columns, header, strict=True), 1):
            if not rows.any():
                break
            text = pc.utf8_trim_whitespace(texts.combine_chunks().fill_null(""))
            rows &= mask(pc.is_in(text, pc.utf8_trim_whitespace(_written(name, number, profile.file))))
        yield "it is the header again", _of_block(block, rows)


def _named(block: "Block", profile: Profile) -> Iterator[tuple[str, Mask]]:
    """Yield the causes that a profile names by texts of columns."""
    for where in profile.furniture.where:
        if where and all(name in block.texts.column_names for name in where):
            rows = np.ones(len(block.texts), bool)
            for name, texts in where.items():
                rows &= mask(pc.is_in(_text(block, name), pa.array(texts, pa.string())))
            said = " and ".join(f"{name} is {' or '.join(map(repr, texts))}" for name, texts in where.items())
            yield said, _of_block(block, rows)


def _apart(block: "Block", profile: Profile) -> "Ints | None":
    """Return the rows that are furniture by texts of columns and have an order id: those below may be of that order."""
    if not profile.furniture.where or "order_id" not in profile.order.fill_down:
        return None
    rows = np.zeros(block.rows, bool)
    for _, each in _named(block, profile):
        rows |= each
    return np.flatnonzero(rows & _of_block(block, mask(pc.not_equal(order_ids(block.texts, profile), ""))))


def _written(name: str, number: int, form: FileForm) -> pa.Array:
    """Return the texts that a column may have where the header stands again, in a file that was put together."""
    names = [name]
    if name == f"column_{number}" or name.strip(" \t") in {each.strip(" \t") for each in form.nulls}:
        names.append("")  # a column without a name is called so
    if number == 1:  # of a file that began with a byte order mark, which leaves quotes to be characters
        quote = form.quote
        names += [BOM + name, f"{BOM}{quote}{name.replace(quote, quote + quote) if quote else name}{quote}"]
    return pa.array(names, pa.string())


def _text(block: "Block", name: str) -> pa.Array:
    return trimmed(column(block.texts, name).fill_null(""))


def _of_block(block: "Block", rows: Mask) -> Mask:
    """Return which rows of a block are those ``rows`` of its texts."""
    found = np.zeros(block.rows, bool)
    found[block.kept[rows]] = True
    return found
