"""What Dask reads when it is imported: its configuration, and this process's cores.

A broken configuration file and a machine without /proc are the user's to mend, and each gets one sentence.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from daskjobs.errors import ConfigError


@contextmanager
def dask_configured() -> Iterator[None]:
    """Import Dask in this block. Raises ConfigError when its configuration is malformed, or when there is no /proc."""
    try:
        yield
    except psutil.Error as error:
        raise ConfigError(f"Dask can't find this process on this machine ({error}): mount /proc") from error
    except ValueError as error:
        if not str(error).startswith("A dask config file"):
            raise
        complaint = " ".join(str(error).split())
        raise ConfigError(f"{complaint}; mend that file, or set DASK_CONFIG to another") from error
