"""Reads a profile: a TOML file, or a preset of this package."""

import difflib
import itertools
import os
import re
import tomllib
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from typing import Any

from daskjobs.display import shown
from daskjobs.errors import ConfigError, InputError, StorageError, UsageError
from daskjobs.files.documents import dump, from_json
from daskjobs.files.storage import Storage, UnavailableError, explained
from daskjobs.options import quoted
from daskjobs.orders.dialect import InputFormat
from daskjobs.orders.profiles import Column, FileForm, Furniture, OrderForm, Profile, ValueForm
from daskjobs.orders.schema import COLUMNS
from daskjobs.orders.sources.names import column_names

PRESETS = files("daskjobs.orders.profiles") / "presets"
MOST_BYTES = 1 << 20
OF_ORDER = ("order_id", "user_id", "region", "payment_mode", "status", "timestamp", "total", "refunds", "currency")
OF_LINE = ("product", "quantity", "price", "total_amount")


def parse_profile(text: str, name: str) -> Profile:
    """Return the profile that a TOML text says. Raises ConfigError where it makes no sense."""
    try:
        said = tomllib.loads(text)
        profile = Profile(
            name=name,
            file=_file(said.get("file", {})),
            columns={ours: _column(each) for ours, each in said.get("columns", {}).items()},
            values=_values(said.get("values", {})),
            status={theirs: ours for ours, each in said.get("status", {}).items() for theirs in _several(each)},
            order=_order(said.get("order", {})),
            furniture=from_json(said.get("furniture", {}), Furniture, "furniture"),
        )
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise ConfigError(f"the profile {name} can't be read: {error}") from error
    if unknown := profile.columns.keys() - set(COLUMNS):
        raise ConfigError(f"the profile {name}: [columns] has {min(unknown)}")
    return _hashed(profile)


def presets() -> dict[str, str]:
    """Return the text of each preset by its name, sorted."""
    found = {each.name.removesuffix(".toml"): each for each in PRESETS.iterdir() if each.name.endswith(".toml")}
    return {name: found[name].read_text("utf-8") for name in sorted(found)}


def preset(name: str) -> str:
    """Return the text of a preset. Raises UsageError, which names the nearest ones, when there is none of this name."""
    texts = presets()
    if name not in texts:
        near = difflib.get_close_matches(name.lower(), texts, 3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(f"there is no preset {quoted(name)}: {hint}`daskjobs profile list` names all of them")
    return texts[name]


def about(text: str) -> str:
    """Return the first sentence of the comment with which a profile begins.

    >>> about("# Orders of a shop,\\n# by line. More.\\n[file]")
    'Orders of a shop, by line.'
    """
    lines = itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())
    said = " ".join(line.removeprefix("#").strip() for line in lines).strip()
    return re.split(r"(?<=[.!?]) ", said, maxsplit=1)[0]


def read_profile(storage: Storage, where: str) -> Profile:
    """Return the profile of a preset's name, or of a file's path or URI. Raises ConfigError when it can't be read."""
    if (text := presets().get(where)) is not None:
        return parse_profile(text, where)
    where = where if "://" in where else os.path.abspath(where)
    try:
        with storage.open(where) as file, explained(f"read {where}"):
            return parse_profile(file.read(MOST_BYTES).decode("utf-8-sig"), shown(where))
    except UnavailableError:
        raise
    except (InputError, StorageError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--profile can't be read: {error}; give a preset, or the path or URI of a TOML file"
        ) from error


def merged(profile: Profile, said: InputFormat, currency: str) -> Profile:
    """Return a profile in which options of the command line have replaced what it says."""
    file = profile.file
    if said.delimiter:
        file = replace(file, delimiter=said.delimiter)
    if said.encoding:
        file = replace(file, encodings=[("*", [said.encoding])])
    columns = profile.columns | {ours: Column(names=[theirs]) for ours, theirs in column_names(said.columns).items()}
    order = replace(profile.order, report_currency=currency.upper()) if currency else profile.order
    return _hashed(replace(profile, file=file, columns=columns, order=order))


def _hashed(profile: Profile) -> Profile:
    return replace(profile, sha256=sha256(dump(replace(profile, name="", sha256=""))).hexdigest())


def _several(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _file(said: dict[str, Any]) -> FileForm:
    encoding = said.pop("encoding", None)
    by_name = encoding if isinstance(encoding, dict) else {"*": encoding} if encoding else {}
    encodings = [[pattern, _several(each)] for pattern, each in by_name.items()]
    return from_json(said | {"encodings": encodings}, FileForm, "file")


def _column(said: Any) -> Column:
    if isinstance(said, dict):
        names = _several(said.pop("column", []))
        return from_json(said | {"names": names}, Column, "columns")
    return Column(names=_several(said))


def _values(said: dict[str, Any]) -> ValueForm:
    lists = {key: _several(said[key]) for key in ("thousands", "currency", "timestamp") if key in said}
    return from_json(said | lists, ValueForm, "values")


def _order(said: dict[str, Any]) -> OrderForm:
    total = said.get("total", "line")
    fill = said.get("fill_down", [])
    lists = {
        "total": [] if total == "line" else _several(total),
        "fill_down": list(OF_ORDER) if fill is True else _several(fill or []),
        "key": _several(said.get("key", [])),
    }
    return from_json(said | lists, OrderForm, "order")
