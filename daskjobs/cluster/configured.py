"""Dask reads its configuration files when it is imported; a broken one is the user's mistake and gets one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from daskjobs.errors import ConfigError


@contextmanager
def dask_configured() -> Iterator[None]:
    """Import Dask in this block. Raises ConfigError when one of its configuration files is malformed."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("A dask config file"):
            raise
        complaint = " ".join(str(error).split())
        raise ConfigError(f"{complaint}; mend that file, or set DASK_CONFIG to another") from error
