"""Copy what people look at (results, row counts, the manifest) to where Argo picks it up."""

from pathlib import Path
from typing import Any

from daskjobs.files.digest import Output
from daskjobs.files.documents import keys
from daskjobs.files.storage import explained
from daskjobs.stages.context import Context

FACTS = ("workers", "seconds")
MANIFESTS = "manifests"  # a folder: Argo keeps the artifacts of a pod by file name alone, so each has its stage's
SAMPLE_BYTES = 1 << 20  # at most so much of a CSV file is copied, up to the end of a row


def show(context: Context, stage: str, rows: dict[str, Any], directory: str) -> None:
    """Copy a stage's artifacts into a local ``directory``, and its manifest to manifests/<stage>.json in it.

    Each row count is written to <stage>/rows/<name>, and how the stage ran to <stage>/facts/<name>. The table of stages
    says which files are copied; no name comes from a file of the run. Files that the stage has committed are checked
    against their hashes. Raises ConfigError when the directory can't be written.
    """
    folder, facts = Path(directory), dict[str, Any](context.facts(stage))
    committed = context.known[stage][0].outputs if stage in context.known else {}
    copies = {name: folder / name for name in context.stages[stage].artifacts}
    copies[f"{stage}/manifest.json"] = folder / MANIFESTS / f"{stage}.json"
    with explained(f"write {directory}"):
        for kind in ("rows", "facts"):
            (folder / stage / kind).mkdir(parents=True, exist_ok=True)
        for name, of in keys(context.stages[stage].rows).items():
            if of in (int, str) and name in rows:
                (folder / stage / "rows" / name).write_text(str(rows[name]))
        for name in FACTS:
            if name in facts:
                (folder / stage / "facts" / name).write_text(str(facts[name]))
        for name, copy in copies.items():
            if context.storage.size(name) is not None:
                vouched = committed.get(name)
                data = _sample(context, name, vouched) if name.endswith(".csv") else context.storage.read(name, vouched)
                copy.parent.mkdir(exist_ok=True)
                copy.write_bytes(data)


def _sample(context: Context, name: str, vouched: Output | None) -> bytes:
    with context.storage.opened(name, vouched) if vouched else context.storage.open(name) as file:
        data = file.read(SAMPLE_BYTES + 1)
    if len(data) <= SAMPLE_BYTES:
        return data
    from daskjobs.orders.sources.rows import row_ends  # imported late: it loads pandas, which few commands need

    return data[: int(row_ends(data[:SAMPLE_BYTES])[-1])]
