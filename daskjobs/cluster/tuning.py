"""Settings that make Dask's workers faster on all backends; benchmarks/README.md says what each one gains."""

QUIET = {
    "distributed.worker.profile.interval": "50ms",  # Dask's 10 ms slow a thread's work down by a twelfth
    "distributed.admin.tick.interval": "500ms",  # Dask's 20 ms wake each process fifty times a second
}
# Tasks allocate the same memory again and again: returning it to the kernel in between costs a twelfth of the time. So
# Arrow's jemalloc keeps it for three seconds, and glibc's malloc (numpy's) keeps up to 128 MiB, of blocks below 8 MiB.
KEEP_MEMORY = {
    "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
    "JE_ARROW_MALLOC_CONF": "dirty_decay_ms:3000",
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}
TRIES = 3  # attempts of a task whose worker dies each time
DASK_SHARE = 0.9  # of a container's memory: Dask's limit for its worker, which then spills before the kernel kills it


def variables(settings: dict[str, str]) -> dict[str, str]:
    """Return Dask settings as environment variables.

    >>> variables({"distributed.worker.memory.pause": "False"})
    {'DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE': 'False'}
    """
    return {f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": value for name, value in settings.items()}
