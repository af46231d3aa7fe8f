"""What needs packages that are an extra, imported only when it is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from daskjobs.errors import ConfigError


def kubernetes_module(name: str) -> Any:
    """Import one of our modules that needs the extra packages. Raises ConfigError where they are not installed."""
    try:
        with dask_configured():
            return import_module(f"daskjobs.{name}")
    except ImportError as error:
        raise ConfigError(f"Kubernetes needs a package: {error}; pip install 'daskjobs[kubernetes]'") from error


@contextmanager
def dask_configured() -> Iterator[None]:
    """Turn what Dask says of its configuration files, when it is imported, into a sentence: ConfigError."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("A dask config file"):
            raise
        said = " ".join(str(error).split())
        raise ConfigError(f"{said}; mend that file, or set DASK_CONFIG to another") from error
