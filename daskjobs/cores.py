"""The cores that this process may use."""

from daskjobs.configured import dask_configured


def cores() -> int:
    """Return their number, as limited by affinity and the cgroup's CPU limit."""
    with dask_configured():
        from dask.system import CPU_COUNT  # imported late: it takes a tenth of a second
    return int(CPU_COUNT)
