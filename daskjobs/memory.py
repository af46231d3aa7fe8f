"""The peak memory of this process."""

import resource
import sys


def peak_bytes() -> int:
    """Return the peak resident memory of this process since it started, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
