"""Ephemeral Dask clusters on Kubernetes, which the Dask operator runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from daskjobs.configured import dask_configured
from daskjobs.errors import ConfigError


@contextmanager
def kubernetes_packages() -> Iterator[None]:
    """Import modules that need the extra "kubernetes" in this block.

    Raises ConfigError, which says how to install it, when a package is missing.
    """
    try:
        with dask_configured():
            yield
    except ImportError as error:
        raise ConfigError(f"Kubernetes needs a package: {error}; pip install 'daskjobs[kubernetes]'") from error
