from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from daskjobs.cluster.backends import connect
from daskjobs.cluster.connection import Connection, Workload
from daskjobs.cluster.early import Early
from daskjobs.cluster.settings import ClusterSettings
from daskjobs.stages import validate


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run good rules in this process, which is quicker; those of the command line are run as they are for users."""

    @contextmanager
    def connect_threads(cluster: ClusterSettings, workload: Workload, _: Early | None) -> Iterator[Connection]:
        with connect(cluster, replace(workload, processes=False)) as connection:
            yield connection

    monkeypatch.setattr(validate, "connect", connect_threads)
