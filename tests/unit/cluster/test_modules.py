"""Modules that are given to the processes of a real Dask cluster; test_step.py has what a step does with them."""

import zipfile
from pathlib import Path

from distributed import Client, LocalCluster

from daskjobs.cluster.modules import ship


def _seven() -> int:
    import a_module_that_was_shipped  # type: ignore[import-not-found]

    return int(a_module_that_was_shipped.SEVEN)


def test_scheduler_and_workers_that_join_later_have_the_modules(tmp_path: Path) -> None:
    archive = tmp_path / "modules.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a_module_that_was_shipped.py", "SEVEN = 7\n")
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        ship(client, archive)
        cluster.scale(2)
        client.wait_for_workers(2, timeout=30)
        assert list(client.run(_seven).values()) == [7, 7]
