"""Rules that are given as Python functions: written as source, as if they stood in a file of rules.

Workers get source, and not the function: what a rule says of a row then depends on nothing but text, and that text is
hashed with the other inputs of a run. So a function may use what such a text can hold: modules that are installed,
names of these, plain values, and other functions of the user's that keep to the same.
"""

import ast
import inspect
import math
import symtable
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.metadata import packages_distributions
from types import FunctionType, ModuleType, NoneType
from typing import Any, TypeVar

from daskjobs.errors import ConfigError

SENTENCE = "daskjobs_sentence"  # the attribute of a function that has what `rule` says of it
FILE = "give the path of a Python file of rules instead"
PLAIN = (NoneType, bool, int, float, str, bytes)

F = TypeVar("F", bound=Callable[..., Any])


def rule(sentence: str) -> Callable[[F], F]:
    """Mark a function as a rule, with what it says of the rows that it rejects.

    A rule takes a frame of orders, and returns a boolean for each of its rows: true where it rejects the row.

    >>> @rule("The order is of more than 100 pieces.")
    ... def bulk(orders):
    ...     return orders["quantity"] > 100
    """

    def mark(function: F) -> F:
        setattr(function, SENTENCE, sentence)
        return function

    return mark


def source_of(functions: Iterable[Callable[..., Any]]) -> str:
    """Return the source of a file of rules that does what these functions do.

    The same functions give the same text, wherever they stand. Raises ConfigError, which names the function and what
    of it can't be written.
    """
    written = _Written()
    names = [written.add_rule(function) for function in functions]
    head = ["from __future__ import annotations", f"__all__ = {list(dict.fromkeys(names))!r}"]
    return "\n\n".join([*head, *written.texts.values()]) + "\n"


class _Written:
    """The definitions that have been written so far, by the name that each has in the text."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.values: dict[str, object] = {}

    def add_rule(self, function: Callable[..., Any]) -> str:
        """Write a rule with all that it uses, and return its name."""
        if not isinstance(function, FunctionType):
            raise ConfigError(f"a rule must be a function, got {function!r}: write it with def, or {FILE}")
        self._add(function.__name__, function, function.__name__, is_rule=True)
        return function.__name__

    def _add(self, name: str, value: object, rule: str, is_rule: bool = False) -> None:
        """Write what makes a name mean in the text what it means to the function."""
        if name in self.values:  # a function that calls itself, too
            if self.values[name] is not value and not _literal(value) == _literal(self.values[name]) != "":
                raise ConfigError(
                    f"the functions given as rules mean different things by {name}: give one of them another name"
                )
            return
        self.values[name] = value
        if isinstance(value, ModuleType):
            if not _is_installed(value.__name__):
                raise _refused(rule, name, "a module that is not installed")
            package, _, last = value.__name__.rpartition(".")
            self.texts[name] = f"{f'from {package} ' if package else ''}import {last} as {name}"
        elif not is_rule and _is_importable(value):
            self.texts[name] = f"from {value.__module__} import {value.__name__} as {name}"  # type: ignore[attr-defined]
        elif isinstance(value, FunctionType):
            tree = _parsed(value, rule)
            tree.name = name
            for used, meant in _used(value, tree):
                self._add(used, meant, rule)
            sentence = getattr(value, SENTENCE, "")
            self.texts[name] = ast.unparse(tree) + (f"\n\n{name}.{SENTENCE} = {sentence!r}" if sentence else "")
        elif literal := _literal(value):
            self.texts[name] = f"{name} = {literal}"
        else:
            raise _refused(rule, name, f"an object of {type(value).__name__}")


def _refused(rule: str, name: str, what: str) -> ConfigError:
    return ConfigError(
        f"the rule {rule} can't be given as a function, because it uses {name}, {what}: a rule may use installed "
        f"modules, plain values, and functions that do the same; or {FILE}"
    )


def _parsed(function: FunctionType, rule: str) -> ast.FunctionDef:
    """Return a function's definition, without what only Python's tools read. Raises ConfigError when it has none."""
    if function.__name__ == "<lambda>":
        raise ConfigError(f"a rule must be a function with a name, got a lambda: write it with def, or {FILE}")
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError) as error:
        raise ConfigError(
            f"the source of the function {function.__name__} can't be found, which the rule {rule} needs: write it in "
            f"a file or a notebook, or {FILE}"
        ) from error
    decorated = not isinstance(tree, ast.FunctionDef) or len(tree.decorator_list) > hasattr(function, SENTENCE)
    if decorated or hasattr(function, "__wrapped__"):
        raise ConfigError(
            f"the function {function.__name__} has a decorator other than daskjobs.rule, with which the rule {rule} "
            f"can't be given as a function: leave the decorator out, or {FILE}"
        )
    assert isinstance(tree, ast.FunctionDef)
    tree.decorator_list, tree.returns = [], None
    for node in ast.walk(tree.args):
        if isinstance(node, ast.arg):
            node.annotation = None
    return tree


def _used(function: FunctionType, tree: ast.FunctionDef) -> Iterator[tuple[str, object]]:
    """Yield each name that a function takes from outside of it, with what it means there."""
    cells = function.__closure__ or ()
    enclosing = {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, cells, strict=True)}
    outside = function.__globals__ | enclosing
    for name in sorted(set(_free(symtable.symtable(ast.unparse(tree), tree.name, "exec")))):
        if name in outside:  # otherwise it is a builtin, or a NameError in a worker as it is here
            yield name, outside[name]


def _free(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the global names that are read in a scope or in those within it."""
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (symbol.is_global() or table.get_type() == "module"):
            yield symbol.get_name()
    for child in table.get_children():
        yield from _free(child)


@cache
def _installed() -> frozenset[str]:
    return frozenset({"daskjobs", *sys.stdlib_module_names, *packages_distributions()})


def _is_installed(module: str) -> bool:
    return module.partition(".")[0] in _installed()


def _is_importable(value: object) -> bool:
    """Tell whether a class or function can be imported, by its name, from a module that workers have too."""
    module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not _is_installed(module):
        return False
    return getattr(sys.modules.get(module), name, None) is value


def _literal(value: object) -> str:
    """Return the text of a plain value, always the same for the same value; empty where a text can't say it."""
    if type(value) in PLAIN:
        return f"float({str(value)!r})" if isinstance(value, float) and not math.isfinite(value) else repr(value)
    if type(value) is dict:
        pairs = [(_literal(key), _literal(each)) for key, each in value.items()]
        return f"{{{', '.join(f'{key}: {each}' for key, each in pairs)}}}" if all(map(all, pairs)) else ""
    if type(value) in (list, tuple, set, frozenset):
        items = [_literal(each) for each in value]  # type: ignore[attr-defined]
        items = sorted(items) if isinstance(value, set | frozenset) else items
        return f"{type(value).__name__}([{', '.join(items)}])" if all(items) else ""
    return ""
