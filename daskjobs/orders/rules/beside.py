"""What stands beside a Python file of rules and goes along with it: modules that it imports, and files that it names.

Workers on other machines have none of them, so they are read with the file, hashed with it, and sent with it.
"""

import ast
import builtins
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from importlib.util import resolve_name
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

from daskjobs.configured import scratch
from daskjobs.display import shown
from daskjobs.errors import ConfigError, InputError, StorageError
from daskjobs.files.storage import Storage, UnavailableError, explained
from daskjobs.orders.rules.contract import INSTEAD, clock_in
from daskjobs.orders.rules.functions import is_installed

MOST_BYTES = 1 << 20  # of a file of rules
MOST_BESIDE, MOST_FILES = 4 << 20, 50  # of all files beside it, which go along with each task
LONGEST = 200  # characters of a name
ENDING = re.compile(r"[^/]\.\w{1,10}$")  # of the name of a file that may go along
LOADER = "__daskjobs__"  # the name of the loader in the modules that it loads


@dataclass(frozen=True)
class Beside:
    """The files beside a file of rules that go along with it: the names and bytes of all, and a hash of these."""

    sha256: str = ""
    files: tuple[tuple[str, bytes], ...] = field(default=(), compare=False, repr=False)


NOTHING = Beside()


def read_file(storage: Storage, where: str) -> tuple[str, Beside, str]:
    """Return the text of a file of rules, what stands beside it and goes along, and the hash of all that.

    Raises ConfigError when the file can't be read, or when the others are too many or too large.
    """
    try:
        with storage.open(where) as file, explained(f"read {where}"):
            source = file.read(MOST_BYTES + 1)
        if len(source) > MOST_BYTES:
            raise ConfigError(
                f"--rules {where} has more than {MOST_BYTES >> 20} MiB: give the path or URI of a Python file"
            )
        text = source.decode("utf-8-sig")
        files = _files(storage, where, text)
    except UnavailableError:
        raise
    except (InputError, StorageError) as error:
        raise ConfigError(f"--rules can't be read: {error}; give the path or URI of a Python file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--rules {where} is no Python file: {error}") from error
    own = sha256(source).hexdigest()
    if not files:
        return text, NOTHING, own
    said = "".join(f"{name} {sha256(data).hexdigest()}\n" for name, data in sorted(files.items()))
    beside = Beside(sha256(said.encode()).hexdigest(), tuple(sorted(files.items())))
    return text, beside, sha256(f"{own} {beside.sha256}".encode()).hexdigest()


def _files(storage: Storage, where: str, source: str) -> dict[str, bytes]:
    """Return the files beside ``where`` that its source names, and those that they name in turn."""
    folder, slash, _ = where.rpartition("/")
    found, looked, left = dict[str, bytes](), set[str](), list[str]()

    def look(names: Iterable[str]) -> None:
        for name in dict.fromkeys(names):
            data = None if name in looked else _read(storage, f"{folder}{slash}{name}")
            looked.add(name)
            if data is None:
                continue
            found[name] = data
            left.append(name)
            if len(found) > MOST_FILES or sum(map(len, found.values())) > MOST_BESIDE:
                raise ConfigError(
                    f"--rules {where} imports or names files beside it of more than {MOST_BESIDE >> 20} MiB, or more "
                    f"than {MOST_FILES}, and they go along with each task: install them as a package, or let the rule "
                    "read a table by an absolute path that workers have, too"
                )

    if "::" in where:
        return found
    modules = [("", source)]
    for place, text in modules:
        look(_imported(text, place))
        modules += [(name, found[name].decode(errors="replace")) for name in left]
        left.clear()
    if any(_uses_file(text) for _, text in modules):
        look(name for place, text in modules for name in _texts_of_files(text, place))
    return found


def _read(storage: Storage, place: str) -> bytes | None:
    """Return a file's bytes, one more than is allowed at most, or None if there is no such file."""
    if storage.size(place) is None:
        return None
    with storage.open(place) as file, explained(f"read {place}"):
        return file.read(MOST_BESIDE + 1)


@lru_cache(maxsize=MOST_FILES)
def _parsed(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # the worker that loads it says so
            return ast.Module([], [])


def _uses_file(source: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__file__" for node in ast.walk(_parsed(source)))


def _imported(source: str, place: str) -> Iterator[str]:
    """Yield the names of files that a module, at this place beside the rules, may import: of none that is installed."""
    package = place.rpartition("/")[0].replace("/", ".")
    for node in ast.walk(_parsed(source)):
        for module in _modules(node, package) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            if _package(module) and not is_installed(_package(module)):
                parts = module.split(".")
                for upto in range(1, len(parts) + 1):
                    path = "/".join(parts[:upto])
                    yield f"{path}.py"
                    yield f"{path}/__init__.py"


def _texts_of_files(source: str, place: str) -> Iterator[str]:
    """Yield the texts in a module that could name a file beside it, or beside the rules."""
    folder = f"{place.rpartition('/')[0]}/".lstrip("/")
    for node in ast.walk(_parsed(source)):
        for name in filter(_may_be_file, _texts(node)):
            yield name
            yield f"{folder}{name}"


def _modules(node: ast.Import | ast.ImportFrom, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [each.name for each in node.names]
    try:
        module = resolve_name("." * node.level + (node.module or ""), package) if node.level else str(node.module)
    except ImportError:
        return []
    return [module, *(f"{module}.{each.name}" for each in node.names)]


def _texts(node: ast.AST) -> list[str]:
    """Return the texts of an expression that could be a path: "a.csv", folder / "b" / "c.csv" or join(x, "d.csv")."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.Call):
        parts: list[ast.expr] = node.args
    else:
        parts = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            parts.insert(0, node.right)
            node = node.left
    texts = [each.value if isinstance(each, ast.Constant) and isinstance(each.value, str) else "" for each in parts]
    while "" in texts:
        texts = texts[texts.index("") + 1 :]
    return ["/".join(texts)] if len(texts) > 1 else []


def _may_be_file(name: str) -> bool:
    folders = {"", ".", ".."} & {*name.split("/")}
    return len(name) <= LONGEST and name.isprintable() and bool(ENDING.search(name)) and not folders


def _package(module: str) -> str:
    return module.partition(".")[0]


class Loader:
    """Loads a file of rules as a module, which finds beside it what went along.

    Its imports are resolved here, so that two runs on one worker don't get each other's modules.
    """

    def __init__(self, source: str, where: str, beside: Beside) -> None:
        self.source, self.where, self.beside, self.files = source, where, beside, dict(beside.files)
        self.loaded = dict[str, ModuleType]()
        self.tops = {name.partition("/")[0].removesuffix(".py") for name in self.files if name.endswith(".py")}
        texts = [source, *(data.decode(errors="replace") for name, data in beside.files if name.endswith(".py"))]
        self.folder: TemporaryDirectory[str] | None = None
        if self.files or any("__file__" in text for text in texts):
            self.folder = TemporaryDirectory(prefix="daskjobs-rules-", dir=scratch())  # goes with this loader
            for name, data in {where.rpartition("/")[2]: source.encode(), **self.files}.items():
                path = Path(self.folder.name, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)

    def load(self) -> ModuleType:
        """Return the rules as a module."""
        module = self._module("")
        self._run(module, self.where.rpartition("/")[2], self.source, self.where)
        return module

    def _module(self, name: str) -> ModuleType:
        """Return an empty module with a name of its own: classes look for their module by its name."""
        own = sha256(f"{self.source}{self.beside.sha256}".encode()).hexdigest()[:12]
        module = ModuleType(f"daskjobs_rules_{own}.{name}".rstrip("."))
        sys.modules[module.__name__] = module
        return module

    def _run(self, module: ModuleType, name: str, source: str, shown_as: str) -> None:
        module.__dict__[LOADER] = self
        if self.folder:
            module.__file__ = str(Path(self.folder.name, name))
        if self.tops:
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        # Not optimized, even under -O: docstrings are the rules' sentences, and a rule may rely on its asserts.
        exec(compile(source, shown_as, "exec", dont_inherit=True, optimize=0), module.__dict__)

    def _import(
        self,
        name: str,
        globals: dict[str, Any] | None = None,  # as Python calls it
        locals: dict[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as Python does, and what went along from there."""
        full = resolve_name("." * level + name, (globals or {}).get("__package__") or "") if level else name
        if _package(full) not in self.tops:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = self._load(full)
        if not fromlist:
            return self._load(_package(full))
        names = [each for each in vars(module) if each[:1] != "_"] if "*" in fromlist else fromlist
        for each in names:
            if not hasattr(module, each) and self._path(f"{full}.{each}"):
                self._load(f"{full}.{each}")
        return module

    def _path(self, name: str) -> str:
        """Return the file of a module, the folder of a package without one, or an empty text."""
        path = name.replace(".", "/")
        files = (each for each in (f"{path}/__init__.py", f"{path}.py") if each in self.files)
        return next(files, path if any(each.startswith(f"{path}/") for each in self.files) else "")

    def _load(self, name: str) -> ModuleType:
        if name in self.loaded:
            return self.loaded[name]
        parent, _, last = name.rpartition(".")
        above = self._load(parent) if parent else None
        path = self._path(name)
        if not path:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = self.loaded[name] = self._module(name)
        is_package = not path.endswith(".py") or path.endswith("/__init__.py")
        module.__package__ = name if is_package else parent
        try:
            if path in self.files:
                source = self.files[path].decode("utf-8-sig")
                where = f"{self.where.rpartition('/')[0]}/{path}".lstrip("/") if "/" in self.where else path
                self._run(module, path, source, where)
                code = compile(source, where, "exec", dont_inherit=True)
                if asked := clock_in(code, vars(module), {}):
                    raise ConfigError(
                        f"{shown(where)} asks the clock ({asked}), and a later attempt would get another answer: "
                        f"{INSTEAD}"
                    )
        except BaseException:
            del self.loaded[name]
            raise
        if above:
            setattr(above, last, module)
        return module
