"""What makes Dask's workers faster wherever they run; benchmarks/README.md has what each setting gave."""

QUIET = {
    "distributed.worker.profile.interval": "50ms",  # Dask's 10 ms stop a thread so often that it takes a twelfth longer
    "distributed.admin.tick.interval": "500ms",  # its 20 ms wake each process fifty times a second, to time its loop
}
# Block after block takes the same memory again: to return it to the kernel in between costs a twelfth of the time.
# Arrow's jemalloc keeps it for three seconds, glibc's malloc (numpy's) up to 128 MiB, in pieces below 8 MiB.
KEEP_MEMORY = {
    "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
    "JE_ARROW_MALLOC_CONF": "dirty_decay_ms:3000",
    "MALLOC_MMAP_THRESHOLD_": str(8 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}


def variables(settings: dict[str, str]) -> dict[str, str]:
    """Return settings of Dask's as environment variables.

    >>> variables({"distributed.worker.memory.pause": "False"})
    {'DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE': 'False'}
    """
    return {f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": value for name, value in settings.items()}
