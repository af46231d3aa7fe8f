"""What needs packages that are an extra, imported only when it is asked for."""

from importlib import import_module
from typing import Any

from daskjobs.errors import ConfigError


def kubernetes_module(name: str) -> Any:
    """Import one of our modules that needs the extra packages. Raises ConfigError where they are not installed."""
    try:
        return import_module(f"daskjobs.{name}")
    except ImportError as error:
        raise ConfigError(f"Kubernetes needs a package: {error}; pip install 'daskjobs[kubernetes]'") from error
