"""The cores that this process may use."""

from daskjobs.configured import dask_configured


def cores() -> int:
    """Return how many there are: no more than its affinity and its cgroup's CPU limit allow."""
    with dask_configured():
        from dask.system import CPU_COUNT  # here, since it takes a tenth of a second
    return int(CPU_COUNT)
