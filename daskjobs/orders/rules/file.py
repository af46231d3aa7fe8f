"""Which names of a Python file of rules are rules.

Those that ``__all__`` has. Without it, each name without a leading underscore that the file itself gives to something
that can be called: a function, or an object like functools.partial. What is imported is no rule, nor is a class.
No name that may be meant as a rule is left out in silence.
"""

import ast
import symtable
import sys
from collections import defaultdict
from types import FunctionType, ModuleType
from typing import Any

from daskjobs.errors import ConfigError
from daskjobs.orders.rules.beside import LOADER
from daskjobs.orders.rules.contract import INSTEAD, clock_in, takes_context
from daskjobs.orders.rules.functions import NAME, SENTENCE, why_not

TYPING = ("typing", "types")  # the modules of aliases like list[int] and of NewType, which can be called


def rules_in(module: ModuleType, source: str, file: str) -> dict[str, Any]:
    """Return the rules of a file that was loaded as a module, by name.

    Raises ConfigError when one of them is none, when two have one name, when one that is marked as a rule is imported,
    or when the file asks the clock anywhere but below ``if __name__ == …``.
    """
    values = vars(module)
    rules = {name: values[name] for name in _chosen(module, source, file)}
    lines, tree = defaultdict[str, list[int]](list), ast.parse(source)
    for node in tree.body:  # not those in branches, which exclude each other
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines[node.name].append(node.lineno)
    for name, value in rules.items():
        if len(lines[name]) > 1:
            raise ConfigError(
                f"{file} defines {name} more than once, in the lines {', '.join(map(str, lines[name]))}, and Python "
                "keeps the last one alone: give each rule a name of its own"
            )
        if what := why_not(value):
            raise ConfigError(
                f"{file} has {what} under the name {name}, which is no rule: a rule is a function that returns a mask; "
                "let the names of all else begin with an underscore"
            )
        if getattr(value, NAME, name) != name:
            raise ConfigError(f"{file} has the rule {getattr(value, NAME)} under the name {name}: give it one name")
        takes_context(value, f"{name} of {file}")
    tree.body = [node for node in tree.body if not isinstance(node, ast.If) or "__name__" not in ast.dump(node.test)]
    if asked := clock_in(compile(tree, file, "exec", dont_inherit=True), values, {}):
        raise ConfigError(f"{file} asks the clock ({asked}), and a later attempt would get another answer: {INSTEAD}")
    return rules


def _chosen(module: ModuleType, source: str, file: str) -> list[str]:
    values = vars(module)
    if "__all__" not in values:
        imported = _imported(module, source)
        for name in imported:
            if isinstance(getattr(values[name], SENTENCE, None), str):
                raise ConfigError(
                    f"{file} imports {name}, which is marked as a rule: name all rules of the file in __all__, or "
                    f"import it as _{name} if it is none here"
                )
        return [
            name
            for name, value in values.items()
            if not name.startswith("_") and name not in imported and _may_be_rule(value)
        ]
    named = values["__all__"]
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise ConfigError(f"__all__ of {file} must be a list of names, each in quotes, got {named!r:.200}")
    missing = [name for name in named if name not in values]
    if missing:
        here = ", ".join(name for name, value in values.items() if _may_be_rule(value) and name[0] != "_")
        raise ConfigError(
            f"__all__ of {file} names {', '.join(missing)}, which is not there: it has {here or 'nothing'}"
        )
    return list(dict.fromkeys(named))


def _may_be_rule(value: object) -> bool:
    return callable(value) and not isinstance(value, type) and type(value).__module__ not in TYPING


def _imported(module: ModuleType, source: str) -> list[str]:
    """Return the names, without a leading underscore, of what a file imports and could be called."""
    symbols = {each.get_name(): each for each in symtable.symtable(source, "", "exec").get_symbols()}
    beside = vars(module)[LOADER].loaded
    starred = [
        vars(beside.get(str(node.module)) or sys.modules[str(node.module)])
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
    ]

    def is_imported(name: str, value: object) -> bool:
        if isinstance(value, FunctionType) and value.__module__ == module.__name__:
            return False  # the file defines it itself, as a fallback for a failed import
        if name in symbols:
            return symbols[name].is_imported()
        return any(each.get(name) is value for each in starred)

    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and _may_be_rule(value) and is_imported(name, value)
    ]
