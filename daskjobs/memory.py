"""The memory of this process: its peak, and how much that is freed it keeps.

Work in blocks allocates the same memory again and again: to return it to the kernel in between takes a twelfth of the
time. So Arrow's jemalloc keeps it for three seconds, and glibc's malloc (numpy's) keeps up to 128 MiB, of blocks below
8 MiB.
"""

import ctypes
import os
import resource
import sys

KEPT_MS = 3000
KEPT_BLOCKS, KEPT_BYTES = 8 << 20, 128 << 20
POOL = "ARROW_DEFAULT_MEMORY_POOL"
# The same for a process that is started with these variables.
KEEP_MEMORY = {
    POOL: "jemalloc",
    "JE_ARROW_MALLOC_CONF": f"dirty_decay_ms:{KEPT_MS}",
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BLOCKS),
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
}
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def keep_memory() -> None:
    """Make this process, which does nothing but one run, keep freed memory, where its libraries can do that.

    A pool that the user has chosen for Arrow is left alone.
    """
    import pyarrow as pa

    if "jemalloc" in pa.supported_memory_backends() and POOL not in os.environ:
        pa.set_memory_pool(pa.jemalloc_memory_pool())
        pa.jemalloc_set_decay_ms(KEPT_MS)
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's
        mallopt(M_MMAP_THRESHOLD, KEPT_BLOCKS)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


def peak_bytes() -> int:
    """Return the peak resident memory of this process since it started, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
