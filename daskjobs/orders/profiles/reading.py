"""Reads a profile: a TOML file, or a preset of this package."""

import difflib
import itertools
import os
import re
import tomllib
from collections.abc import Collection
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from typing import Any

from daskjobs.display import shown
from daskjobs.errors import ConfigError, InputError, StorageError, UsageError
from daskjobs.files.documents import dump
from daskjobs.files.storage import Storage, UnavailableError, explained, local_path
from daskjobs.options import quoted
from daskjobs.orders.dialect import NONE
from daskjobs.orders.profiles import Column, FileForm, Furniture, OrderForm, Profile, ValueForm
from daskjobs.orders.profiles.columns import needed
from daskjobs.orders.profiles.keys import KEYS, WrongError, contradiction, near, seen
from daskjobs.orders.profiles.positions import Path, line_of
from daskjobs.orders.schema import COLUMNS, STATUSES
from daskjobs.orders.sources.names import column_names, status_names

LEAST_OF_PRESET = 4  # columns that are not ours, by which a preset is recognized
PRESETS = files("daskjobs.orders.profiles") / "presets"
MOST_BYTES = 1 << 18
OTHER_LANGUAGES = {".json": "JSON", ".yaml": "YAML", ".yml": "YAML", ".ini": "INI", ".csv": "CSV", ".py": "Python"}
FIELDS = {"encoding": "encodings"}  # whose names differ from their keys'


class _NonsenseError(ValueError):
    """What a profile says in the line of ``path`` makes no sense."""

    def __init__(self, said: str, *path: str) -> None:
        super().__init__(said)
        self.path: Path = path


def parse_profile(text: str, name: str) -> Profile:
    """Return the profile that a TOML text says. Raises ConfigError, which has the line, where it makes no sense."""
    try:
        said = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of too many digits
        raise ConfigError(_no_toml(text, name, str(error))) from error
    try:
        values = _sections(said)
        if wrong := contradiction(values):
            (section, key, *item), why = wrong
            raise _NonsenseError(f"[{section}] {key} {why}", section, key, *item)
    except _NonsenseError as error:
        raise ConfigError(f"the profile {name}, line {line_of(text, error.path)}: {error}") from error
    status = {theirs: ours for ours, each in values["status"].items() for theirs in each}
    file = {FIELDS.get(key, key): value for key, value in values["file"].items()}
    return _hashed(
        Profile(
            name=name,
            file=FileForm(**file),
            columns=values["columns"],
            values=ValueForm(**values["values"]),
            status=status,
            order=OrderForm(**values["order"]),
            furniture=Furniture(**values["furniture"]),
        )
    )


def _sections(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the sections of a profile say, each value as its key reads it."""
    if not said:
        raise _NonsenseError("it says nothing: `daskjobs profile show NAME` prints a preset to begin with")
    for name, section in said.items():
        if name not in KEYS:
            of = next((each for each, keys in KEYS.items() if name in keys), "")
            if of and not isinstance(section, dict):
                raise _NonsenseError(f"{name} stands in no section: put it below [{of}]", name)
            raise _NonsenseError(f"there is no section [{name}]: {near(name, KEYS)}", name)
        if not isinstance(section, dict):
            raise _NonsenseError(f"{name} must be a section, [{name}] on a line of its own, got {seen(section)}", name)
    return {name: _read(name, said.get(name, {})) for name in KEYS}


def _read(name: str, section: dict[str, Any]) -> dict[str, Any]:
    keys, values = KEYS[name], dict[str, Any]()
    for key, value in section.items():
        if key not in keys:
            raise _NonsenseError(f"[{name}] {_unknown(name, key, value)}", name, key)
        try:
            values[key] = keys[key](value)
        except WrongError as error:
            raise _NonsenseError(f"[{name}] {key} {error}", name, key, *filter(None, [error.item])) from error
    return values


def _unknown(name: str, key: str, value: Any) -> str:
    """Say what a key that a section doesn't have may be meant as."""
    if name == "columns":
        return f"has {quoted(key)}, which is none of our columns: {near(key, KEYS[name])}"
    if name == "status":
        turned = f'; write {value} = ["{key}"]' if isinstance(value, str) and value in STATUSES else ""
        return f"has {quoted(key)}, which is none of our statuses: {near(key, KEYS[name])}{turned}"
    of = next((each for each, keys in KEYS.items() if key in keys), "")
    hint = f"it stands below [{of}]" if of else near(key, KEYS[name])
    return f"has no key {quoted(key)}: {hint}"


def _no_toml(text: str, name: str, error: str) -> str:
    """Return the sentence about a text that is no TOML."""
    place = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", error)
    said = error[: place.start()] if place else error
    line = int(place[1]) if place and place[1] else text.count("\n") + (not text.endswith("\n"))
    kind = next((kind for ending, kind in OTHER_LANGUAGES.items() if name.lower().endswith(ending)), "")
    kind = kind or ("JSON" if text.lstrip()[:1] == "{" else "YAML" if text.startswith("---") else "")
    if kind:
        return f'the profile {name} looks like {kind}, and a profile is TOML: [file], and delimiter = ";" below it'
    said += " (a text stands in quotes)" if said == "Invalid value" else ""
    twice = "it says something twice: " if "overwrite" in said or "twice" in said else ""
    return f"the profile {name}, line {line}: {twice or 'it is no TOML: '}{said[:1].lower()}{said[1:]}"


def presets() -> dict[str, str]:
    """Return the text of each preset by its name, sorted."""
    found = {each.name.removesuffix(".toml"): each for each in PRESETS.iterdir() if each.name.endswith(".toml")}
    return {name: found[name].read_text("utf-8") for name in sorted(found)}


def preset(name: str) -> str:
    """Return the text of a preset. Raises UsageError, which names the nearest ones, when there is none of this name."""
    texts = presets()
    if name not in texts:
        raise UsageError(f"there is no preset {quoted(shown(name))}: {_nearest(name, texts)}")
    return texts[name]


def _nearest(name: str, names: dict[str, str]) -> str:
    close = difflib.get_close_matches(name.lower(), names, 3)
    close += [each for each in names if each.startswith(f"{name.lower()}-") and each not in close]
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}`daskjobs profile list` names all of them"


def preset_of(columns: Collection[str]) -> str:
    """Return the preset whose columns a file has, the one that needs the most of them, or an empty text."""
    best, most = "", 0
    for name, text in presets().items():
        wanted = needed(parse_profile(text, name))
        foreign = {each for names in wanted for each in names} - {*COLUMNS}
        if len(foreign) >= LEAST_OF_PRESET and len(wanted) > most and all(set(each) & {*columns} for each in wanted):
            best, most = name, len(wanted)
    return best


def about(text: str) -> str:
    r"""Return the first sentence of the comment with which a profile begins.

    >>> about("# Orders of a shop,\n# by line. More.\n[file]")
    'Orders of a shop, by line.'
    """
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    said = " ".join(line.removeprefix("#").strip() for line in lines).strip()
    return re.split(r"(?<=[.!?]) ", said, maxsplit=1)[0]


def is_preset(where: str) -> bool:
    """Tell whether --profile means a preset, and no file: it has no slash, and doesn't end with .toml."""
    return where in presets() or not ("/" in where or where.endswith(".toml") or os.path.lexists(where))


def read_profile(storage: Storage, where: str) -> Profile:
    """Return the profile of a preset's name, or of a file's path or URI. Raises ConfigError when it can't be read."""
    if is_preset(where):
        texts = presets()
        if where not in texts:
            raise ConfigError(
                f"--profile {quoted(where)} is neither a preset nor a file: {_nearest(where, texts)}; the path of a "
                "file ends with .toml"
            )
        return parse_profile(texts[where], where)
    where = where if "://" in where else os.path.abspath(os.path.expanduser(where))
    name = shown(where)
    local = local_path(where) if where.startswith("file://") else where
    if os.path.exists(local) and not os.path.isfile(local):
        what = "a folder: give the TOML file in it" if os.path.isdir(local) else "a pipe or a device: give a TOML file"
        raise ConfigError(f"--profile {name} is {what}")
    try:
        with storage.open(where) as file, explained(f"read {where}"):
            data = file.read(MOST_BYTES + 1)
    except UnavailableError:
        raise
    except (InputError, StorageError) as error:
        stem = where.rpartition("/")[2].removesuffix(".toml")
        hint = (
            f"the preset is --profile {stem}"
            if stem in presets()
            else "give a preset, or the path or URI of a TOML file"
        )
        raise ConfigError(f"--profile can't be read: {error}; {hint}") from error
    except ConfigError as error:
        raise ConfigError(f"--profile can't be read: {error}") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(
            f"--profile {name} is larger than {MOST_BYTES >> 10} KiB, so it is no profile: check its name"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith(b"\x1f\x8b"):
            raise ConfigError(f"the profile {name} is compressed: unpack it, a profile is plain TOML") from error
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"the profile {name}, line {line}: it is not UTF-8; save it as UTF-8") from error
    return parse_profile(text, name)


def merged(
    profile: Profile,
    *,
    delimiter: str = "",
    quoting: str = "",
    encoding: str = "",
    columns: str = "",
    statuses: str = "",
    currency: str = "",
) -> Profile:
    """Return a profile in which options of the command line have replaced what it says.

    Raises UsageError where they don't fit into it.
    """
    file, order = profile.file, profile.order
    if delimiter:
        file = replace(file, delimiter={"tab": "\t"}.get(delimiter, delimiter))
    if quoting:
        file = replace(file, quoting=quoting)
    if encoding:
        file = replace(file, encodings=[("*", [encoding])])
    if file.delimiter and file.delimiter == file.quote and file.quoting != NONE:
        raise UsageError(f"--delimiter {quoted(delimiter)} is the quote of the profile {profile.name}, too")
    if currency and not order.currency:
        raise UsageError(
            f"--currency {currency} needs the column of currencies, and the profile {profile.name} names none: say "
            'currency = "…" below its [order]'
        )
    if currency:
        order = replace(order, report_currency=currency.upper())
    ours = {name: Column(names=[theirs]) for name, theirs in column_names(columns).items()}
    if order.total and "total_amount" in ours:
        raise UsageError(
            f"--columns says which column total_amount is, and the profile {profile.name} has the order's own total "
            "([order] total): leave one of them out"
        )
    return _hashed(
        replace(
            profile,
            file=file,
            columns=profile.columns | ours,
            status=profile.status | status_names(statuses),
            order=order,
        )
    )


def _hashed(profile: Profile) -> Profile:
    return replace(profile, sha256=sha256(dump(replace(profile, name="", sha256=""))).hexdigest())
