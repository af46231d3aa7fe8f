"""A stage as its own module declares it; tests check the commands, the flow and the docs against it."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from daskjobs.files.storage import PARTIAL
from daskjobs.pipeline.manifest import Manifest


def _same_names(settings: Any, manifest: Manifest) -> tuple[dict[str, Any], dict[str, Any]]:
    return {name: getattr(settings, name) for name in settings.given}, dict(manifest.settings)


@dataclass(frozen=True)
class Stage:
    """One stage of a pipeline, whose module must be quick to import.

    ``needs`` are the stages whose manifests it reads. ``files`` are the names of all files that it writes beside its
    manifest and facts; a star stands for a number, and a question mark for an ending, see `numbered`. ``rows`` is the
    shape of the row counts in its manifest, a dataclass. ``execute`` does its work, and imports the libraries for it.
    ``artifacts`` are the files that people look at. ``lasting`` are those of all its files that stay when the stage is
    taken back, since a later attempt goes on from them. ``compared`` takes the settings and the stage's manifest, and
    returns two dictionaries by the settings' names, (given, recorded); shared keys must be equal.
    """

    name: str
    summary: str
    needs: tuple[str, ...]
    files: tuple[str, ...]
    rows: Any
    execute: Callable[[Any], Manifest]
    artifacts: tuple[str, ...] = ()
    lasting: tuple[str, ...] = ()
    compared: Callable[[Any, Manifest], tuple[dict[str, Any], dict[str, Any]]] = _same_names

    @property
    def manifest(self) -> str:
        """The name of its manifest; the stage is committed once this file exists."""
        return f"{self.name}/manifest.json"

    @property
    def facts(self) -> str:
        """The name of the file that says how it ran."""
        return f"{self.name}/facts.json"

    @property
    def folder(self) -> str:
        """The folder of its files."""
        return self.files[0].partition("/")[0]

    def made(self, names: Iterable[str]) -> set[str]:
        """Return those of ``names`` that are files of this stage, whole or half written."""
        return {name for name in names if self._pattern.fullmatch(name)}

    def passing(self, names: Iterable[str]) -> set[str]:
        """Return those of ``names`` that are removed when this stage is taken back, except its manifest."""
        return {name for name in self.made(names) if name != self.manifest and not self._stay.fullmatch(name)}

    def partial(self, names: Iterable[str]) -> list[str]:
        """Return those of ``names`` that are half-written files of this stage."""
        matches = ((name, self._pattern.fullmatch(name)) for name in names)
        return [name for name, match in matches if match and match["partial"]]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _pattern((self.manifest, self.facts, *self.files))

    @cached_property
    def _stay(self) -> re.Pattern[str]:
        return _pattern(self.lasting)


def numbered(name: str, number: int, ending: str = "") -> str:
    """Return a file's name with a number of five or more digits in place of its star, and the ending of its "?".

    >>> numbered("merge/rejected-*.?", 7, "csv")
    'merge/rejected-00007.csv'
    """
    return name.replace("*", f"{number:05d}").replace("?", ending)


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    one = "|".join(re.escape(name).replace(r"\*", r"\d{5,}").replace(r"\?", "[a-z]+") for name in names)
    return re.compile(rf"(?:{one})(?P<partial>{re.escape(PARTIAL)}[a-z0-9_]{{8}})?")


def is_inside(path: str, root: str, stages: Mapping[str, Stage]) -> bool:
    """Tell whether a path is in a folder of a stage of the run at ``root``."""
    root = root.rstrip("/") + "/"
    folders = {stage.folder for stage in stages.values()} | stages.keys()
    return path.startswith(root) and path.removeprefix(root).lstrip("/").partition("/")[0] in folders
