import logging
import os
import signal

import pytest
from distributed import Client, LocalCluster

from conftest import until
from daskjobs.pods import ending


def test_worker_ran_out_of_memory_when_the_kernel_was_quicker_than_its_nanny(caplog: pytest.LogCaptureFixture) -> None:
    """The words are Dask's own: a worker process killed as the kernel does it, while its nanny and container live."""
    nanny = logging.getLogger("distributed.nanny")
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=False) as cluster,
        Client(cluster),
    ):
        nanny.addHandler(caplog.handler)
        try:
            os.kill(cluster.workers[0].process.pid, signal.SIGKILL)
            until(lambda: "killed by" in caplog.text, "the nanny's word of it")
        finally:
            nanny.removeHandler(caplog.handler)
    found = ending("worker-1", [], caplog.messages)
    assert found.memory
    assert "was killed by signal 9 (it ran out of memory)" in found.text


@pytest.mark.parametrize(
    ("reasons", "lines", "memory"),
    [
        (["OOMKilled, exit code 137"], [], True),
        ([], ["distributed.nanny.memory - WARNING - Worker (pid=32) exceeded 95% memory budget. Restarting..."], True),
        ([], ["distributed.nanny - INFO - Worker process 32 was killed by signal 11"], False),
        (["Error, exit code 1"], ["distributed.worker - INFO - Stopping worker"], False),
        ([], [], False),
    ],
)
def test_end_is_for_want_of_memory_only_when_container_or_log_say_so(
    reasons: list[str], lines: list[str], memory: bool
) -> None:
    found = ending("worker-1", reasons, lines)
    assert found.memory is memory
    assert ("ran out of memory" in found.text) is memory
    assert all(said in found.text for said in reasons + lines)
