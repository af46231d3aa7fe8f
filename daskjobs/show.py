"""What a stage shows to people beyond its storage: to Argo its results, to Kubernetes its failure."""

from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from daskjobs.manifest import ROWS
from daskjobs.outputs import Output
from daskjobs.run import Run
from daskjobs.storage import explained

SHOWN = {
    "validate": ("validate/performance.html",),
    "merge": ("merge/quarantine.csv",),
    "report": ("report/report.html", "report/analytics_report.json", "report/quality.json"),
    "cleanup": ("cleanup/receipt.json",),
}
FACTS = ("workers", "seconds")
MANIFESTS = "manifests"  # each by its stage's name there: Argo keeps the artifacts of a pod by files' names alone
SAMPLE_BYTES = 1 << 20  # of a CSV file, cut after a row


def show(run: Run, stage: str, rows: dict[str, Any], directory: str) -> None:
    """Copy what a stage has of `SHOWN` into a local ``directory``, and its manifest to manifests/<stage>.json in it.

    Each row count is written to <stage>/rows/<name>, and how the stage ran to <stage>/facts/<name>. Which files these
    are, and how they are called, is written here and in `manifest.ROWS`, and in no file of the run. Those that the
    stage has committed are held against their hashes. Raises ConfigError when the directory can't be written.
    """
    folder, facts = Path(directory), dict[str, Any](run.facts(stage))
    committed = run.known[stage][0]["outputs"] if stage in run.known else {}
    copies = {name: folder / name for name in SHOWN.get(stage, ())}
    copies[f"{stage}/manifest.json"] = folder / MANIFESTS / f"{stage}.json"
    with explained(f"write {directory}"):
        for kind in ("rows", "facts"):
            (folder / stage / kind).mkdir(parents=True, exist_ok=True)
        for name, of in get_type_hints(ROWS[stage]).items():
            if of in (int, str) and name in rows:
                (folder / stage / "rows" / name).write_text(str(rows[name]))
        for name in FACTS:
            if name in facts:
                (folder / stage / "facts" / name).write_text(str(facts[name]))
        for name, copy in copies.items():
            if run.storage.size(name) is not None:
                vouched = Output.vouched(committed[name]) if name in committed else None
                data = _sample(run, name, vouched) if name.endswith(".csv") else run.storage.read(name, vouched)
                copy.parent.mkdir(exist_ok=True)
                copy.write_bytes(data)


def _sample(run: Run, name: str, vouched: Output | None) -> bytes:
    with run.storage.opened(name, vouched) if vouched else run.storage.open(name) as file:
        data = file.read(SAMPLE_BYTES + 1)
    if len(data) <= SAMPLE_BYTES:
        return data
    row_ends = import_module("daskjobs.sources.rows").row_ends  # with all of pandas, which few commands need
    return data[: int(row_ends(data[:SAMPLE_BYTES])[-1])]
