"""The one page of the scheduler's HTTP API that the Dask operator needs: whether the scheduler is idle.

Dask's own `distributed.http.scheduler.api` has this page too, but also one with which anybody can retire workers.
"""

from typing import Any

from distributed.http.scheduler.api import CheckIdleHandler

routes: list[tuple[str, type, dict[str, Any]]] = [("/api/v1/check_idle", CheckIdleHandler, {})]
