"""This process's environment, to which some libraries look for what concerns one call of theirs."""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_starting = threading.Lock()  # held while os.environ has additional variables


@contextmanager
def briefly(values: Mapping[str, str]) -> Iterator[None]:
    """Add variables to os.environ in this block, unless they are set, for code that takes them from nowhere else."""
    with _starting:
        added = {name: value for name, value in values.items() if name not in os.environ}
        os.environ.update(added)
        try:
            yield
        finally:
            for name in added:
                os.environ.pop(name, None)


def environment_now() -> dict[str, str]:
    """Return a copy of this process's environment, without variables that `briefly` has added."""
    with _starting:
        return dict(os.environ)
