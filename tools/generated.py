"""Writes what is made from the code: tables of docs/, parameters of flows/, defaults of k8s/, keywords of Python.

What is made stands between two comments, of which the first names a block: a function in the table `BLOCKS`. Run by
`make generate`, this module writes all blocks anew; a test names each file whose blocks are old.
"""

import dataclasses
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import click
import yaml

from daskjobs.cli.main import main
from daskjobs.cli.parameters import FIELDS, SECTIONS
from daskjobs.cluster.connection import ClusterFacts
from daskjobs.cluster.settings import WORKERS_ON_KUBERNETES
from daskjobs.files.documents import keys
from daskjobs.options import SECONDS, Option, options
from daskjobs.orders.columns.account import ColumnsAccount
from daskjobs.orders.profiles.reading import about, presets
from daskjobs.orders.report.drift import Drift
from daskjobs.orders.report.quality import Quality
from daskjobs.orders.report.resources import ResourcesSection
from daskjobs.pipeline.manifest import Facts, Manifest
from daskjobs.stages import STAGES
from daskjobs.stages.cleanup import Receipt
from daskjobs.stages.run_orders import NAMED
from daskjobs.stages.run_settings import Settings
from daskjobs.stages.told import Posted

ROOT = Path(__file__).parent.parent
PIPELINE, STEP = "flows/pipeline.yaml", "flows/dask-step.yaml"
PLACES = (
    "daskjobs/cli/main.py",
    "daskjobs/cluster/public.py",
    "daskjobs/stages/run_orders.py",
    PIPELINE,
    STEP,
    "k8s/base/configmaps.yaml",
    "docs/architecture.md",
    "docs/exports.md",
    "docs/kubernetes.md",
    "docs/options.md",
    "docs/step.md",
)
BLOCK = re.compile(
    r"^(?P<begin>(?P<indent> *)(?:#|<!--) made by `make generate`: (?P<name>.+?)(?: -->)?\n).*?"
    r"^(?P<end> *(?:#|<!--) made until here(?: -->)?$)",
    re.M | re.S,
)
KINDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "anything"}

OF_RUN = [each.name for each, _ in options(Settings)]
SECRETS = [each.name for each, option in options(Settings) if option.secret]  # which pods have from a Secret
OF_CLUSTER = [each.name for each, _ in FIELDS if each.name not in OF_RUN]

# Which options are parameters of which flow: all of a run but its place and secrets, and these of a Dask
# cluster.
OF_PIPELINE = (
    *(name for name in OF_RUN if name not in ("run_uri", *SECRETS)),
    *("workers", "worker_cpu", "worker_memory", "keep_cluster"),
)
OF_STEP = (
    *("workers", "max_workers", "threads", "worker_cpu", "worker_memory", "worker_disk", "scheduler_memory"),
    *("worker_node_selector", "worker_tolerations", "worker_resources", "worker_volumes", "worker_service_account"),
    *("pod_labels", "pod_annotations", "queue", "queue_timeout"),
    *("timeout", "start_timeout", "worker_timeout", "idle_timeout", "keep_on_failure"),
)
OF_CONFIG_MAP = ("worker_cpu", "worker_memory")  # whose defaults an overlay of k8s/ may change
IN_FLOWS = {"workers": WORKERS_ON_KUBERNETES}  # defaults that differ there from the command line's
# Words that stand for something in the pipeline: for which option, what each says, and its value in Argo's expressions.
WORDS = {
    "known": ("storage", "the folder of the runs of this flow", "workflow.parameters.storage"),
    "as_of": ("scheduled", "the day for which a CronWorkflow has started the run", "workflow.scheduledTime[:10]"),
}


@dataclasses.dataclass(frozen=True)
class Known:
    """An option, the name of its field, and its default."""

    name: str
    option: Option
    default: Any

    @property
    def parameter(self) -> str:
        """Its name in a flow."""
        return self.option.flag.removeprefix("--")

    @property
    def bounds(self) -> str:
        """Its least and greatest value, or its choices."""
        if self.option.bounds == SECONDS:
            return "1 second to 30 days"
        return ", ".join(self.option.choices) or " to ".join(f"{bound:,}" for bound in self.option.bounds or ())


KNOWN = {each.name: Known(each.name, option, each.default) for each, option in FIELDS}


def made(place: str) -> str:
    """Return the text of a file of the project, with all its blocks as they are made now."""

    def block(found: re.Match[str]) -> str:
        lines = (f"{found['indent']}{line}\n" for line in BLOCKS[found["name"]]())
        return "".join([found["begin"], *lines, found["end"]])

    return BLOCK.sub(block, (ROOT / place).read_text())


def text_of(value: Any) -> str:
    """Return a default as a command line has it: false, 1, 3600, 2Gi; the values of a tuple one a line."""
    if isinstance(value, bool | float):
        return str(value).removesuffix(".0").lower()
    return "\n".join(value) if isinstance(value, tuple) else str(value)


def table(*rows: Iterable[str]) -> list[str]:
    """Return a table in Markdown, of which the first row is the heading."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |".replace("  ", " ") for row in rows]
    return [lines[0], re.sub(r"[^|]+", " --- ", lines[0]), *lines[1:]]


def option_table(names: Iterable[str]) -> list[str]:
    """Return the table of some options for docs/options.md."""
    rows = [
        (
            f"`{known.option.flag}`",
            f"`{known.option.variable}`",
            known.option.unset or (f"`{text_of(known.default)}`" if known.default not in ("", ()) else "none"),
            known.bounds,
            known.option.help,
        )
        for known in map(KNOWN.__getitem__, names)
    ]
    return table(("option", "environment variable", "default", "bounds", "what it says"), *rows)


def scalar(text: str) -> str:
    """Return a text as YAML, in quotes where it needs them.

    >>> scalar("2Gi"), scalar("1"), scalar("")
    ('2Gi', '"1"', '""')
    """
    try:
        if yaml.safe_load(f"it: {text}") == {"it": text}:
            return text
    except yaml.YAMLError:
        pass
    return f'"{text}"' if '"' not in text and "\\" not in text else "'{}'".format(text.replace("'", "''"))


def said_in_flow(known: Known) -> str:
    """Return what an option says as a parameter of a flow, where a word may stand for something."""
    word, said, _ = WORDS.get(known.name, ("", "", ""))
    return f"{known.option.help} `{word}` is {said}." if word else known.option.help


def parameters(names: Iterable[str]) -> Iterator[str]:
    """Yield the lines of some options as parameters of a flow."""
    for known in map(KNOWN.__getitem__, names):
        default = text_of(IN_FLOWS.get(known.name, known.default))
        unset = f" Default: {known.option.unset}." if known.option.unset and not default else ""
        yield f"- name: {known.parameter}"
        yield f"  description: {scalar((said_in_flow(known) + unset).replace('`', ''))}"
        if known.name in OF_CONFIG_MAP:
            yield f"  valueFrom: {{configMapKeyRef: {{name: daskjobs, key: {known.option.variable}}}}}"
        else:
            yield f"  value: {scalar(default)}"


def variables(names: Iterable[str], of: str) -> Iterator[str]:
    """Yield the lines of variables that have a flow's parameters as they are, with nothing expanded in them."""
    for known in map(KNOWN.__getitem__, names):
        reference = f"{of}['{known.parameter}']" if "-" in known.parameter else f"{of}.{known.parameter}"
        if of == "workflow.parameters" and known.name in WORDS:
            word, _, meant = WORDS[known.name]
            reference = f"({reference} == '{word}' ? {meant} : {reference})"
        value = f"{{{{= {reference} | replace('$', '$$') | replace('{{', '$(DASKJOBS_BRACE)') }}}}"
        yield f'- {{name: {known.option.variable}, value: "{value}"}}'


def config_map() -> Iterator[str]:
    """Yield the defaults that an overlay may change."""
    for known in map(KNOWN.__getitem__, OF_CONFIG_MAP):
        yield f"{known.option.variable}: {scalar(text_of(known.default))}"


def parameter_table(flow: str, names: Iterable[str]) -> list[str]:
    """Return the table of a flow's parameters, those that are options and those that are not."""
    spec = yaml.safe_load(made(flow))["spec"]
    given = spec.get("arguments") or spec["templates"][0]["inputs"]
    by_flag = {KNOWN[name].parameter: KNOWN[name] for name in names}
    rows = []
    for each in given["parameters"]:
        known = by_flag.get(each["name"])
        if "valueFrom" in each:
            default = f"`{each['valueFrom']['configMapKeyRef']['key']}` of the overlay"
        elif value := each.get("value"):
            default = f"`{value}`"
        else:
            default = "must be given" if value is None else known.option.unset if known else ""
        rows.append((f"`{each['name']}`", default or "none", said_in_flow(known) if known else each["description"]))
    return table(("parameter", "default", "what it says"), *rows)


def commands(group: click.Group = main, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield all commands, each with its name, and those of a group behind it."""
    for name, command in group.commands.items():
        yield f"{above}{name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{above}{name} ")


def command_table() -> list[str]:
    """Return the table of all commands."""
    rows = [(f"`daskjobs {name}`", command.get_short_help_str(limit=500)) for name, command in commands()]
    return table(("command", "what it does"), *rows)


def own_option_table() -> list[str]:
    """Return the table of the options that are not those of all stages, each with the commands that have it."""
    common = {known.option.help.replace("`", "") for known in KNOWN.values()}
    found = dict[tuple[str, ...], list[str]]()
    for name, command in commands():
        for each in command.params:
            if isinstance(each, click.Option) and each.help not in common:
                flags = ", ".join(f"`{flag}`" for flag in each.opts + each.secondary_opts)
                variable = f"`{each.envvar}`" if each.envvar else ""
                found.setdefault((flags, variable, (each.help or "").replace("<", "\\<")), []).append(name)
    stages = {*STAGES, "stages"}
    rows = []
    for (flags, variable, said), names in found.items():
        others = [f"`{name}`" for name in names if name not in stages or not stages <= {*names}]
        rows.append(
            (flags, variable, ", ".join((["each stage", "`stages`"] if stages <= {*names} else []) + others), said)
        )
    return table(("option", "environment variable", "of", "what it says"), *rows)


def keywords(names: Iterable[str]) -> list[str]:
    """Return options as the keywords of a Python function, with their types."""
    kinds = {
        name: "AnyPath" if each.option.path else each.option.python or type(each.default).__name__
        for name, each in ((name, KNOWN[name]) for name in names)
    }
    return [f"{name}: {kind}" for name, kind in kinds.items() if name not in NAMED]


def stage_table() -> list[str]:
    """Return the table of the stages."""
    rows = [
        (f"`{stage.name}`", ", ".join(f"`{need}`" for need in stage.needs), stage.summary) for stage in STAGES.values()
    ]
    return table(("stage", "needs", "what it does"), *rows)


def stage_sentences() -> list[str]:
    """Return the entries of the help's table of the stages."""
    return [f"{json.dumps(stage.name)}: {json.dumps(stage.summary)}," for stage in STAGES.values()]


def file_table() -> list[str]:
    """Return the table of all files that stages write, and which of them Argo shows."""
    rows = [
        (f"`{file}`", f"`{stage.name}`", "yes" if file in stage.artifacts else "")
        for stage in STAGES.values()
        for file in stage.files
    ]
    return table(("file", "of", "shown by Argo"), *rows)


def answers(text: str) -> dict[str, str]:
    r"""Return what the comment above a preset says, by the words before the colon; a line with a blank more goes on.

    >>> answers("# Orders of a shop.\n# Total: the sum\n#   of lines.\n# Refunds: rows.\n\n[file]")
    {'Total': 'the sum of lines.', 'Refunds': 'rows.'}
    """
    found, last = dict[str, str](), ""
    for line in text.partition("\n\n")[0].splitlines()[1:]:
        if said := re.match(r"# ([A-Z][a-z, ]+): (.+)", line):
            last = said[1]
            found[last] = said[2]
        elif line.startswith("#   ") and last:
            found[last] += f" {line[1:].strip()}"
    return found


def preset_table(own_columns: bool) -> list[str]:
    """Return the table of the presets whose columns are the user's own, or of those of shops."""
    rows = []
    for name, text in presets().items():
        said = answers(text)
        if said["Columns"].startswith("yours") == own_columns:
            cells = [said[key].removesuffix(".") for key in ("Total", "Refunds", "Tax, shipping, tips")]
            rows.append((f"`{name}`", about(text).removesuffix("."), *([] if own_columns else cells)))
    heading = ("preset", "what it reads", "the order's total", "refunds", "tax, shipping, tips")
    return table(heading[: len(rows[0])], *rows)


def fields_of(shape: type, without: str = "") -> list[str]:
    """Return what is said of a dataclass or a TypedDict, and the table of its fields, as JSON has them."""
    said = re.split(r"(?<=\.) (?=[A-Z`])", docstring(shape))
    text = " ".join(sentence for sentence in said if not without or f"`{without}`" not in sentence)
    lines = textwrap.wrap(text, 120, break_on_hyphens=False)
    return [*lines, "", *table(("field", "type", "what it is"), *_fields(shape, "", without))]


def docstring(shape: Any) -> str:
    """Return a docstring as Markdown, in one line."""
    return " ".join((inspect.getdoc(shape) or "").replace("``", "`").split())


def _fields(shape: type, above: str, without: str = "") -> Iterator[tuple[str, str, str]]:
    hints = get_type_hints(shape)
    for name, key in zip(hints, hints if is_typeddict(shape) else keys(shape), strict=True):
        if name != without:
            kind, path, inner = _kind(hints[name], f"{above}{key}")
            yield f"`{above}{key}`", kind, docstring(inner) if inner else ""
            if inner:
                yield from _fields(inner, f"{path}.")


def _kind(hint: Any, path: str) -> tuple[str, str, Any]:
    """Return a type in words, the path of what is in it, and the dataclass that this is, if it is one."""
    parts = get_args(hint)
    if get_origin(hint) is Literal:
        return "text: " + " or ".join(f"`{part}`" for part in parts), path, None
    if isinstance(hint, UnionType):
        kind, path, inner = _kind(parts[0], path)
        return f"{kind}, or null", path, inner
    if get_origin(hint) in (list, dict):
        kind, path, inner = _kind(parts[-1], f"{path}[]" if get_origin(hint) is list else f"{path}.*")
        many = re.sub(r"^(whole number|number|text|object)", r"\1s", kind)
        return f"{'list' if get_origin(hint) is list else 'object'} of {many}", path, inner
    return ("object", path, hint) if dataclasses.is_dataclass(hint) else (KINDS[hint], path, None)


BLOCKS: dict[str, Callable[[], Iterable[str]]] = {
    **{
        f"options, {title}": partial(option_table, [each.name for each, _ in pairs])
        for title, pairs in SECTIONS.items()
    },
    "commands": command_table,
    "stages and their sentences": stage_sentences,
    "options that only some commands have": own_option_table,
    "options as parameters of the pipeline": partial(parameters, OF_PIPELINE),
    "options as variables of the pipeline": partial(variables, OF_PIPELINE, "workflow.parameters"),
    "options as parameters of a step": partial(parameters, OF_STEP),
    "options as variables of a step": partial(variables, OF_STEP, "inputs.parameters"),
    "options whose defaults an overlay may change": config_map,
    "parameters of the pipeline": partial(parameter_table, PIPELINE, OF_PIPELINE),
    "parameters of a step": partial(parameter_table, STEP, OF_STEP),
    "options of a run as keywords": partial(keywords, OF_RUN),
    "options of a Dask cluster as keywords": partial(keywords, OF_CLUSTER),
    "stages": stage_table,
    "files of the stages": file_table,
    "presets of shops": partial(preset_table, own_columns=False),
    "presets of databases and sheets": partial(preset_table, own_columns=True),
    "fields of manifest.json": partial(fields_of, Manifest, without="skipped"),
    "fields of quality.json": partial(fields_of, Quality),
    "fields of drift.json": partial(fields_of, Drift),
    "fields of columns.json": partial(fields_of, ColumnsAccount),
    "fields of facts.json": partial(fields_of, Facts),
    "fields of validate's facts.json": partial(fields_of, ClusterFacts),
    "fields of resources": partial(fields_of, ResourcesSection),
    "fields of receipt.json": partial(fields_of, Receipt),
    "fields of told.json": partial(fields_of, Posted),
}


if __name__ == "__main__":
    for place in PLACES:
        text = made(place)
        if text != (ROOT / place).read_text():
            (ROOT / place).write_text(text)
            print(f"written: {place}")
