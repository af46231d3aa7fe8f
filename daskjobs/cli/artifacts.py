"""Copies a stage's artifacts (results, row counts, the manifest) to a folder where Argo picks them up."""

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from daskjobs.files.digest import Output
from daskjobs.files.documents import keys
from daskjobs.files.storage import Storage, explained, make_folders
from daskjobs.pipeline.stage import Stage
from daskjobs.stages.run_settings import Context

FACTS = ("workers", "seconds")
MANIFESTS = "manifests"  # a folder, whose files have the stages' names: Argo tells artifacts apart by file name alone
SAMPLE_BYTES = 1 << 20  # of a CSV file that are copied at most, up to the end of a row


def showing(context: Context, directory: str) -> Context:
    """Return a context that also removes a stage's copies in ``directory`` when the stage's results are removed.

    Raises RefusedError for a directory inside the run's folder.
    """
    folder = _folder(directory)
    context.refuse_own("--outputs", [folder.uri(f"{stage}/rows") for stage in context.stages])
    return replace(context, taken_back=partial(_clear, folder))


def show(context: Context, stage: str, rows: dict[str, Any], directory: str) -> None:
    """Copy a stage's artifacts into a local ``directory``, and its manifest to manifests/<stage>.json in it.

    Writes each row count to <stage>/rows/<name>, and each fact to <stage>/facts/<name>. Older copies of the stage are
    removed. The table of stages says which files are copied; no name comes from a file of the run. Files that the stage
    has committed are compared with their hashes. Only their owner may read the copies, but in a pod everybody may,
    since Argo's containers may run as another user. Links in the directory are not followed. Raises ConfigError when
    the directory can't be written.
    """
    folder, about = _folder(directory), context.stages[stage]
    committed = context.known[stage][0].outputs if stage in context.known else {}
    said = {"rows": rows, "facts": dict[str, Any](context.facts(stage) if rows else {})}
    copies = {
        copy: str(said[kind][name]).encode()
        for kind, names in _counts(about).items()
        for name, copy in names.items()
        if name in said[kind]
    }
    for name, copy in _artifacts(about).items():
        if context.storage.size(name) is not None:
            expected = committed.get(name)
            sampled = name.endswith(".csv")
            copies[copy] = _sample(context, name, expected) if sampled else context.storage.read(name, expected)
    with explained(f"write {directory}"):
        for kind in said:
            make_folders(os.path.join(folder.root, stage, kind))
        for name in _names(about):
            if name in copies:
                folder.put(name, copies[name])
            else:
                folder.remove(name)
        if context.settings.cluster.pod:
            _open_to_all(folder, copies)


def _folder(directory: str) -> Storage:
    return Storage(os.path.abspath(directory))


def _artifacts(stage: Stage) -> dict[str, str]:
    """Return the names of a stage's files that are copied, each with its copy's name."""
    return {**{name: name for name in stage.artifacts}, stage.manifest: f"{MANIFESTS}/{stage.name}.json"}


def _counts(stage: Stage) -> dict[str, dict[str, str]]:
    """Return the names of a stage's row counts and facts that are shown, each with its file's name."""
    rows = [name for name, of in keys(stage.rows).items() if of in (int, str)]
    return {
        kind: {name: f"{stage.name}/{kind}/{name}" for name in names}
        for kind, names in (("rows", rows), ("facts", FACTS))
    }


def _names(stage: Stage) -> list[str]:
    """Return the names of all files that are copied or written for a stage."""
    counts = _counts(stage)
    return [*_artifacts(stage).values(), *counts["rows"].values(), *counts["facts"].values()]


def _clear(folder: Storage, stages: list[Stage]) -> None:
    for stage in reversed(stages):
        if not set(stage.artifacts) & set(stage.lasting):
            folder.remove_all(_names(stage))


def _open_to_all(folder: Storage, names: Iterable[str]) -> None:
    for path in (Path(folder.uri(name)) for name in names):
        path.chmod(0o644)
        for above in list(path.relative_to(folder.root).parents):
            if (found := Path(folder.root, above)).stat().st_mode & 0o755 != 0o755:
                found.chmod(0o755)


def _sample(context: Context, name: str, expected: Output | None) -> bytes:
    with context.storage.opened(name, expected) if expected else context.storage.open(name) as file:
        data = file.read(SAMPLE_BYTES + 1)
    if len(data) <= SAMPLE_BYTES:
        return data
    from daskjobs.orders.sources.quotes import row_ends  # imported late: it loads pandas, which few commands need

    return data[: int(row_ends(data[:SAMPLE_BYTES])[-1])]
