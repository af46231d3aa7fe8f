"""The fork server of a workload."""

from contextlib import AbstractContextManager

from daskjobs.cluster.connection import Workload
from daskjobs.cluster.local.forks import Forks, fork_server

FORKED = f"{__package__}.forked"  # not imported here, since it makes the importing process ignore Ctrl-C


def forking(workload: Workload) -> AbstractContextManager[Forks]:
    """Start the process that a workload's workers are forked from."""
    return fork_server([FORKED, *workload.preload], workload.environment)
