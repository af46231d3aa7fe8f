"""Imports Dask, which reads its configuration and this process's cores when it is imported.

A broken configuration file and a machine without /proc are for the user to mend, so each gets one sentence.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from daskjobs.errors import ConfigError


@contextmanager
def dask_configured() -> Iterator[None]:
    """Import Dask in this block. Raises ConfigError if its configuration is malformed, or if there is no /proc."""
    try:
        yield
    except psutil.Error as error:
        raise ConfigError(f"Dask can't find this process on this machine ({error}): mount /proc") from error
    except ValueError as error:
        if not str(error).startswith("A dask config file"):
            raise
        complaint = " ".join(str(error).split())
        raise ConfigError(f"{complaint}; mend that file, or set DASK_CONFIG to another") from error


def scratch() -> str | None:
    """Return the folder for temporary files of a Dask worker, which goes with it; None for the system's own."""
    with dask_configured():
        import dask.config
    folder: str | None = dask.config.get("temporary-directory", None)
    return folder
