"""The layers of docs/architecture.md, read from the imports themselves, also those in functions and in strings."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from daskjobs.stages import STAGES
from manifests import ROOT

BOTTOM = {"configured", "cores", "errors", "events", "options", "display", "memory", "version"}
# What a package, or a module right below daskjobs, may import beside itself.
MAY_IMPORT = {
    **dict.fromkeys(BOTTOM, BOTTOM),
    "files": BOTTOM,
    **{half: {"files"} | BOTTOM for half in ("orders", "cluster", "pipeline")},
    "series": {"orders", "pipeline", "files"} | BOTTOM,
    "stages": {"series", "orders", "cluster", "pipeline", "files"} | BOTTOM,
    "cli": {"stages", "series", "orders", "cluster", "pipeline", "files"} | BOTTOM,
    "__main__": {"cli", "pipeline"},
    "daskjobs": {
        "stages",
        "series",
        "orders",
        "cluster",
        "errors",
        "version",
    },  # the public face, which no module imports
    "verify": set(),  # so that it needs none of us
}


def _name(file: Path, package: Path) -> str:
    parts = file.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read(package: Path) -> dict[str, ast.Module]:
    """Every module of a package, by its whole name."""
    return {_name(file, package): ast.parse(file.read_text(), str(file)) for file in package.rglob("*.py")}


def imports(modules: dict[str, ast.Module], name: str) -> set[str]:
    """The modules among ``modules`` that one of them imports, at its top or in functions, or names in a string."""
    found = {text for text in strings(modules[name], name) if "." in text}
    for node in ast.walk(modules[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}, line {node.lineno}: relative imports hide where a module is"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {each if each in modules else str(node.module) for each in whole}
    return found & modules.keys()


def strings(tree: ast.Module, name: str) -> set[str]:
    """The texts in a module, with the name of its package in place of ``{__package__}``."""
    package = name.rpartition(".")[0]
    whole = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    formed = (ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr))
    return whole | {text[2:-1].replace("{__package__}", package) for text in formed}


def part(module: str) -> str:
    """The package or module right below daskjobs that a module is of; `daskjobs` for the public face."""
    return module.split(".")[1] if "." in module else module


def misplaced(modules: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """The imports that a layer may not have."""
    return {
        (name, other)
        for name in modules
        for other in imports(modules, name)
        if part(other) not in MAY_IMPORT[part(name)] | ({part(name)} - {"daskjobs"})
    }


def other_names(modules: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """The modules of ours that another one imports under a name that isn't theirs, though that name is free there."""
    found = set[tuple[str, str]]()
    for name, tree in modules.items():
        bound = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    whole = alias.name if isinstance(node, ast.Import) else f"{node.module}.{alias.name}"
                    last = whole.rpartition(".")[2]
                    if whole in modules and alias.asname not in (None, last) and last not in bound:
                        found.add((name, last))
    return found


def by_string(modules: dict[str, ast.Module]) -> set[str]:
    """The modules that import others by names in strings, which neither a reader nor mypy can follow.

    The public face may: what it imports for type checkers says the same, and a test of it compares the two.
    """
    return {
        name
        for name, tree in modules.items()
        for node in ast.walk(tree)
        if name != "daskjobs"
        if (isinstance(node, ast.Name) and node.id in ("import_module", "__import__"))
        or (isinstance(node, ast.Attribute) and node.attr == "import_module")
    }


def typed_paths(modules: dict[str, ast.Module]) -> set[tuple[str, str]]:
    """The paths of a stage's files in other modules than its own; docstrings and sentences may name them.

    Those of files that later runs read stand together.
    """
    return {
        (name, text)
        for stage in STAGES.values()
        for name in modules.keys() - {f"daskjobs.stages.{stage.name}", "daskjobs.series.layout"}
        for text in strings(modules[name], name)
        if re.fullmatch(rf"(?:{stage.name}|{stage.folder})/[\w{{*]\S*", text)
    }


def circle(modules: dict[str, ast.Module]) -> list[str]:
    """Modules that import each other in a circle, if any do."""
    try:
        TopologicalSorter({name: imports(modules, name) for name in modules}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


MODULES = read(ROOT / "daskjobs")


def test_every_module_has_a_layer() -> None:
    assert {part(name) for name in MODULES} == MAY_IMPORT.keys()


def test_imports_run_down_the_layers_and_halves_never_meet_below_stages() -> None:
    assert misplaced(MODULES) == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(MODULES) == []


def test_modules_are_imported_under_their_own_names() -> None:
    assert other_names(MODULES) == set()


def test_no_module_is_imported_by_a_name_in_a_string() -> None:
    assert by_string(MODULES) == set()


def test_paths_of_a_stages_files_are_typed_in_its_module_alone() -> None:
    ours = {name: tree for name, tree in MODULES.items() if name != "daskjobs.verify"}  # which imports none of us
    assert typed_paths(ours) == set()


@pytest.mark.parametrize(
    ("module", "text", "finds"),
    [
        ("orders.money", "def f():\n    from daskjobs.cluster import settings", misplaced),
        ("cluster.money", "import daskjobs.pipeline.context", misplaced),
        ("files.money", "from daskjobs.orders.schema import PAID", misplaced),
        ("errors", "from daskjobs.files.storage import Storage", misplaced),
        ("pipeline.money", "from daskjobs import __version__", misplaced),
        ("files.digest", "def f():\n    from daskjobs.files.documents import dump", circle),
        ("files.digest", "MODULE = 'daskjobs.files.documents'", circle),
        ("files.digest", "MODULE = f'{__package__}.documents'", circle),
        ("orders.money", "MODULE = 'daskjobs.stages.split'", misplaced),
        ("orders.money", "from daskjobs.files import digest as hashes", other_names),
        ("stages.clean", "RULES = 'validate/rules.json'", typed_paths),
        ("orders.money", "def name(number):\n    return f'validate/part-{number:05d}/paid.parquet'", typed_paths),
        ("orders.money", "import importlib\nimportlib.import_module('daskjobs.cli')", by_string),
        ("orders.money", "m = __import__('daskjobs.cli')", by_string),
    ],
)
def test_an_import_that_breaks_a_rule_is_found(module: str, text: str, finds: object) -> None:
    good = {"daskjobs.files.documents": "from daskjobs.files.digest import Output", "daskjobs": "__version__ = '1'"}
    texts = dict.fromkeys(MODULES, "") | good
    assert callable(finds)
    assert not finds({name: ast.parse(each) for name, each in texts.items()})
    assert finds({name: ast.parse(each) for name, each in (texts | {f"daskjobs.{module}": text}).items()})
