"""Settings that make Dask's workers faster on all backends; benchmarks/README.md says what each one gains."""

QUIET = {
    "distributed.worker.profile.interval": "50ms",  # Dask's 10 ms slow a thread's work down by a twelfth
    "distributed.admin.tick.interval": "500ms",  # Dask's 20 ms wake each process fifty times a second
}
TRIES = 3  # attempts of a task whose worker dies each time
DASK_SHARE = 0.9  # of a container's memory: Dask's limit for its worker, which then spills before the kernel kills it


def variables(settings: dict[str, str]) -> dict[str, str]:
    """Return Dask settings as environment variables.

    >>> variables({"distributed.worker.memory.pause": "False"})
    {'DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE': 'False'}
    """
    return {f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": value for name, value in settings.items()}
