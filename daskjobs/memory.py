"""The peak memory of this process."""

import resource
import sys


def peak_bytes() -> int:
    """Return the most memory that this process has held since it started, in bytes (resident)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
