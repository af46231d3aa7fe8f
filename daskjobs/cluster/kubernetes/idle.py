"""The one page of the scheduler's HTTP API that the Dask operator needs: whether the scheduler is idle.

Dask's own `distributed.http.scheduler.api` has this page too, beside one by which anybody may retire workers.
"""

from typing import Any

from distributed.http.scheduler.api import CheckIdleHandler

routes: list[tuple[str, type, dict[str, Any]]] = [("/api/v1/check_idle", CheckIdleHandler, {})]
